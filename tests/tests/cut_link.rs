//! The engine over a connection that can be lost, against the whole contract.

mod harness;

mcp_event_store_compliance::compliance_suite!(harness::link::Linked, offers: [
    reopen, second_instance, cut, sessions, maintenance, leases, retention, follow,
]);
