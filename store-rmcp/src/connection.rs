//! One SSE connection: the follower of a stored stream, in the form that rmcp writes out.
//!
//! Fresh or resumed, POST or GET, on the instance that runs the request or on another: all read
//! the store.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use mcp_event_store_core::{EventStream, Replay, Result as StoreResult, StoredEvent, Verdict};
use rmcp::model::ServerJsonRpcMessage;
use rmcp::transport::common::server_side_http::ServerSseMessage;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use crate::session::{InUse, Session};
use crate::{stream_name, wire};

/// The events of one SSE connection.
#[must_use = "streams do nothing unless polled"]
pub(crate) struct Connection {
    opening: Option<ServerSseMessage>,
    /// `None` once it has ended.
    events: Option<EventStream>,
    /// Events still to come that were stored before this connection: not live.
    replayed: u64,
    /// Where the client would resume.
    last_event_id: Option<String>,
    /// What its client can do.
    client: ClientKind,
    draining: Option<Draining>,
    in_use: Option<InUse>,
    owner_watch: Option<DropGuard>,
}

/// What a connection's client can do.
#[derive(Clone, Copy)]
struct ClientKind {
    /// It knows events without a message (protocol 2025-11-25 and later).
    shows_blank: bool,
    /// It can come back without an event ID, since the stream is the standalone one.
    needs_no_id: bool,
}

/// The instance's wish that its clients go elsewhere.
struct Draining {
    begun: Pin<Box<WaitForCancellationFutureOwned>>,
    retry: Duration,
}

/// What an event means to this connection.
enum Step {
    Show(ServerSseMessage),
    ShowAndEnd(ServerSseMessage),
    Skip,
}

impl Connection {
    /// Follows a stream of `session`, and keeps the session in use meanwhile.
    pub(crate) fn follow(session: &Arc<Session>, replay: Replay) -> Self {
        let context = &session.context;
        let client = ClientKind {
            shows_blank: session.shows_blank(),
            needs_no_id: stream_name::request_of(&replay.stream.stream).is_none(),
        };
        Self {
            in_use: Some(session.in_use()),
            ..Self::of(replay, client).ending_with(&context.draining, context.config.retry)
        }
    }

    /// Follows a stream without a session.
    pub(crate) fn sessionless(replay: Replay) -> Self {
        Self::of(replay, ClientKind { shows_blank: true, needs_no_id: false })
    }

    fn of(replay: Replay, client: ClientKind) -> Self {
        let replayed = match replay.verdict {
            Verdict::CaughtUp => 0,
            Verdict::Recovered { events } => events,
        };
        Self { events: Some(replay.events), replayed, client, ..Self::ended() }
    }

    fn ended() -> Self {
        Self {
            opening: None,
            events: None,
            replayed: 0,
            last_event_id: None,
            client: ClientKind { shows_blank: false, needs_no_id: false },
            draining: None,
            in_use: None,
            owner_watch: None,
        }
    }

    /// One message that is stored nowhere, because the store refused.
    pub(crate) fn single(message: ServerJsonRpcMessage) -> Self {
        Self { opening: Some(ServerSseMessage::from_message(message)), ..Self::ended() }
    }

    /// The answer to a client that presented `last_event_id`; to the same ID, the same answer.
    pub(crate) fn answer(last_event_id: String, message: ServerJsonRpcMessage) -> Self {
        Self { opening: Some(ServerSseMessage::new(last_event_id, message)), ..Self::ended() }
    }

    /// Begins with the presented ID: clients keep `Last-Event-ID` per connection, and this one
    /// may break before it brought a new one.
    pub(crate) fn opening_with(mut self, last_event_id: String, retry: Duration) -> Self {
        self.last_event_id = Some(last_event_id.clone());
        if self.client.shows_blank {
            self.opening = Some(ServerSseMessage::priming(last_event_id, retry));
        }
        self
    }

    /// Watches the stream's owner while this connection is open.
    pub(crate) fn watching_owner(self, watch: Option<DropGuard>) -> Self {
        Self { owner_watch: watch, ..self }
    }

    /// Ends when `draining` is cancelled, with the time after which the client is to return.
    fn ending_with(self, draining: &CancellationToken, retry: Duration) -> Self {
        let begun = Box::pin(draining.clone().cancelled_owned());
        Self { draining: Some(Draining { begun, retry }), ..self }
    }

    fn step(&mut self, event: &StoredEvent) -> StoreResult<Step> {
        let live = self.replayed == 0;
        self.replayed = self.replayed.saturating_sub(1);
        // A closing marker was written to end the connections of its time, not later ones.
        let closes = event.message.is_none() && event.retry.is_some() && event.seq > 1;
        if closes && !live || event.message.is_none() && !self.client.shows_blank {
            return Ok(Step::Skip);
        }
        let message = sse_message(event)?;
        self.last_event_id.clone_from(&message.event_id);
        Ok(if closes { Step::ShowAndEnd(message) } else { Step::Show(message) })
    }

    /// Whether the client is to go now: it has what was stored, and can come back.
    fn is_drained(&mut self, cx: &mut Context<'_>) -> bool {
        let can_return = self.client.needs_no_id || self.last_event_id.is_some();
        let Some(draining) = &mut self.draining else { return false };
        self.replayed == 0 && can_return && draining.begun.as_mut().poll(cx).is_ready()
    }

