//! Durable event stores for MCP servers: one `open(url)` for every backend that is compiled in.

pub use mcp_event_store_core::*;

/// A configuration that knows the fields of every backend that is compiled in.
#[must_use]
pub fn config() -> ConfigBuilder {
    Config::builder()
}
