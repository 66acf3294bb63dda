//! Which stream a message of the handler belongs to. Knows nothing of HTTP or the store.

use std::collections::HashMap;

use mcp_event_store_core::NewEvent;
use rmcp::model::{
    GetExtensions, ProgressToken, RequestId, ServerJsonRpcMessage, ServerNotification,
};
use rmcp::service::OriginatingRequestId;

use crate::error::{Error, Result};
use crate::wire;
use crate::writer::{Stored, WriterHandle};

/// The open requests of one session, and its standalone stream.
pub(crate) struct Router {
    requests: HashMap<RequestId, OpenRequest>,
    tokens: HashMap<ProgressToken, RequestId>,
    /// `None` once the session has ended here.
    standalone: Option<WriterHandle>,
}

/// A request that has no response yet.
struct OpenRequest {
    writer: WriterHandle,
    token: Option<ProgressToken>,
}

/// Whether a request was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    Yes,
    /// A request with this ID is still open; one stream would mix the two.
    InUse,
    SessionEnded,
}

impl Router {
    pub(crate) fn new(standalone: WriterHandle) -> Self {
        let standalone = Some(standalone);
        Self { requests: HashMap::new(), tokens: HashMap::new(), standalone }
    }

    /// Sends what belongs to `request` to `writer` from now on.
    pub(crate) fn open(
        &mut self,
        request: RequestId,
        token: Option<ProgressToken>,
        writer: WriterHandle,
    ) -> Opened {
        if self.standalone.is_none() {
            return Opened::SessionEnded;
        }
        if self.requests.contains_key(&request) {
            return Opened::InUse;
        }
        if let Some(token) = &token {
            self.tokens.insert(token.clone(), request.clone());
        }
        self.requests.insert(request, OpenRequest { writer, token });
        Opened::Yes
    }

    /// Whether `request` is still open with `writer` as its stream.
    pub(crate) fn is_open(&self, request: &RequestId, writer: &WriterHandle) -> bool {
        self.requests.get(request).is_some_and(|open| open.writer.same_stream(writer))
    }

    pub(crate) fn has_open_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Closes `request`: nothing more is routed to its stream.
    pub(crate) fn close(&mut self, request: &RequestId) -> Option<WriterHandle> {
        let open = self.requests.remove(request)?;
        if let Some(token) = open.token
            && self.tokens.get(&token) == Some(request)
        {
            self.tokens.remove(&token);
        }
        Some(open.writer)
    }

    /// Lets every stream go: the session ends here.
    pub(crate) fn close_all(&mut self) {
        self.requests.clear();
        self.tokens.clear();
        self.standalone = None;
    }

    /// The standalone stream's writer.
    pub(crate) fn standalone(&self) -> Result<&WriterHandle> {
        self.standalone.as_ref().ok_or(Error::SessionEnded)
    }

    /// Puts `message` into its stream's queue.
    pub(crate) fn route(&mut self, message: &ServerJsonRpcMessage) -> Stored {
        let event = match wire::encode(message) {
            Ok(json) => NewEvent::message(json),
            Err(error) => return Stored::Now(Err(error.into())),
        };
        match message {
            ServerJsonRpcMessage::Response(response) => self.complete(Some(&response.id), event),
            ServerJsonRpcMessage::Error(error) => self.complete(error.id.as_ref(), event),
            _ => match self.writer_for(message) {
                Ok(writer) => writer.enqueue(event),
                Err(error) => Stored::Now(Err(error)),
            },
        }
    }

    /// A response ends its request's stream. One without an open request was cancelled in the
    /// meantime; the standalone stream must not carry responses, so it goes nowhere.
    fn complete(&mut self, request: Option<&RequestId>, event: NewEvent) -> Stored {
        let Some(writer) = request.and_then(|request| self.close(request)) else {
            tracing::debug!(?request, "dropped a response to no open request");
            return Stored::Now(Ok(()));
        };
        writer.enqueue(event.completing())
    }

    fn writer_for(&self, message: &ServerJsonRpcMessage) -> Result<&WriterHandle> {
        let open = self.request_of(message).and_then(|request| self.requests.get(request));
        open.map_or_else(|| self.standalone(), |open| Ok(&open.writer))
    }

