//! A request from its arrival to the moment the handler has it.

use std::sync::Arc;

use mcp_event_store_core::{ReplayMode, StreamRef};
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, GetMeta, JsonRpcRequest};
use tokio::sync::mpsc;

use crate::connection::Connection;
use crate::failure;
use crate::session::Session;
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
    if !session.with_router(|router| router.open(id.clone(), token, handle.clone())) {
        return Connection::single(failure::invalid(id, ID_IN_USE));
    }
    let opening = Opening { stream: session.stream(stream), session, request, handle };
    opening.run(appends).await
}

/// A request whose place in the router is taken.
struct Opening {
    session: Arc<Session>,
    stream: StreamRef,
    request: JsonRpcRequest<ClientRequest>,
    handle: WriterHandle,
}

impl Opening {
    async fn run(self, appends: mpsc::UnboundedReceiver<Append>) -> Connection {
        let id = self.request.id.clone();
        let writer = self.writer();
        if let Err(error) = writer.store(self.session.priming()).await {
            self.session.with_router(|router| router.close(&id));
            return Connection::single(failure::not_stored(id, &error));
        }
        let running = self.session.context.run_request();
        self.session.context.tasks.spawn(async move {
            writer.run(appends).await;
            drop(running);
        });
        match self.session.context.events.read_stream(&self.stream, ReplayMode::follow()).await {
            Ok(replay) => {
                let connection = Connection::new(replay, self.session.shows_blank());
                let connection = connection.using(self.session.in_use());
                self.hand_over().await;
                connection
            }
            Err(error) => {
                let refusal = failure::not_stored(id, &error);
                self.session.with_router(|router| router.route(&refusal));
                Connection::single(refusal)
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
    async fn hand_over(self) {
        if let Ok(place) = self.session.inbound.reserve().await
            && self.session.with_router(|r| r.is_open(&self.request.id, &self.handle))
        {
            place.send(ClientJsonRpcMessage::Request(self.request));
        }
    }
}
