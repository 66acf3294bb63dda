//! What appends leave to be booked: they touch no more than they must, and nothing gets lost when
//! it is booked under them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mcp_event_store_core::backend::Backend;
use mcp_event_store_core::{Clock, EventStore, Lease, Maintenance};

use crate::accounting::compare_booked;
use crate::crossing::Database;
use crate::scope::{Scope, append, event, eventually, stream};

const PATIENCE: Duration = Duration::from_secs(20);

/// Updates of a table, and how many of them wrote no index.
async fn updates(scope: &Scope, table: &str) -> [i64; 2] {
    let counts = format!(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables
         WHERE schemaname = '{}' AND relname = '{table}'",
        scope.schema()
    );
    let counts = scope.integers(counts).await;
    [counts[0][0], counts[0][1]]
}

/// In a database of its own, where nobody else keeps old versions of rows alive.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_to_a_live_stream_touches_its_row_and_no_index() {
    const APPENDS: i64 = 300;
    let database = Database::create().await;
    let scope = &database.scope;
    let engine = scope.engine().await;
    let one = stream("s", "a");
    append(&engine, &one, "first").await;
    for _ in 0..APPENDS {
        let lease = Lease::new("owner", Duration::from_secs(30));
        engine.store_event(&one, event("more").with_lease(lease)).await.unwrap();
    }
    // Connections that are closed report what they counted.
    engine.close().await.unwrap();
    let of_streams = async || updates(scope, "streams").await;
    let are_counted = async || of_streams().await[0] >= APPENDS;
    eventually(PATIENCE, "the server counts the updates", are_counted).await;
    let [all, hot] = of_streams().await;
    assert_eq!(all, APPENDS);
    assert!(hot * 10 >= all * 9, "{hot} of {all} updates stayed in their page");
    assert_eq!(
        updates(scope, "sessions").await[0],
        1,
        "updates of the session, by its first event"
    );
    database.drop_without_deadlocks().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_by_booking_under_appends() {
    const APPENDERS: usize = 16;
    const APPENDS: usize = 150;
    let database = Database::create().await;
    let scope = &database.scope;
    let engines = [scope.engine().await, scope.engine().await];
    let backend = Arc::new(scope.backend(&Clock::system()).await.unwrap());
    let mut appenders = tokio::task::JoinSet::new();
    for number in 0..APPENDERS {
        let engine = engines[number % 2].clone();
        appenders.spawn(async move {
            for n in 0..APPENDS {
                // Both instances append to each, and now and then to a new one.
                let name = if n % 10 == 0 { format!("{number}-{n}") } else { "all".to_owned() };
                let one = stream(&format!("session {}", number % 3), &name);
                append(&engine, &one, "x").await;
            }
        });
    }
    let done = Arc::new(AtomicBool::new(false));
    let booker = tokio::spawn({
        let (backend, done) = (backend.clone(), done.clone());
        async move {
            let mut most = 0;
            while !done.load(Ordering::SeqCst) {
                let sessions = backend.large_sessions(0, None, 10).await.unwrap();
                let bytes = sessions.iter().map(|(_, bytes)| bytes).sum();
                assert!(bytes >= most, "{bytes} bytes after {most}, and nothing was removed");
                most = bytes;
            }
            most
        }
    });
    while let Some(ended) = appenders.join_next().await {
        ended.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    assert!(booker.await.unwrap() > 0);
    compare_booked(scope, &backend).await;
    backend.close().await.unwrap();
    for engine in engines {
        engine.close().await.unwrap();
    }
    database.drop_without_deadlocks().await;
}
