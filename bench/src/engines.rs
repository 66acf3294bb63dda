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

use async_trait::async_trait;

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

    /// Stores a stream of `events` events, and answers how to read it.
    async fn stream(&self, events: u64, messages: Messages) -> anyhow::Result<Box<dyn Scan>>;
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

/// A name that nothing else has: what a run stores on a shared server is its own.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) fn unique() -> anyhow::Result<String> {
    let number = getrandom::u64().map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(format!("mcp_event_store_bench_{number:016x}"))
}