    /// The request during which `message` arose, where that can be known.
    fn request_of<'a>(&'a self, message: &'a ServerJsonRpcMessage) -> Option<&'a RequestId> {
        match message {
            ServerJsonRpcMessage::Request(request) => {
                request.request.extensions().get::<OriginatingRequestId>().map(|id| &id.0)
            }
            ServerJsonRpcMessage::Notification(notification) => match &notification.notification {
                ServerNotification::ProgressNotification(progress) => {
                    self.tokens.get(&progress.params.progress_token)
                }
                _ => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::{
        EmptyResult, NumberOrString, PingRequest, ProgressNotification, ProgressNotificationParam,
        ServerRequest, ServerResult, ToolListChangedNotification,
    };
    use tokio::sync::mpsc::UnboundedReceiver;

    use super::*;
    use crate::writer::Append;

    /// A router with request 1 (token "one") and request 2 open.
    struct Fixture {
        router: Router,
        standalone: UnboundedReceiver<Append>,
        first: UnboundedReceiver<Append>,
        second: UnboundedReceiver<Append>,
    }

    fn fixture() -> Fixture {
        let (standalone_writer, standalone) = WriterHandle::new();
        let mut router = Router::new(standalone_writer);
        let (writer, first) = WriterHandle::new();
        let opened = router.open(RequestId::Number(1), Some(token("one")), writer);
        assert_eq!(opened, Opened::Yes);
        let (writer, second) = WriterHandle::new();
        assert_eq!(router.open(RequestId::Number(2), None, writer), Opened::Yes);
        Fixture { router, standalone, first, second }
    }

    fn token(text: &str) -> ProgressToken {
        ProgressToken(NumberOrString::String(text.into()))
    }

    fn progress(text: &str) -> ServerJsonRpcMessage {
        let params = ProgressNotificationParam::new(token(text), 1.0);
        ServerJsonRpcMessage::notification(ProgressNotification::new(params).into())
    }

    fn response(id: i64) -> ServerJsonRpcMessage {
        let result = ServerResult::EmptyResult(EmptyResult {});
        ServerJsonRpcMessage::response(result, RequestId::Number(id))
    }

    fn ping_from(request: i64) -> ServerJsonRpcMessage {
        let mut ping = PingRequest::default();
        ping.extensions.insert(OriginatingRequestId(RequestId::Number(request)));
        ServerJsonRpcMessage::request(ServerRequest::PingRequest(ping), RequestId::Number(90))
    }

    #[test]
    fn messages_of_a_request_go_to_its_stream() {
        let mut f = fixture();
        f.router.route(&progress("one"));
        f.router.route(&ping_from(1));
        f.router.route(&response(1));
        assert_eq!(f.first.len(), 3);
        assert!(f.first.blocking_recv().is_some());
        assert_eq!((f.standalone.len(), f.second.len()), (0, 0));
        assert!(!f.router.requests.contains_key(&RequestId::Number(1)));
        assert!(f.router.tokens.is_empty());
    }

    #[test]
    fn everything_else_goes_to_the_standalone_stream() {
        let mut f = fixture();
        f.router.route(&progress("unknown"));
        f.router.route(&ping_from(77));
        let changed = ToolListChangedNotification::default();
        f.router.route(&ServerJsonRpcMessage::notification(changed.into()));
        assert_eq!((f.standalone.len(), f.first.len(), f.second.len()), (3, 0, 0));
    }

    #[test]
    fn a_late_response_goes_nowhere() {
        let mut f = fixture();
        f.router.close(&RequestId::Number(2));
        f.router.route(&response(2));
        assert_eq!((f.standalone.len(), f.second.len()), (0, 0));
    }

    #[test]
    fn an_open_request_id_cannot_be_opened_again() {
        let mut f = fixture();
        let (writer, _queue) = WriterHandle::new();
        assert_eq!(f.router.open(RequestId::Number(1), None, writer), Opened::InUse);
    }

    #[test]
    fn an_ended_session_takes_nothing() {
        let mut f = fixture();
        f.router.close_all();
        assert!(matches!(f.router.route(&progress("one")), Stored::Now(Err(Error::SessionEnded))));
        assert!(f.first.blocking_recv().is_none());
        let (writer, _queue) = WriterHandle::new();
        assert_eq!(f.router.open(RequestId::Number(3), None, writer), Opened::SessionEnded);
    }
}
