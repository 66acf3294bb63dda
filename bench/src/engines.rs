//! The databases themselves: where the benchmark's own stores lie, and what each engine can do
//! without a store in front of it.

#[cfg(any(feature = "sqlite", feature = "rocksdb"))]
mod folder;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp_event_store::EventId;

use crate::messages::Messages;

/// A database, and a place in it that is the benchmark's own.
#[async_trait]
pub(crate) trait Engine: Send + Sync {
    /// The engine, its version, and the settings that matter.
    fn description(&self) -> &str;

    /// The URL of the benchmark's own store of that name, which need not be there yet.
    fn store_url(&self, name: &str) -> String;

    /// Whether a store can be opened twice at the same time.
    fn is_shared(&self) -> bool;

    /// What the engine can do without a store in front of it, if there is an engine.
    fn raw(&self) -> Option<&dyn Raw>;

    /// Bytes that everything takes up which the benchmark has stored by now, on disk or, for a
    /// database in memory, there. Stores must be closed.
    async fn stored_bytes(&self) -> anyhow::Result<u64>;

    /// Removes everything that the benchmark has stored. Stores must be closed.
    async fn clean(&self) -> anyhow::Result<()>;
}

/// What the engine can do without a store in front of it: the same rows and the same durability.
#[async_trait]
pub(crate) trait Raw: Send + Sync {
    /// How many connections may be the best number for batches; the benchmark tries them.
    fn connections(&self) -> &'static [usize];

    /// How many connections a naive store may have; the best of them counts.
    fn naive_connections(&self) -> &'static [usize];

    /// A connection of its own.
    async fn connection(&self, messages: Messages) -> anyhow::Result<Box<dyn Connection>>;

    /// One with `streams` streams of its own, of each of which it also keeps a row: where it ends, since
    /// when, and its bytes. Each commit changes those of the streams that its events are of.
    async fn keeper(&self, messages: Messages, streams: u64)
    -> anyhow::Result<Box<dyn Connection>>;

    /// Stores a stream of `events` events, and answers how to read it.
    async fn stream(&self, events: u64, messages: Messages) -> anyhow::Result<Box<dyn Scan>>;

    /// Reads what the benchmark's store of that name has stored, which may be open. `None` where that
    /// is not measured.
    async fn reader(&self, _store: &str) -> anyhow::Result<Option<Box<dyn Reader>>> {
        Ok(None)
    }

    /// Appends to a stream of the benchmark's store of that name, which is open: writes all that the
    /// store would, and decides nothing. `None` where that is not measured.
    async fn writer(
        &self,
        _store: &str,
        _stream: StreamKey,
        _messages: Messages,
    ) -> anyhow::Result<Option<Box<dyn Connection>>> {
        Ok(None)
    }

    /// The same to `streams` by turns, of which a commit has room for one event each; and decides
    /// what no store may leave to others. `None` where that is not measured.
    async fn decider(
        &self,
        _store: &str,
        _streams: &[StreamKey],
        _messages: Messages,
    ) -> anyhow::Result<Option<Box<dyn Connection>>> {
        Ok(None)
    }

    /// A keeper beside many streams of two events each, which the first of so many makes. `None` where
    /// that is not measured.
    async fn keeper_among(
        &self,
        _messages: Messages,
        _among: Among,
    ) -> anyhow::Result<Option<Box<dyn Connection>>> {
        Ok(None)
    }
}

/// A connection that stores rows.
#[async_trait]
pub(crate) trait Connection: Send {
    /// Makes one commit of `rows` events durable.
    async fn commit(&mut self, rows: usize) -> anyhow::Result<()>;
}

/// A stream that is read whole through the engine's own driver.
#[async_trait]
pub(crate) trait Scan: Send {
    /// Reads it, and answers how many events and bytes of messages it holds.
    async fn scan(&mut self) -> anyhow::Result<(u64, u64)>;
}

/// Streams of connections that keep no rows of them.
const STREAMS: u64 = 64;

/// Where the next event goes: streams take turns, as from as many appenders.
#[derive(Clone)]
struct Turns {
    /// The number of the first of them.
    first: u64,
    streams: u64,
    dealt: Arc<AtomicU64>,
}

impl Turns {
    /// The turns of streams that all connections without streams of their own share.
    fn shared() -> Self {
        Self { first: 0, streams: STREAMS, dealt: Arc::default() }
    }

