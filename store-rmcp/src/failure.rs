//! What a client is told when its request cannot be answered: JSON-RPC errors that name the
//! reason and hold nothing of the server's inside.

use std::borrow::Cow;

use mcp_event_store_core::{Error as StoreError, EventId};
use rmcp::model::{ErrorCode, ErrorData, RequestId, ServerJsonRpcMessage};
use serde_json::{Value, json};

/// The call cannot finish: its session ended here, or its server died.
pub(crate) fn interrupted(request: RequestId) -> ServerJsonRpcMessage {
    let text = "the server stopped before this call finished; its outcome is unknown";
    error(request, ErrorCode::INTERNAL_ERROR, text, "interrupted")
}

/// The session ended here before the request ran; another instance, or this one, can restore it.
pub(crate) fn session_ended(request: RequestId) -> ServerJsonRpcMessage {
    let text = "the session has ended on this server; the request did not run and can be repeated";
    error(request, ErrorCode::INTERNAL_ERROR, text, "session_ended")
}

/// The request was refused before it ran.
pub(crate) fn invalid(request: RequestId, text: &'static str) -> ServerJsonRpcMessage {
    error(request, ErrorCode::INVALID_REQUEST, text, "invalid_request")
}

/// Events of the request's stream have expired, perhaps its response.
pub(crate) fn expired(request: RequestId, resume_after: &EventId) -> ServerJsonRpcMessage {
    let text = "messages of this call have expired before the client came back for them";
    let data = json!({ "reason": "events_expired", "resumeAfter": resume_after.as_str() });
    with_data(request, ErrorCode::INTERNAL_ERROR, text, data)
}

/// The store refused the request's stream, or its response.
pub(crate) fn not_stored(request: RequestId, cause: &StoreError) -> ServerJsonRpcMessage {
    let (text, reason): (Cow<'static, str>, _) = match cause {
        StoreError::TooLarge { .. } => {
            (format!("the response is too large: {cause}").into(), "too_large")
        }
        StoreError::LimitReached { .. } => (cause.to_string().into(), "limit_reached"),
        StoreError::SessionDeleted => ("the session was deleted".into(), "session_deleted"),
        _ => ("the server's event store is unavailable".into(), "store_unavailable"),
    };
    error(request, ErrorCode::INTERNAL_ERROR, text, reason)
}

fn error(
    request: RequestId,
    code: ErrorCode,
    text: impl Into<Cow<'static, str>>,
    reason: &'static str,
) -> ServerJsonRpcMessage {
    with_data(request, code, text, json!({ "reason": reason }))
}

fn with_data(
    request: RequestId,
    code: ErrorCode,
    text: impl Into<Cow<'static, str>>,
    data: Value,
) -> ServerJsonRpcMessage {
    ServerJsonRpcMessage::error(ErrorData::new(code, text, Some(data)), Some(request))
}
