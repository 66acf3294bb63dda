//! The SQLite store against the whole contract. A file has no connection that could be cut.

mod harness;

mcp_event_store_compliance::compliance_suite!(harness::sqlite::Sqlite, offers: [
    reopen, second_instance, kill, lose_tail, sessions, maintenance, leases, retention, follow,
]);
