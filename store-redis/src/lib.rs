//! The Redis backend of `mcp-event-store`: Redis 7 or newer, or Valkey; one server, Sentinel or
//! Cluster.
//!
//! ```no_run
//! # async fn example() -> mcp_event_store_core::Result<()> {
//! use mcp_event_store_core::Config;
//!
//! let url = "redis://localhost:6379";
//! let config = Config::builder().backend(mcp_event_store_redis::FIELDS).url(url).load()?;
//! let store = mcp_event_store_redis::open(url, &config).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What an acknowledged event survives
//!
//! | `durability` | client killed | server killed | power lost | failover |
//! |---|---|---|---|---|
//! | `committed` (`appendfsync always`) | yes | yes | yes, if the disk keeps what it says it synced | what the replica had; see `wait_replicas` |
//! | `relaxed` (the server's own settings) | yes | what it had written | what it had synced | what the replica had |
//!
//! What a failover lost is noticed: its event IDs are unknown afterwards, and never mean another
//! event. Instances wake each other through the server; a follower notices another instance's
//! events within about 20 ms.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod append;
mod args;
mod backend;
mod call;
mod cluster;
mod config;
mod connect;
mod error;
mod extension;
mod keys;
mod leases;
mod listing;
mod nodes;
mod private;
mod read;
mod rows;
mod scripts;
mod sentinel;
mod server;
mod sessions;
mod sweep;
mod target;
mod wakeups;

pub use backend::RedisBackend;
pub use config::{AppendFsync, FIELDS, RedisOptions};

use mcp_event_store_core::{Clock, Config, Engine, Result, Store};

/// Opens the store at `url`, such as `redis://localhost:6379`, `rediss://…`,
/// `redis+cluster://h1:7000,h2:7001` or `redis+sentinel://h1:26379,h2:26379/mymaster`. The URL's
/// query is not read: give it to the configuration.
///
/// # Errors
/// As [`RedisBackend::open`].
pub async fn open(url: &str, config: &Config) -> Result<Store> {
    let options = RedisOptions::from(config);
    let durability = config.settings().durability;
    let backend = RedisBackend::open(url, &options, durability, Clock::system()).await?;
    Ok(Store::new(Engine::open(backend, config.settings().clone())?))
}

/// For tests: the SHA-1 by which a client asks the server to append.
#[doc(hidden)]
#[must_use]
pub fn append_script_sha() -> &'static str {
    scripts::APPEND.sha()
}

/// For tests: the cluster's slot in which a session lies.
#[doc(hidden)]
#[must_use]
pub fn slot_of_session(session: &mcp_event_store_core::SessionId) -> u16 {
    keys::slot_of(keys::bucket_of_session(session))
}
