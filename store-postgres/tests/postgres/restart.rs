//! The server is killed and started again under running appends: what was acknowledged is there,
//! and the same handles go on.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt;
use mcp_event_store_core::{Engine, Error, EventStore, Maintenance, ReplayMode};
use mcp_event_store_postgres::PostgresBackend;
use mcp_event_store_test_servers::Postgres;

use crate::scope::{Scope, append, event, eventually, stream};

/// Appends until told to stop; counts what was acknowledged, and answers it.
async fn appender(
    engine: Arc<Engine<PostgresBackend>>,
    number: usize,
    count: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Vec<String> {
    let one = stream(&format!("session {number}"), "a");
    let mut acknowledged = Vec::new();
    let mut n = 0;
    while !stop.load(Ordering::SeqCst) {
        n += 1;
        let text = format!("{number}/{n}");
        match engine.store_event(&one, event(&text)).await {
            Ok(_) => {
                count.fetch_add(1, Ordering::SeqCst);
                acknowledged.push(text);
            }
            Err(Error::Unavailable { .. } | Error::OutcomeUnknown { .. }) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_that_was_acknowledged() {
    const APPENDERS: usize = 8;
    let server = Postgres::own(&[]).await.unwrap();
    let scope = Scope::on(server.url());
    let engine = scope.engine().await;
    let stop = Arc::new(AtomicBool::new(false));
    let counts = [(); APPENDERS].map(|()| Arc::<AtomicUsize>::default());
    let appenders: Vec<_> = counts
        .iter()
        .enumerate()
        .map(|(number, count)| appender(engine.clone(), number, count.clone(), stop.clone()))
        .map(tokio::spawn)
        .collect();
    let acknowledged = || counts.each_ref().map(|count| count.load(Ordering::SeqCst));
    for _ in 0..3 {
        let before = acknowledged();
        let gone_on = async || acknowledged().iter().zip(before).all(|(now, then)| *now > then + 5);
        eventually(Duration::from_secs(30), "all appenders go on", gone_on).await;
        server.kill().await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.start().await.unwrap();
        let probe = stream("probe", "a");
        let back = async || engine.store_event(&probe, event("back")).await.is_ok();
        eventually(Duration::from_secs(30), "the store works again", back).await;
    }
    stop.store(true, Ordering::SeqCst);
    for (number, appender) in appenders.into_iter().enumerate() {
        let acknowledged = appender.await.unwrap();
        assert!(!acknowledged.is_empty());
        let one = stream(&format!("session {number}"), "a");
        let replay = engine.read_stream(&one, ReplayMode::Stored).await.unwrap();
        let stored: Vec<_> = replay.events.try_collect().await.unwrap();
        let stored: Vec<String> = stored
            .iter()
            .map(|event| event.message.as_ref().unwrap().to_value().unwrap())
            .collect();
        let distinct: HashSet<_> = stored.iter().collect();
        assert_eq!(distinct.len(), stored.len(), "each is stored once");
        let found: Vec<_> = stored.into_iter().filter(|text| acknowledged.contains(text)).collect();
        assert_eq!(found, acknowledged, "all that was acknowledged, in order");
    }
    engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_died_at_rest_fail_no_one() {
    let mut scope = Scope::shared().await;
    scope.options.application_name = Some(scope.schema().to_owned());
    let engine = scope.engine().await;
    let one = stream("s", "a");
    append(&engine, &one, "first").await;
    for round in 0..3 {
        let name = scope.schema().to_owned();
        let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name =";
        scope.run(format!("{all} '{name}'")).await;
        // Longer than a connection is trusted unasked.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        append(&engine, &one, "after").await;
        let replay = engine.read_stream(&one, ReplayMode::Stored).await.unwrap();
        assert_eq!(replay.events.try_collect::<Vec<_>>().await.unwrap().len(), round + 2);
    }
    engine.close().await.unwrap();
    scope.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_a_connection_during_an_append_leaves_the_outcome_unknown() {
    let server = Postgres::own(&[]).await.unwrap();
    let scope = Scope::on(server.url());
    // Versions before 17 have no such setting, and end a connection for nothing else that a test
    // could ask for.
    let version = "SELECT current_setting('server_version_num')::bigint";
    if scope.integers(version).await[0][0] < 170_000 {
        return;
    }
    let engine = scope.engine().await;
    let one = stream("s", "a");
    append(&engine, &one, "first").await;
    engine.close().await.unwrap();
    scope.run("ALTER ROLE postgres SET transaction_timeout = '1s'").await;
    let engine = scope.engine().await;
    let lock = format!(
        "SET transaction_timeout = 0; BEGIN; SELECT * FROM \"{0}\".streams FOR UPDATE;
         SELECT pg_sleep(4); COMMIT",
        scope.schema()
    );
    let locking = scope.run(lock);
    let appending = async {
        let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        let locked = async || scope.integers(sleeping).await[0][0] == 1;
        eventually(Duration::from_secs(3), "the lock", locked).await;
        engine.store_event(&one, event("late")).await
    };
    let (answer, ()) = tokio::join!(appending, locking);
    assert!(matches!(answer, Err(Error::OutcomeUnknown { .. })), "{answer:?}");
    append(&engine, &one, "second").await;
    engine.close().await.unwrap();
}
