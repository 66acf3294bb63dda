//! The contract, the engine and the retention of `mcp-event-store`: durable event stores for MCP
//! servers that speak Streamable HTTP with resumable SSE streams.
//!
//! Server authors start from the facade crate's `open`. This crate is for authors of adapters,
//! who call [`EventStore`], and of backends, who implement the `Backend` trait.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod backend;
mod clock;
mod config;
mod engine;
mod error;
mod event;
mod id;
pub mod memory;
mod retention;
mod store;

pub use clock::Clock;
pub use config::{
    BackendFields, Config, ConfigBuilder, ConfigError, ConfigErrors, Entry, Field, Kind, Off,
    Origin, Position, Value,
};
pub use engine::Engine;
pub use error::{Cause, Error, Result};
pub use event::{
    EVENT_OVERHEAD_BYTES, Lease, LeaseState, Message, NewEvent, RawJson, STREAM_OVERHEAD_BYTES,
    SessionRecord, StoredEvent, Timestamp,
};
pub use id::{EventId, MAX_NAME_BYTES, Scope, SessionId, StreamId, StreamRef};
pub use retention::{Durability, Limits, Retention, Settings};
pub use store::{
    Begun, Deleted, EventStore, EventStoreExt, EventStream, Maintenance, Readers, Replay,
    ReplayMode, SessionStore, Store, SweepReport, Usage, Verdict,
};