    /// The last event of a drained connection.
    fn farewell(&self) -> Option<ServerSseMessage> {
        let (draining, id) = (self.draining.as_ref()?, self.last_event_id.clone()?);
        self.client.shows_blank.then(|| ServerSseMessage::priming(id, draining.retry))
    }

    /// Lets go of the store, the session and the watch.
    fn end(&mut self) {
        self.events = None;
        self.in_use = None;
        self.owner_watch = None;
    }
}

fn sse_message(event: &StoredEvent) -> StoreResult<ServerSseMessage> {
    let mut sse = ServerSseMessage::default();
    sse.event_id = Some(event.id.as_str().to_owned());
    sse.message = event.message.as_ref().map(wire::decode).transpose()?.map(Into::into);
    sse.retry = event.retry;
    Ok(sse)
}

impl Stream for Connection {
    type Item = ServerSseMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(opening) = self.opening.take() {
            return Poll::Ready(Some(opening));
        }
        loop {
            let Some(events) = &mut self.events else { return Poll::Ready(None) };
            let event = match events.as_mut().poll_next(cx) {
                Poll::Ready(event) => event,
                Poll::Pending if self.is_drained(cx) => {
                    self.end();
                    return Poll::Ready(self.farewell());
                }
                Poll::Pending => return Poll::Pending,
            };
            match event.map(|event| event.and_then(|event| self.step(&event))) {
                Some(Ok(Step::Show(message))) => return Poll::Ready(Some(message)),
                Some(Ok(Step::Skip)) => {}
                Some(Ok(Step::ShowAndEnd(message))) => {
                    self.end();
                    return Poll::Ready(Some(message));
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "a connection ended early");
                    self.end();
                }
                None => self.end(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream};
    use mcp_event_store_core::{EventId, RawJson, StreamId, StreamRef, Timestamp};

    use super::*;

    const RETRY: Option<Duration> = Some(Duration::from_millis(10));
    const LATEST: ClientKind = ClientKind { shows_blank: true, needs_no_id: false };
    const OLDER: ClientKind = ClientKind { shows_blank: false, needs_no_id: false };

    fn event(seq: u64, message: Option<&str>, retry: Option<Duration>) -> StoredEvent {
        StoredEvent {
            id: EventId::new(format!("id-{seq}")),
            seq,
            stored_at: Timestamp(0),
            message: message.map(|text| RawJson::parse(text).unwrap()),
            retry,
            completes_stream: false,
        }
    }

    fn ping(seq: u64) -> StoredEvent {
        event(seq, Some(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#), None)
    }

    /// A connection to `events`, of which the first `replayed` are not live; it stays open.
    fn connection(events: Vec<StoredEvent>, replayed: u64, client: ClientKind) -> Connection {
        let events = stream::iter(events.into_iter().map(Ok)).chain(stream::pending());
        let replay = Replay {
            stream: StreamRef::sessionless(StreamId::new("s").unwrap()),
            verdict: Verdict::of(replayed),
            events: Box::pin(events),
        };
        Connection::of(replay, client)
    }

    /// The IDs that a client sees at once, and whether the connection has ended then.
    fn shown(mut connection: Connection) -> (Vec<String>, bool) {
        let mut ids = Vec::new();
        loop {
            match connection.next().now_or_never() {
                Some(Some(sse)) => ids.push(sse.event_id.unwrap()),
                ended => return (ids, ended.is_some()),
            }
        }
    }

    fn ids(numbers: &[u64]) -> Vec<String> {
        numbers.iter().map(|n| format!("id-{n}")).collect()
    }

    #[test]
    fn a_closing_marker_ends_a_live_follower_after_it_was_shown() {
        let events = vec![event(1, None, RETRY), ping(2), event(3, None, RETRY), ping(4)];
        assert_eq!(shown(connection(events, 1, LATEST)), (ids(&[1, 2, 3]), true));
    }

    #[test]
    fn a_replayed_closing_marker_is_passed_over() {
        let events = vec![event(1, None, RETRY), ping(2), event(3, None, RETRY), ping(4)];
        assert_eq!(shown(connection(events, 3, LATEST)), (ids(&[1, 2, 4]), false));
    }

    #[test]
    fn older_clients_see_no_event_without_a_message() {
        let events = vec![event(1, None, RETRY), ping(2), event(3, None, None)];
        assert_eq!(shown(connection(events, 1, OLDER)), (ids(&[2]), false));
    }

    #[test]
    fn a_drained_connection_ends_after_what_is_stored_and_says_when_to_return() {
        let drained = CancellationToken::new();
        drained.cancel();
        let latest = connection(vec![ping(1), ping(2)], 2, LATEST);
        let latest = latest.ending_with(&drained, RETRY.unwrap());
        assert_eq!(shown(latest), (ids(&[1, 2, 2]), true));
        let older = connection(vec![ping(1), ping(2)], 2, OLDER);
        assert_eq!(shown(older.ending_with(&drained, RETRY.unwrap())), (ids(&[1, 2]), true));
    }

    #[test]
    fn a_client_that_could_not_come_back_is_kept() {
        let drained = CancellationToken::new();
        drained.cancel();
        let older = connection(vec![event(1, None, RETRY)], 1, OLDER);
        assert_eq!(shown(older.ending_with(&drained, RETRY.unwrap())), (vec![], false));
    }
}
