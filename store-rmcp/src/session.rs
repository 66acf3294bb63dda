//! A session's state on this instance: what is needed to run its requests. Everything that must
//! outlive the instance is in the store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use mcp_event_store_core::{NewEvent, SessionId, StreamId, StreamRef};
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ProtocolVersion, RequestId, ServerJsonRpcMessage,
    ServerResult,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::{Context, lock};
use crate::error::{Error, Result};
use crate::principal::{Caller, Principal};
use crate::question::Questions;
use crate::router::Router;
use crate::stream_name;
use crate::writer::{Kind, Stored, Writer, WriterHandle};

/// Messages from the client that wait for rmcp's loop, which only dispatches them.
const INBOUND: usize = 64;

/// Whether a session begins here or was begun on another instance.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    New,
    Restored,
}

/// A session on this instance.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) context: Arc<Context>,
    pub(crate) inbound: mpsc::Sender<ClientJsonRpcMessage>,
    /// Cancelled when the session is to end here.
    pub(crate) ended: CancellationToken,
    /// Cancelled when the session has left the instance's map.
    pub(crate) removed: CancellationToken,
    origin: Origin,
    /// Who began it.
    owner: Option<Principal>,
    questions: Questions,
    /// Whether events without a message may be sent, once the protocol version is agreed.
    shows_blank: OnceLock<bool>,
    /// Whether rmcp has begun it, or begun it again after a restore.
    ready: AtomicBool,
    /// Set when rmcp has dropped the transport: nothing runs for this session any more.
    transport_gone: AtomicBool,
    /// Held for routing and counting; nothing awaits under it.
    state: Mutex<State>,
}

struct State {
    router: Router,
    /// The `initialize` request under way, whose response goes to no stream.
    initialize: Option<(RequestId, oneshot::Sender<ServerJsonRpcMessage>)>,
    connections: usize,
    last_used: Instant,
}

impl Session {
    /// A session with its standalone stream's writer running, and what the client sends to it.
    pub(crate) fn start(
        context: &Arc<Context>,
        id: SessionId,
        origin: Origin,
        owner: Option<Principal>,
    ) -> Result<(Arc<Self>, mpsc::Receiver<ClientJsonRpcMessage>)> {
        let ended = CancellationToken::new();
        let standalone = StreamRef::in_session(id.clone(), stream_name::standalone()?);
        let writer = Writer {
            context: context.clone(),
            stream: standalone,
            kind: Kind::Standalone,
            lease: context.standalone_lease(&id),
            session_ended: ended.clone(),
        };
        let (standalone, appends) = WriterHandle::new();
        context.tasks.spawn(writer.run(appends));
        let (inbound, messages) = mpsc::channel(INBOUND);
        let session = Self {
            id,
            context: context.clone(),
            inbound,
            ended,
            removed: CancellationToken::new(),
            origin,
            owner,
            questions: Questions::new(),
            shows_blank: OnceLock::new(),
            ready: AtomicBool::new(origin == Origin::New),
            transport_gone: AtomicBool::new(false),
            state: Mutex::new(State {
                router: Router::new(standalone),
                initialize: None,
                connections: 0,
                last_used: Instant::now(),
            }),
        };
        Ok((Arc::new(session), messages))
    }

    /// A stream of this session.
    pub(crate) fn stream(&self, stream: StreamId) -> StreamRef {
        StreamRef::in_session(self.id.clone(), stream)
    }

    pub(crate) fn standalone(&self) -> Result<StreamRef> {
        Ok(self.stream(stream_name::standalone()?))
    }

    /// Whether another instance, or an earlier life of this one, began the session.
    pub(crate) fn is_restored(&self) -> bool {
        self.origin == Origin::Restored
    }

    /// Whether the session is `caller`'s.
    pub(crate) fn is_open_to(&self, caller: &Caller) -> bool {
        caller.may_use(self.owner.as_deref())
    }

    /// Whether the client knows events without a message: the version agreed at `initialize` is
    /// 2025-11-25 or later.
    pub(crate) fn shows_blank(&self) -> bool {
        self.shows_blank.get().copied().unwrap_or(false)
    }

