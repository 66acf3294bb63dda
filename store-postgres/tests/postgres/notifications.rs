//! Followers hear of other instances, by notifications and, where those are lost, by the poll.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use mcp_event_store_core::{Engine, EventStore, Maintenance, ReplayMode};
use sqlx::Row;
use sqlx::postgres::PgListener;
use tokio::time::timeout;

use mcp_event_store_postgres::PostgresBackend;

use crate::scope::{Scope, append, eventually, stream};

/// Within this, notifications work; the poll behind them takes longer.
const SOON: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(20);

impl Scope {
    /// The connections for notifications, found by the name that only they have.
    async fn lines(&self) -> Vec<i32> {
        let name = self.options.application_name.as_deref().unwrap();
        let lines = format!(
            "SELECT pid FROM pg_stat_activity
             WHERE application_name = '{name}' AND query ~ '^(LISTEN|NOTIFY) '"
        );
        self.rows(lines).await.iter().map(|row| row.get(0)).collect()
    }

    /// Listens to what instances tell each other, one of which has to be there.
    async fn eavesdrop(&self) -> PgListener {
        let name = self.options.application_name.as_deref().unwrap();
        let channel = format!(
            "SELECT substring(query FROM '^(?:LISTEN|NOTIFY) \"?(\\w+)') FROM pg_stat_activity
             WHERE application_name = '{name}' AND query ~ '^(LISTEN|NOTIFY) '"
        );
        let channel: String = self.rows(channel).await[0].get(0);
        let mut listener = PgListener::connect(&self.url).await.unwrap();
        listener.listen(&channel).await.unwrap();
        listener
    }
}

