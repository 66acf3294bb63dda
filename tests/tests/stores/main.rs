//! Every store of this project against the whole contract, in one test binary: so the names of its
//! tests compare store with store, and all of them share the servers that they start.

#[path = "../harness/mod.rs"]
mod harness;
mod support_table;

/// The reference. It does not survive its process.
mod memory {
    mcp_event_store_compliance::compliance_suite!(crate::harness::memory::Memory, offers: [
        reopen, second_instance, sessions, maintenance, leases, retention, follow,
    ]);
    mcp_event_store_compliance::proof_suite!(crate::harness::memory::Memory, offers: [
        reopen, second_instance, sessions, maintenance, leases, retention, follow,
    ]);
}

/// The engine over a connection that can be lost.
mod cut_link {
    mcp_event_store_compliance::compliance_suite!(crate::harness::link::Linked, offers: [
        reopen, second_instance, cut, sessions, maintenance, leases, retention, follow,
    ]);
    mcp_event_store_compliance::proof_suite!(crate::harness::link::Linked, offers: [
        reopen, second_instance, cut, sessions, maintenance, leases, retention, follow,
        server_kill,
    ]);
}

/// A file has no connection that could be cut.
mod sqlite {
    mcp_event_store_compliance::compliance_suite!(crate::harness::sqlite::Sqlite, offers: [
        reopen, second_instance, kill, lose_tail, sessions, maintenance, leases, retention, follow,
    ]);
    mcp_event_store_compliance::proof_suite!(crate::harness::sqlite::Sqlite, offers: [
        reopen, second_instance, kill, lose_tail, sessions, maintenance, leases, retention,
        follow,
    ]);
}

/// A server, by way of a proxy that can cut connections.
mod postgres {
    mcp_event_store_compliance::compliance_suite!(crate::harness::postgres::Direct);
    mcp_event_store_compliance::proof_suite!(crate::harness::postgres::Direct, offers: [
        reopen, second_instance, kill, cut, lose_tail, sessions, maintenance, leases, retention,
        follow,
    ]);
}

/// A server of its own, which is killed.
mod postgres_server {
    mcp_event_store_compliance::proof_suite!(crate::harness::postgres::OwnServer, offers: [
        server_kill, follow,
    ]);
}

/// The same through a PgBouncer in transaction mode, with `notify=off`.
mod pgbouncer {
    mcp_event_store_compliance::compliance_suite!(crate::harness::postgres::Pooled);
}

/// One server, with a connection that can be cut.
mod redis {
    mcp_event_store_compliance::compliance_suite!(crate::harness::redis::Redis, offers: [
        reopen, second_instance, kill, cut, lose_tail, sessions, maintenance, leases, retention,
        follow,
    ]);
    mcp_event_store_compliance::proof_suite!(crate::harness::redis::Redis, offers: [
        reopen, second_instance, kill, cut, lose_tail, sessions, maintenance, leases, retention,
        follow,
    ]);
}

/// A server of its own, which is killed.
mod redis_server {
    mcp_event_store_compliance::proof_suite!(crate::harness::redis::OwnServer, offers: [
        server_kill, follow,
    ]);
}

/// Three masters. Its members announce their own addresses, so that no proxy stands between.
mod redis_cluster {
    mcp_event_store_compliance::compliance_suite!(crate::harness::redis::RedisCluster, offers: [
        reopen, second_instance, kill, lose_tail, sessions, maintenance, leases, retention, follow,
    ]);
    mcp_event_store_compliance::proof_suite!(crate::harness::redis::RedisCluster, offers: [
        reopen, second_instance, kill, lose_tail, sessions, maintenance, leases, retention, follow,
    ]);
}

/// A directory has no connection that could be cut, and one process and one instance at a time.
mod rocksdb {
    mcp_event_store_compliance::compliance_suite!(crate::harness::rocksdb::Rocks, offers: [
        reopen, kill, lose_tail, sessions, maintenance, leases, retention, follow,
    ]);
    mcp_event_store_compliance::proof_suite!(crate::harness::rocksdb::Rocks, offers: [
        reopen, kill, lose_tail, sessions, maintenance, leases, retention, follow,
    ]);
}
