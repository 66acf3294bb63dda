//! The PostgreSQL backend of `mcp-event-store`.
