//! This store as a contender: tasks that append to it.

use std::sync::Arc;

use async_trait::async_trait;
use mcp_event_store::{Config, EventStore, NewEvent, SessionId, Store, StreamId, StreamRef};

use crate::messages::Messages;
use crate::race::Lane;

/// The defaults, but that nothing expires, nothing is refused, and nothing is swept: what is
/// measured should be what it is said to be.
const KEEP_EVERYTHING: &str = r#"
    [retention]
    stream_ttl = "off"
    completed_stream_ttl = "off"
    event_ttl = "off"
    max_events_per_stream = "off"
    max_bytes_per_stream = "off"
    max_total_bytes = "off"
    max_bytes_per_session = "off"
    session_ttl = "off"
    sweep_every = "off"
    [limits]
    max_streams_per_session = "off"
    max_followers_per_session = "off"
"#;

/// Opens a store that keeps everything.
pub(crate) async fn open(url: &str) -> anyhow::Result<Store> {
    open_with(url, &config(KEEP_EVERYTHING)?).await
}

/// Opens a store in which a complete stream expires after a second, and keeps no tombstone for
/// longer. Nothing sweeps but whoever asks for it.
pub(crate) async fn open_forgetful(url: &str) -> anyhow::Result<Store> {
    let forget = "completed_stream_ttl = \"1s\"\n    tombstone_ttl = \"1s\"";
    let toml = KEEP_EVERYTHING.replace("completed_stream_ttl = \"off\"", forget);
    open_with(url, &config(&toml)?).await
}

fn config(toml: &str) -> anyhow::Result<Config> {
    Ok(mcp_event_store::config().toml("the benchmark's settings", toml).load()?)
}

async fn open_with(url: &str, config: &Config) -> anyhow::Result<Store> {
    Ok(mcp_event_store::open_with(url, config).await?)
}

/// A stream of a session of its own.
pub(crate) fn stream(session: &str, name: &str) -> anyhow::Result<StreamRef> {
    Ok(StreamRef::in_session(SessionId::new(session)?, StreamId::new(name)?))
}

/// Appends to one long stream.
pub(crate) struct Appends {
    events: Arc<dyn EventStore>,
    stream: StreamRef,
    messages: Messages,
}

impl Appends {
    pub(crate) fn to(store: &Store, stream: StreamRef, messages: &Messages) -> Self {
        Self { events: store.events(), stream, messages: messages.clone() }
    }

    /// `lanes` of them, each to a stream of a session of its own: the dearest case.
    pub(crate) fn lanes(
        store: &Store,
        name: &str,
        lanes: usize,
        messages: &Messages,
    ) -> anyhow::Result<Vec<Box<dyn Lane>>> {
        let lane = |n| -> anyhow::Result<Box<dyn Lane>> {
            let stream = stream(&format!("session-{name}-{lanes}-{n}"), "request/1")?;
            Ok(Box::new(Self::to(store, stream, messages)))
        };
        (0..lanes).map(lane).collect()
    }
}

#[async_trait]
impl Lane for Appends {
    async fn commit(&mut self) -> anyhow::Result<usize> {
        let event = NewEvent::message(self.messages.next());
        self.events.store_event(&self.stream, event).await?;
        Ok(1)
    }
}

/// What an MCP server stores of a request: a priming event, a progress notification and a
/// response, in a stream of its own.
pub(crate) struct Requests {
    events: Arc<dyn EventStore>,
    session: String,
    served: u64,
    messages: Messages,
}

impl Requests {
    pub(crate) fn new(store: &Store, session: String, messages: &Messages) -> Self {
        Self { events: store.events(), session, served: 0, messages: messages.clone() }
    }

    /// `lanes` of them, each with a session of its own.
    pub(crate) fn lanes(
        store: &Store,
        name: &str,
        lanes: usize,
        messages: &Messages,
    ) -> Vec<Box<dyn Lane>> {
        let lane = |n| Self::new(store, format!("session-{name}-{lanes}-{n}"), messages);
        (0..lanes).map(|n| Box::new(lane(n)) as Box<dyn Lane>).collect()
    }
}

#[async_trait]
impl Lane for Requests {
    async fn commit(&mut self) -> anyhow::Result<usize> {
        self.served += 1;
        let stream = stream(&self.session, &format!("request/{}", self.served))?;
        self.events.store_event(&stream, NewEvent::priming(None)).await?;
        self.events.store_event(&stream, NewEvent::message(self.messages.next())).await?;
        let response = NewEvent::message(self.messages.next()).completing();
        self.events.store_event(&stream, response).await?;
        Ok(1)
    }
}
