//! The Redis backend of `mcp-event-store`.
