//! The SQLite backend of `mcp-event-store`: one file, no server.
//!
//! ```
//! # async fn example() -> mcp_event_store_core::Result<()> {
//! use mcp_event_store_core::Config;
//!
//! let store = mcp_event_store_sqlite::open("sqlite://events.db", &Config::default()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What an acknowledged event survives
//!
//! | `durability` | process killed | operating system crashes, power lost |
//! |---|---|---|
//! | `committed` (`synchronous=FULL`) | yes | yes, if the disk keeps what it says it synced |
//! | `relaxed` (`synchronous=NORMAL`) | yes | commits since the last checkpoint may be lost; the file stays consistent |
//!
//! Several processes on one machine may open the same file; a follower notices another process's
//! events within about 20 ms. WAL mode needs a local disk, not a network file system.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod append;
mod backend;
mod batch;
mod config;
mod connect;
mod error;
mod known;
mod leases;
#[cfg(test)]
mod plans;
mod read;
mod readers;
mod rows;
mod schema;
mod sessions;
mod sweep;
mod wakeups;
mod writer;

pub use backend::SqliteBackend;
pub use config::{FIELDS, SqliteOptions};

use mcp_event_store_core::{Clock, Config, Engine, Result, Store};

/// Opens or creates the store at `url`, such as `sqlite://events.db` or
/// `sqlite:///var/lib/mcp/events.db`. The URL's query is not read: give it to the configuration.
///
/// # Errors
/// As [`SqliteBackend::open`].
pub async fn open(url: &str, config: &Config) -> Result<Store> {
    let path = config::path_of(url)?;
    let options = SqliteOptions::from(config);
    let durability = config.settings().durability;
    let backend = SqliteBackend::open(path, &options, durability, Clock::system()).await?;
    Ok(Store::new(Engine::open(backend, config.settings().clone())?))
}
