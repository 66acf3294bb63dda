//! The PostgreSQL backend of `mcp-event-store`: one database, any number of instances.
//!
//! ```no_run
//! # async fn example() -> mcp_event_store_core::Result<()> {
//! use mcp_event_store_core::Config;
//!
//! let url = "postgres://app:secret@db.example.com/app";
//! let store = mcp_event_store_postgres::open(url, &Config::default()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What an acknowledged event survives
//!
//! | `durability` | an instance killed | the server killed, its machine or its power lost | a failover |
//! |---|---|---|---|
//! | `committed` (`synchronous_commit=on`) | yes | yes, if its disk keeps what it says it synced | to a synchronous standby |
//! | `relaxed` (`synchronous_commit=off`) | yes | the last moments before it may be lost; what is left is consistent | no |
//!
//! A follower notices another instance's events within about 20 ms by notifications, or within
//! `poll_interval` without them. Everything is a function in the store's schema, and each operation
//! one statement, which calls one or is what stands in one.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod append;
mod backend;
mod batch;
mod call;
mod config;
mod connect;
mod error;
mod leases;
mod names;
mod notices;
mod pool;
mod read;
mod rows;
mod schema;
mod server;
mod sessions;
mod statement;
mod sweep;
mod wakeups;

pub use backend::PostgresBackend;
pub use config::{FIELDS, PostgresOptions};

use mcp_event_store_core::{Clock, Config, Engine, Result, Store};

/// Opens the store in the database at `url`, such as `postgres://app:secret@db.example.com/app`.
/// The URL's query is not read: give it to the configuration.
///
/// # Errors
/// As [`PostgresBackend::open`].
pub async fn open(url: &str, config: &Config) -> Result<Store> {
    let options = PostgresOptions::from(config);
    let durability = config.settings().durability;
    let backend = PostgresBackend::open(url, &options, durability, Clock::system()).await?;
    Ok(Store::new(Engine::open(backend, config.settings().clone())?))
}
