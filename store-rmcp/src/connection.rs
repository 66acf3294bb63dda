//! One SSE connection: the follower of a stored stream, in the form that rmcp writes out.
//!
//! Fresh or resumed, POST or GET, on the instance that runs the request or on another: all read
//! the store.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use mcp_event_store_core::{EventStream, Replay, Result as StoreResult, StoredEvent, Verdict};
use rmcp::model::ServerJsonRpcMessage;
use rmcp::transport::common::server_side_http::ServerSseMessage;
use tokio_util::sync::DropGuard;

use crate::session::InUse;
use crate::wire;

/// The events of one SSE connection.
#[must_use = "streams do nothing unless polled"]
pub(crate) struct Connection {
    opening: Option<ServerSseMessage>,
    events: Option<EventStream>,
    /// Events still to come that were stored before this connection: not live.
    replayed: u64,
    /// Whether the client knows events without a message (protocol 2025-11-25 and later).
    shows_blank: bool,
    in_use: Option<InUse>,
    owner_watch: Option<DropGuard>,
}

/// What an event means to this connection.
enum Step {
    Show(ServerSseMessage),
    ShowAndEnd(ServerSseMessage),
    Skip,
}

impl Connection {
    /// Follows `replay`.
    pub(crate) fn new(replay: Replay, shows_blank: bool) -> Self {
        let replayed = match replay.verdict {
            Verdict::CaughtUp => 0,
            Verdict::Recovered { events } => events,
        };
        Self {
            opening: None,
            events: Some(replay.events),
            replayed,
            shows_blank,
            in_use: None,
            owner_watch: None,
        }
    }

    /// One message that is stored nowhere, because the store refused.
    pub(crate) fn single(message: ServerJsonRpcMessage) -> Self {
        Self {
            opening: Some(ServerSseMessage::from_message(message)),
            events: None,
            replayed: 0,
            shows_blank: false,
            in_use: None,
            owner_watch: None,
        }
    }

    /// Begins with the presented ID: clients keep `Last-Event-ID` per connection, and this one
    /// may break before it brought a new one.
    pub(crate) fn opening_with(mut self, last_event_id: String, retry: Duration) -> Self {
        if self.shows_blank {
            self.opening = Some(ServerSseMessage::priming(last_event_id, retry));
        }
        self
    }

    /// Keeps the session in use while this connection is open.
    pub(crate) fn using(mut self, in_use: InUse) -> Self {
        self.in_use = Some(in_use);
        self
    }

    /// Watches the stream's owner while this connection is open.
    pub(crate) fn watching_owner(mut self, watch: DropGuard) -> Self {
        self.owner_watch = Some(watch);
        self
    }

    fn step(&mut self, event: &StoredEvent) -> StoreResult<Step> {
        let live = self.replayed == 0;
        self.replayed = self.replayed.saturating_sub(1);
        // A closing marker was written to end the connections of its time, not later ones.
        let closes = event.message.is_none() && event.retry.is_some() && event.seq > 1;
        if closes && !live || event.message.is_none() && !self.shows_blank {
            return Ok(Step::Skip);
        }
        let message = sse_message(event)?;
        Ok(if closes { Step::ShowAndEnd(message) } else { Step::Show(message) })
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
            let event = ready!(events.as_mut().poll_next(cx));
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
    use futures_util::{StreamExt, stream};
    use mcp_event_store_core::{EventId, RawJson, StreamId, StreamRef, Timestamp};

    use super::*;

    const RETRY: Option<Duration> = Some(Duration::from_millis(10));

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

    /// The IDs that a client sees of `events`, of which the first `replayed` are not live.
    async fn shown(events: Vec<StoredEvent>, replayed: u64, shows_blank: bool) -> Vec<String> {
        let replay = Replay {
            stream: StreamRef::sessionless(StreamId::new("s").unwrap()),
            verdict: Verdict::of(replayed),
            events: Box::pin(stream::iter(events.into_iter().map(Ok))),
        };
        let connection = Connection::new(replay, shows_blank);
        connection.map(|sse| sse.event_id.unwrap()).collect().await
    }

    #[tokio::test]
    async fn a_closing_marker_ends_a_live_follower_after_it_was_shown() {
        let events = vec![event(1, None, RETRY), ping(2), event(3, None, RETRY), ping(4)];
        assert_eq!(shown(events, 1, true).await, ["id-1", "id-2", "id-3"]);
    }

    #[tokio::test]
    async fn a_replayed_closing_marker_is_passed_over() {
        let events = vec![event(1, None, RETRY), ping(2), event(3, None, RETRY), ping(4)];
        assert_eq!(shown(events, 3, true).await, ["id-1", "id-2", "id-4"]);
    }

    #[tokio::test]
    async fn older_clients_see_no_event_without_a_message() {
        let events = vec![event(1, None, RETRY), ping(2), event(3, None, None)];
        assert_eq!(shown(events, 1, false).await, ["id-2"]);
    }
}