/// Whether `engine`, whose connection for notifications is `line`, tells others of one of ten appends.
/// Each has far longer than it takes.
async fn tells(engine: &Engine<PostgresBackend>, line: i32, ear: &mut PgListener) -> bool {
    const LONG: Duration = Duration::from_millis(100);
    // What was said before.
    while timeout(LONG, ear.recv()).await.is_ok() {}
    for _ in 0..10 {
        append(engine, &stream("s", "told"), "a word").await;
        while let Ok(heard) = timeout(LONG, ear.recv()).await {
            let heard = heard.unwrap();
            if heard.process_id() == line.cast_unsigned() && heard.payload() != "!" {
                return true;
            }
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_alone_says_nothing_until_another_comes() {
    let mut scope = Scope::shared().await;
    scope.options.application_name = Some(scope.schema().to_owned());
    let first = scope.engine().await;
    let listens = async || scope.lines().await.len() == 1;
    eventually(PATIENCE, "it listens", listens).await;
    let mut ear = scope.eavesdrop().await;
    let mut line = scope.lines().await[0];
    eventually(PATIENCE, "it is alone", async || !tells(&first, line, &mut ear).await).await;
    for _ in 0..3 {
        let second = scope.engine().await;
        let one = stream("s", "a");
        let mut events = second.read_stream(&one, ReplayMode::follow()).await.unwrap().events;
        for _ in 0..3 {
            let stored = Instant::now();
            append(&first, &one, "more").await;
            timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
            assert!(stored.elapsed() < SOON, "{:?}", stored.elapsed());
        }
        drop(events);
        let other = scope.lines().await.into_iter().find(|other| *other != line).unwrap();
        assert!(tells(&first, line, &mut ear).await);
        assert!(tells(&second, other, &mut ear).await);
        second.close().await.unwrap();
        eventually(PATIENCE, "the other is gone", listens).await;
        // Alone again after it has connected anew.
        scope.run(format!("SELECT pg_terminate_backend({line})")).await;
        eventually(PATIENCE, "it listens anew", async || {
            scope.lines().await.iter().any(|now| *now != line)
        })
        .await;
        line = scope.lines().await[0];
        eventually(PATIENCE, "it is alone", async || !tells(&first, line, &mut ear).await).await;
    }
    first.close().await.unwrap();
    scope.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_listener_comes_back() {
    let mut scope = Scope::shared().await;
    scope.options.application_name = Some(scope.schema().to_owned());
    let (reader, writer) = (scope.engine().await, scope.engine().await);
    let one = stream("s", "a");
    append(&writer, &one, "first").await;
    let replay = reader.read_stream(&one, ReplayMode::follow()).await.unwrap();
    let mut events = replay.events;
    let first = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.seq, 1);
    for round in 0..3 {
        eventually(PATIENCE, "both instances listen", async || scope.lines().await.len() == 2)
            .await;
        let killed = scope.lines().await;
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN";
        scope.run(format!("{kill} ({}, {})", killed[0], killed[1])).await;
        append(&writer, &one, "while no one listens").await;
        let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(event.seq, 2 + 2 * round);
        eventually(PATIENCE, "both instances listen again", async || {
            let lines = scope.lines().await;
            lines.len() == 2 && lines.iter().all(|line| !killed.contains(line))
        })
        .await;
        let stored = Instant::now();
        append(&writer, &one, "when they listen again").await;
        let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(event.seq, 3 + 2 * round);
        assert!(stored.elapsed() < SOON, "{:?}", stored.elapsed());
    }
    reader.close().await.unwrap();
    writer.close().await.unwrap();
    scope.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_notified_is_found_by_the_poll() {
    let scope = Scope::shared().await;
    let reader = scope.engine().await;
    // As an instance that is killed after its commit: it never notifies.
    let mut silent = Scope::on(&scope.url);
    silent.options = scope.options.clone();
    silent.options.notify = false;
    let writer = silent.engine().await;
    let one = stream("s", "a");
    append(&writer, &one, "first").await;
    let mut events = reader.read_stream(&one, ReplayMode::follow()).await.unwrap().events;
    for seq in 1..=3 {
        let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(event.seq, seq);
        append(&writer, &one, "more").await;
    }
    drop(events);
    reader.close().await.unwrap();
    writer.close().await.unwrap();
    scope.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_commits_is_noticed_by_the_poll() {
    let mut scope = Scope::shared().await;
    scope.options.notify = false;
    let (reader, writer) = (scope.engine().await, scope.engine().await);
    let one = stream("s", "a");
    let mut events = reader.read_stream(&one, ReplayMode::follow()).await.unwrap().events;
    for seq in 1..=20 {
        append(&writer, &one, "before").await;
        let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(event.seq, seq);
    }
    // As after a failover to a server that had not heard of the last commits.
    scope.run(format!("UPDATE \"{}\".totals SET changes = 0", scope.schema())).await;
    for seq in 21..=23 {
        append(&writer, &one, "after").await;
        let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(event.seq, seq);
    }
    drop(events);
    reader.close().await.unwrap();
    writer.close().await.unwrap();
    scope.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_words_of_an_instance_are_heard() {
    let scope = Scope::shared().await;
    let reader = scope.engine().await;
    let one = stream("s", "a");
    let mut events = reader.read_stream(&one, ReplayMode::follow()).await.unwrap().events;
    for _ in 0..4 {
        let writer = scope.engine().await;
        append(&writer, &one, "last").await;
        let closed = Instant::now();
        writer.close().await.unwrap();
        timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        assert!(closed.elapsed() < SOON, "{:?}", closed.elapsed());
    }
    drop(events);
    reader.close().await.unwrap();
    scope.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_change_is_told() {
    let scope = Scope::shared().await;
    let (reader, writer) = (scope.engine().await, scope.engine().await);
    for (name, delete_session) in [("a", false), ("b", true)] {
        let one = stream("s", name);
        append(&writer, &one, "first").await;
        let mut events = reader.read_stream(&one, ReplayMode::follow()).await.unwrap().events;
        timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        let deleted = Instant::now();
        if delete_session {
            writer.delete_session(one.session.as_ref().unwrap()).await.unwrap();
        } else {
            writer.delete_stream(&one).await.unwrap();
        }
        let end = timeout(PATIENCE, events.next()).await.unwrap();
        assert!(end.unwrap().is_err());
        assert!(deleted.elapsed() < SOON, "{:?}", deleted.elapsed());
    }
    reader.close().await.unwrap();
    writer.close().await.unwrap();
    scope.tear_down().await;
}
