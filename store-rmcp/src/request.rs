//! A request from its arrival to the moment the handler has it.

use std::sync::Arc;

use mcp_event_store_core::{
    Error as StoreError, Replay, ReplayMode, Result as StoreResult, StreamRef,
};
use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, GetExtensions, GetMeta, JsonRpcRequest,
    ServerJsonRpcMessage,
};
use tokio::sync::mpsc;

use crate::connection::Connection;
use crate::failure;
use crate::patience::patiently;
use crate::router::Opened;
use crate::session::Session;
use crate::stream_control::StreamControl;
use crate::stream_name;
use crate::writer::{Append, Kind, Writer, WriterHandle};

const ID_TOO_LONG: &str = "the request ID is too long; at most some 400 bytes are allowed";
const ID_IN_USE: &str = "a request with this ID is still running in this session";

/// Primes the request's stream, connects its client, and hands it to the handler, in this order:
/// what runs has a stream that can be resumed, and a client is told at once if there is none.
///
/// Runs as a task of its own. rmcp drops the future of a client that disconnects, and that must
/// not leave a primed stream behind that nobody ends.
pub(crate) async fn open(
    session: Arc<Session>,
    request: JsonRpcRequest<ClientRequest>,
) -> Connection {
    let id = request.id.clone();
    let Ok(stream) = stream_name::for_request(&id) else {
        return Connection::single(failure::invalid(id, ID_TOO_LONG));
    };
    let (handle, appends) = WriterHandle::new();
    let token = request.request.get_meta().get_progress_token();
    match session.with_router(|router| router.open(id.clone(), token, handle.clone())) {
        Opened::Yes => {}
        Opened::InUse => return Connection::single(failure::invalid(id, ID_IN_USE)),
        Opened::SessionEnded => return Connection::single(failure::session_ended(id)),
    }
    let opening = Opening { stream: session.stream(stream), session, request, handle };
    opening.run(appends).await.unwrap_or_else(Connection::single)
}

/// A request whose place in the router is taken.
struct Opening {
    session: Arc<Session>,
    stream: StreamRef,
    request: JsonRpcRequest<ClientRequest>,
    handle: WriterHandle,
}

/// A connection, or what a client is told that gets none.
type Connected<T = Connection> = Result<T, ServerJsonRpcMessage>;

impl Opening {
    async fn run(self, appends: mpsc::UnboundedReceiver<Append>) -> Connected {
        let reader = self.begin(appends).await?;
        let connection = self.connect(reader).await?;
        self.hand_over().await;
        Ok(connection)
    }

    /// Stores the stream's first event, and starts its writer. Answers the stream's reader, or why
    /// there is none.
    async fn begin(
        &self,
        appends: mpsc::UnboundedReceiver<Append>,
    ) -> Connected<StoreResult<Replay>> {
        let context = &self.session.context;
        let running = context.run_request();
        let writer = self.writer();
        let error = match writer.begin(self.session.priming()).await {
            Ok(begun) => {
                context.tasks.spawn(async move {
                    writer.run(appends).await;
                    drop(running);
                });
                return Ok(begun.replay);
            }
            Err(error) => error,
        };
        self.session.with_router(|router| router.close(&self.request.id));
        let refusal = failure::not_stored(self.request.id.clone(), &error);
        if let StoreError::OutcomeUnknown { .. } = error {
            // The stream may be there after all, and then it needs an end.
            context.tasks.spawn(async move { writer.complete_after(&error).await });
        }
        Err(refusal)
    }

    /// Connects the client with `reader`, or with another if a store that is away comes back.
    async fn connect(&self, reader: StoreResult<Replay>) -> Connected {
        let context = &self.session.context;
        let reader = match reader {
            Err(StoreError::Unavailable { .. }) => {
                let read = || context.events.read_stream(&self.stream, ReplayMode::follow());
                patiently(context.config.store_timeout, read).await
            }
            reader => reader,
        };
        match reader {
            Ok(replay) => Ok(Connection::follow(&self.session, replay)),
            Err(error) => {
                let refusal = failure::not_stored(self.request.id.clone(), &error);
                self.session.with_router(|router| router.route(&refusal));
                Err(refusal)
            }
        }
    }

    fn writer(&self) -> Writer {
        let context = self.session.context.clone();
        Writer {
            lease: context.request_lease(),
            context,
            stream: self.stream.clone(),
            kind: Kind::Request(self.request.id.clone()),
            session_ended: self.session.ended.clone(),
        }
    }

    /// Gives the request to the handler, unless it was cancelled in the meantime. If the session
    /// has ended, its writer answers.
    async fn hand_over(mut self) {
        if let Some(control) = StreamControl::new(&self.session, &self.handle) {
            self.request.request.extensions_mut().insert(control);
        }
        if let Ok(place) = self.session.inbound.reserve().await
            && self.session.with_router(|r| r.is_open(&self.request.id, &self.handle))
        {
            place.send(ClientJsonRpcMessage::Request(self.request));
        }
    }
}