    /// Turns of `streams` streams that no other connection of the run has.
    fn of_its_own(streams: u64) -> Self {
        /// Above those that are shared, and those that are scanned.
        static NEXT: AtomicU64 = AtomicU64::new(1 << 32);
        let first = NEXT.fetch_add(streams, Ordering::Relaxed);
        Self { first, streams, dealt: Arc::default() }
    }

    /// A stream, and the sequence of its next event.
    fn next(&self) -> (u64, u64) {
        let dealt = self.dealt.fetch_add(1, Ordering::Relaxed);
        (self.first + dealt % self.streams, dealt / self.streams)
    }
}

/// Where the next event goes: to a few of many streams, for a round. They are from all over, others in
/// each round, and take turns.
pub(crate) struct Among {
    streams: u64,
    appenders: u64,
    round: u64,
    dealt: u64,
}

impl Among {
    pub(crate) fn new(streams: u64, appenders: u64, round: u64) -> Self {
        Self { streams, appenders, round, dealt: 0 }
    }
}

/// Each time a stream, and the sequence of its next event.
impl Iterator for Among {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<Self::Item> {
        /// More than a round appends to a stream.
        const OF_A_ROUND: u64 = 1 << 32;
        let Self { streams, appenders, round, dealt } = *self;
        self.dealt += 1;
        let stride = (streams / appenders).max(1);
        let stream = (round * 7919 + dealt % appenders * stride) % streams;
        Some((stream, (1 + round) * OF_A_ROUND + dealt / appenders))
    }
}

/// Reads a store's own rows by nothing but the engine's driver: the least that a replay has to.
#[async_trait]
pub(crate) trait Reader: Send {
    /// Reads the row of the stream with this key, its event with sequence `from`, which has to be the
    /// one that the client had, and those after it, `most` events in all; answers how many.
    async fn read(&mut self, key: StreamKey, from: u64, most: u64) -> anyhow::Result<u64>;
}

/// What an event ID begins with: the key under which stores have its stream.
pub(crate) type StreamKey = [u8; 16];

/// The key of the stream that an event of this ID is in.
pub(crate) fn stream_key(id: &EventId) -> anyhow::Result<StreamKey> {
    let id = URL_SAFE_NO_PAD.decode(id.as_str())?;
    id.first_chunk().copied().context("an event ID without its stream's key")
}

/// The engine that `url` names, ready to be measured.
///
/// # Errors
/// What opening a store there would say; whatever keeps the benchmark from making its own place.
pub(crate) async fn open(url: &str) -> anyhow::Result<Box<dyn Engine>> {
    // What is wrong with the URL is said in the words of the store.
    mcp_event_store::config().url(url).load()?;
    match scheme(url) {
        #[cfg(feature = "sqlite")]
        "sqlite" => Ok(Box::new(sqlite::Sqlite::open(url).await?)),
        #[cfg(feature = "postgres")]
        "postgres" => Ok(Box::new(postgres::Postgres::open(url).await?)),
        #[cfg(feature = "redis")]
        "redis" => Ok(Box::new(redis::Redis::open(url).await?)),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => Ok(Box::new(rocksdb::RocksDb::open(url)?)),
        "memory" => Ok(Box::new(memory::Memory)),
        // A scheme that is unknown or not compiled in is refused by the store.
        _ => match mcp_event_store::open(url).await {
            Err(refused) => Err(refused.into()),
            Ok(_) => anyhow::bail!("the benchmark does not know how to drive this kind of store"),
        },
    }
}

/// The backend that a URL names: its scheme, without the variants of one.
pub(crate) fn scheme(url: &str) -> &str {
    match url.split(':').next().unwrap_or_default() {
        "postgresql" => "postgres",
        "rediss" => "redis",
        scheme => scheme,
    }
}

/// `url` with `key=value` in its query, instead of what that key had.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) fn with_query(url: &str, key: &str, value: &str) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let others = query
        .split('&')
        .filter(|pair| !pair.is_empty() && pair.split('=').next().is_none_or(|name| name != key));
    let mut pairs: Vec<String> = others.map(str::to_owned).collect();
    pairs.push(format!("{key}={value}"));
    format!("{base}?{}", pairs.join("&"))
}

/// A keeper's row of a stream whose last event is `seq`, where rows are bytes: sequence, time and
/// bytes.
#[cfg(any(feature = "redis", feature = "rocksdb"))]
fn stream_row(seq: u64) -> Vec<u8> {
    [seq.to_be_bytes(); 3].concat()
}

/// A name that nothing else has: what a run stores on a shared server is its own.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) fn unique() -> anyhow::Result<String> {
    let number = getrandom::u64().map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(format!("mcp_event_store_bench_{number:016x}"))
}