    /// Hands `initialize` to the handler and waits for its response. A new session's standalone
    /// stream is primed meanwhile, so that even what is sent before its first GET can be resumed.
    pub(crate) async fn initialize(
        &self,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage> {
        let ClientJsonRpcMessage::Request(request) = &message else {
            return Err(Error::UnexpectedMessage("an initialize request"));
        };
        let (answer, response) = oneshot::channel();
        let priming = {
            let mut state = lock(&self.state);
            state.initialize = Some((request.id.clone(), answer));
            match self.origin {
                Origin::New => Some(state.router.standalone()?.enqueue(self.priming())),
                Origin::Restored => None,
            }
        };
        self.hand_over(message).await?;
        let response = response.await.map_err(|_| Error::SessionEnded)?;
        if let Some(priming) = priming {
            priming.wait().await.inspect_err(|_| self.end())?;
        }
        Ok(response)
    }

    /// The event that begins a stream.
    pub(crate) fn priming(&self) -> NewEvent {
        NewEvent::priming(self.context.config.retry)
    }

    /// Takes a notification, or an answer to one of the handler's own requests.
    pub(crate) async fn accept(&self, mut message: ClientJsonRpcMessage) -> Result<()> {
        self.questions.recognise(&mut message)?;
        self.note_cancellation(&message);
        self.hand_over(message).await?;
        // A restored session's first message is that it is initialised.
        self.ready.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Whether requests may be handed over: before `initialize` they would break the session.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    /// Hands a client's message to the handler.
    async fn hand_over(&self, message: ClientJsonRpcMessage) -> Result<()> {
        self.inbound.send(message).await.map_err(|_| Error::SessionEnded)
    }

    /// Ends the stream of a request that `message` cancels: rmcp sends no response to it, and a
    /// client that resumes must not wait for one.
    fn note_cancellation(&self, message: &ClientJsonRpcMessage) {
        if let ClientJsonRpcMessage::Notification(notification) = message
            && let ClientNotification::CancelledNotification(cancelled) = &notification.notification
            && let Some(request) = &cancelled.params.request_id
            && let Some(writer) = self.with_router(|router| router.close(request))
        {
            writer.enqueue(NewEvent::default().completing());
        }
    }

    /// Puts a message of the handler into its stream's queue, in the order of these calls.
    pub(crate) fn dispatch(&self, mut message: ServerJsonRpcMessage) -> Stored {
        self.questions.name(&mut message);
        let mut state = lock(&self.state);
        state.last_used = Instant::now();
        if state.initialize.as_ref().is_some_and(|(request, _)| answers(&message, request)) {
            self.note_version(&message);
            if let Some((_, answer)) = state.initialize.take() {
                let _ = answer.send(message);
            }
            return Stored::Now(Ok(()));
        }
        state.router.route(&message)
    }

    fn note_version(&self, message: &ServerJsonRpcMessage) {
        if let ServerJsonRpcMessage::Response(response) = message
            && let ServerResult::InitializeResult(result) = &response.result
        {
            let version = result.protocol_version.as_str();
            let _ = self.shows_blank.set(version >= ProtocolVersion::V_2025_11_25.as_str());
        }
    }

    pub(crate) fn with_router<T>(&self, f: impl FnOnce(&mut Router) -> T) -> T {
        f(&mut lock(&self.state).router)
    }

    /// Asks the session to end on this instance; what is stored stays. Repeatable.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    /// The transport is gone: lets every stream go, so that their writers finish.
    pub(crate) fn finish(&self) {
        self.end();
        self.transport_gone.store(true, Ordering::SeqCst);
        let mut state = lock(&self.state);
        state.initialize = None;
        state.router.close_all();
    }

    pub(crate) fn transport_gone(&self) -> bool {
        self.transport_gone.load(Ordering::SeqCst)
    }

    /// Notes that the client was heard of.
    pub(crate) fn used(&self) {
        lock(&self.state).last_used = Instant::now();
    }

    /// When the session was last used: now, while a request or a connection is open.
    pub(crate) fn last_used(&self) -> Instant {
        let state = lock(&self.state);
        let busy = state.connections > 0 || state.router.has_open_requests();
        if busy { Instant::now() } else { state.last_used }
    }

    /// Keeps the session in use until the guard is dropped.
    pub(crate) fn in_use(self: &Arc<Self>) -> InUse {
        lock(&self.state).connections += 1;
        InUse(self.clone())
    }
}

fn answers(message: &ServerJsonRpcMessage, request: &RequestId) -> bool {
    match message {
        ServerJsonRpcMessage::Response(response) => response.id == *request,
        ServerJsonRpcMessage::Error(error) => error.id.as_ref() == Some(request),
        _ => false,
    }
}

/// An open connection of a session.
pub(crate) struct InUse(Arc<Session>);

impl Drop for InUse {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.connections -= 1;
        state.last_used = Instant::now();
    }
}
