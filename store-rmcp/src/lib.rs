//! Durable, resumable SSE streams for MCP servers on [`rmcp`], over any [`Store`].
//!
//! [`DurableSessionManager`] takes the place of rmcp's `LocalSessionManager`. Everything a handler
//! sends is stored before a client sees it, and every connection, fresh or resumed, reads the
//! store: a client that lost its connection, or whose server died, comes back with
//! `Last-Event-ID` and gets what it missed, from any instance on the same database.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use mcp_event_store_core::Store;
//! use mcp_event_store_rmcp::{DurableSessionManager, ResumeGuard};
//! use rmcp::ServerHandler;
//! use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
//!
//! #[derive(Clone)]
//! struct MyServer;
//! impl ServerHandler for MyServer {}
//!
//! type Service = ResumeGuard<StreamableHttpService<MyServer, DurableSessionManager>>;
//!
//! fn durable(store: &Store) -> Service {
//!     let sessions = Arc::new(DurableSessionManager::new(store));
//!     sessions.service(|| Ok(MyServer), StreamableHttpServerConfig::default())
//! }
//! ```
//!
//! Of rmcp's own settings, `cancellation_token`, `sse_keep_alive`, `allowed_hosts` and
//! `allowed_origins` work as always. `sse_retry` must stay off, which
//! [`configure`](DurableSessionManager::configure) sees to: the priming events that carry it are
//! stored events here, with IDs of their own, and [`DurableSessionConfig::retry`] sets their
//! value.
//!
//! [`Store`]: mcp_event_store_core::Store

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod config;
mod connection;
mod context;
mod error;
mod event_store;
mod failure;
mod guard;
mod keeper;
mod manager;
mod owner_watch;
mod patience;
mod principal;
mod question;
mod refusal;
mod request;
mod request_scope;
mod resume;
mod router;
mod session;
mod session_map;
mod session_store;
mod stream_control;
mod stream_name;
mod transport;
mod turns;
mod wire;
mod wiring;
mod writer;

pub use config::DurableSessionConfig;
pub use error::{Error, Result};
pub use event_store::RmcpEventStore;
pub use guard::{ResumeGuard, ResumeGuardLayer};
pub use manager::DurableSessionManager;
pub use session_store::RmcpSessionStore;
pub use stream_control::StreamControl;
pub use transport::SessionTransport;
