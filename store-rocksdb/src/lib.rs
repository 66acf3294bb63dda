//! The RocksDB backend of `mcp-event-store`: one directory, one process, no server.
//!
//! ```
//! # async fn example() -> mcp_event_store_core::Result<()> {
//! use mcp_event_store_core::Config;
//!
//! let store = mcp_event_store_rocksdb::open("rocksdb://events", &Config::default()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What an acknowledged event survives
//!
//! | `durability` | process killed | operating system crashes, power lost |
//! |---|---|---|
//! | `committed` (the log is synced with each commit) | yes | yes, if the disk keeps what it says it synced |
//! | `relaxed` (the log is written, not synced) | yes | the newest commits may be lost; what is left is consistent |
//!
//! One process at a time has the directory. RocksDB needs a local disk, not a network file system.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

#[cfg(test)]
mod accounting;
mod append;
mod backend;
mod batch;
mod compact;
mod config;
mod connect;
mod database;
mod error;
mod index;
mod leases;
mod lock;
mod marks;
mod packed;
mod read;
mod readers;
mod rows;
mod schema;
mod sessions;
mod sweep;
mod tail;
#[cfg(test)]
mod work;
mod worker;

pub use backend::RocksBackend;
pub use config::{Compression, FIELDS, RocksOptions};

use mcp_event_store_core::{Clock, Config, Engine, Result, Store};

/// Opens or creates the store at `url`, such as `rocksdb://events` or
/// `rocksdb:///var/lib/mcp/events`. The URL's query is not read: give it to the configuration.
///
/// # Errors
/// As [`RocksBackend::open`].
pub async fn open(url: &str, config: &Config) -> Result<Store> {
    let path = config::path_of(url)?;
    let options = RocksOptions::from(config);
    let durability = config.settings().durability;
    let backend = RocksBackend::open(path, &options, durability, Clock::system()).await?;
    Ok(Store::new(Engine::open(backend, config.settings().clone())?))
}
