//! The RocksDB backend of `mcp-event-store`.
