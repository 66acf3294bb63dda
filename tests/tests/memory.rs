//! The in-memory store against the whole contract.

mod harness;

mcp_event_store_compliance::compliance_suite!(harness::memory::Memory, offers: [
    reopen, second_instance, sessions, maintenance, leases, retention, follow,
]);
