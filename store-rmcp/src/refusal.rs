//! What a client is told, by HTTP status and JSON-RPC error, when there is no stream for it.

use http::StatusCode;
use mcp_event_store_core::Error as StoreError;
use rmcp::model::{ErrorCode, RequestId};
use serde_json::{Value, json};

use crate::error::Error;

/// A refusal: its body's `error.data.reason` is the typed verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: ErrorCode,
    message: &'static str,
    reason: &'static str,
    /// After which event what is left of the stream can be had.
    resume_after: Option<String>,
}

impl Refusal {
    /// Why the store gave no stream.
    ///
    /// An ID that resumes nothing is never a 404: to clients that means that their session is
    /// gone, and they would begin a new one.
    pub(crate) fn of(error: &StoreError) -> Self {
        match error {
            StoreError::UnknownEvent => UNKNOWN,
            StoreError::EventsExpired { resume_after, .. } => {
                Self { resume_after: Some(resume_after.as_str().to_owned()), ..EXPIRED }
            }
            StoreError::LimitReached { .. } => LIMIT_REACHED,
            StoreError::SessionDeleted => NOT_FOUND,
            StoreError::TooLarge { .. } => TOO_LARGE,
            _ => UNAVAILABLE,
        }
    }

    /// Why the session manager did not serve the request.
    pub(crate) fn for_error(error: &Error) -> Self {
        match error {
            Error::Store(error) => Self::of(error),
            Error::NotAskedHere => NOT_ASKED_HERE,
            Error::NotYours => NOT_FOUND,
            _ => ENDED,
        }
    }

    /// Chainable note for the log: a refusal says nothing that a log must not hold.
    pub(crate) fn log(&self) {
        tracing::debug!(status = self.status.as_u16(), reason = self.reason, "refused");
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Whether the same request may succeed in a moment.
    pub(crate) fn passes(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    /// A JSON-RPC error; its `id` is `null` where no request is known.
    pub(crate) fn body(&self, request: Option<RequestId>) -> Value {
        let mut data = json!({ "reason": self.reason });
        if let Some(resume_after) = &self.resume_after {
            data["resumeAfter"] = resume_after.as_str().into();
        }
        let error = json!({ "code": self.code.0, "message": self.message, "data": data });
        json!({ "jsonrpc": "2.0", "id": request.map(RequestId::into_json_value), "error": error })
    }
}

const UNKNOWN: Refusal = Refusal {
    status: StatusCode::BAD_REQUEST,
    code: ErrorCode::INVALID_REQUEST,
    message: "nothing can be resumed after this Last-Event-ID: it is unknown in this session",
    reason: "unknown_event",
    resume_after: None,
};

const EXPIRED: Refusal = Refusal {
    message: "events after this Last-Event-ID have expired; resume after `resumeAfter` for the rest",
    reason: "events_expired",
    ..UNKNOWN
};

const NOT_ASKED_HERE: Refusal = Refusal {
    message: "this server has no such request open: the answer belongs to another, or came too late",
    reason: "not_asked_here",
    ..UNKNOWN
};

const LIMIT_REACHED: Refusal = Refusal {
    status: StatusCode::TOO_MANY_REQUESTS,
    message: "the session has too many connections open; close some first",
    reason: "limit_reached",
    ..UNKNOWN
};

const TOO_LARGE: Refusal = Refusal {
    status: StatusCode::PAYLOAD_TOO_LARGE,
    message: "the request has more to remember than the server's event store allows",
    reason: "too_large",
    ..UNKNOWN
};

const NOT_FOUND: Refusal = Refusal {
    status: StatusCode::NOT_FOUND,
    message: "session not found; begin a new one with initialize",
    reason: "session_not_found",
    ..UNKNOWN
};

const UNAVAILABLE: Refusal = Refusal {
    status: StatusCode::SERVICE_UNAVAILABLE,
    code: ErrorCode::INTERNAL_ERROR,
    message: "the server's event store is unavailable; try again",
    reason: "store_unavailable",
    resume_after: None,
};

const ENDED: Refusal = Refusal {
    message: "the session has ended on this server; try again",
    reason: "session_ended",
    ..UNAVAILABLE
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_a_json_rpc_error_with_an_id() {
        let body = Refusal::of(&StoreError::UnknownEvent).body(None);
        assert_eq!(body["id"], Value::Null);
        assert!(body.as_object().unwrap().contains_key("id"));
        assert_eq!(body["error"]["code"], -32600);
        assert_eq!(body["error"]["data"], json!({ "reason": "unknown_event" }));
        assert_eq!(UNAVAILABLE.body(Some(RequestId::Number(7)))["id"], 7);
    }

    #[test]
    fn an_id_that_resumes_nothing_does_not_end_the_session() {
        for error in [StoreError::UnknownEvent, StoreError::Closed] {
            assert_ne!(Refusal::of(&error).status(), StatusCode::NOT_FOUND);
        }
    }
}
