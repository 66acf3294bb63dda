//! Group commit against what SQLite can do at all, measured in the same run.
//!
//! - **this store**: 1, 16 and 64 tasks, each appending to a stream of a session of its own;
//! - **raw limit**: prepared inserts through the same driver into the same schema with the same
//!   durability, 64 rows a transaction, no bookkeeping;
//! - **naive store**: the same insert, one commit an event;
//! - **replay** of 100,000 events against a raw scan of the same rows through the same driver.
//!
//! Contestants alternate, round by round, so that a noisy machine hits all alike. Run it with
//! `cargo bench -p mcp-event-store-sqlite`; a number as argument sets the rounds.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt};
use mcp_event_store_core::{
    Clock, Config, Durability, Engine, EventStore, EventStoreExt, Maintenance, Message, NewEvent,
    Retention, SessionId, Settings, StreamId, StreamRef,
};
use mcp_event_store_sqlite::{SqliteBackend, SqliteOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

const MESSAGE_BYTES: usize = 500;
const ROUND: Duration = Duration::from_millis(700);
const REPLAYED: u64 = 100_000;
const INSERT: &str = "INSERT INTO events
    (stream, seq, tag, stored_at, running_bytes, retry_ms, message) VALUES (?,?,?,?,?,?,?)";

#[tokio::main]
async fn main() {
    let rounds = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(7);
    // In a task, like a server's handlers: all contestants are woken in the same way.
    let measured = tokio::spawn(async move {
        let folder = tempfile::tempdir_in(".").unwrap();
        appends(folder.path(), rounds).await;
        replays(folder.path(), rounds).await;
    });
    measured.await.unwrap();
}

type Store = Engine<SqliteBackend>;

async fn open(path: &Path) -> Arc<Store> {
    let options = SqliteOptions::from(&Config::default());
    let clock = Clock::system();
    let backend = SqliteBackend::open(path, &options, Durability::Committed, clock).await.unwrap();
    let settings = Settings { retention: Retention::keep_everything(), ..Settings::default() };
    Engine::open(backend, settings).unwrap()
}

/// A connection as the store's own, past the store.
async fn raw(path: &Path) -> SqliteConnection {
    open(path).await.close().await.unwrap();
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging();
    options.connect().await.unwrap()
}

fn message() -> String {
    let envelope = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":""}}"#;
    envelope.replace(
        r#""data":"""#,
        &format!(r#""data":"{}""#, "x".repeat(MESSAGE_BYTES - envelope.len())),
    )
}

async fn appends(folder: &Path, rounds: usize) {
    let store = open(&folder.join("store.db")).await;
    let mut limit = raw(&folder.join("limit.db")).await;
    let mut naive = raw(&folder.join("naive.db")).await;
    let (mut limit_seq, mut naive_seq) = (0, 0);
    let mut rates: [Vec<f64>; 5] = Default::default();
    let (mut lone, mut single) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let measured = [
            raw_rate(&mut limit, &mut limit_seq, 64, &mut Vec::new()).await,
            raw_rate(&mut naive, &mut naive_seq, 1, &mut single).await,
            store_rate(&store, 1, &mut lone).await,
            store_rate(&store, 16, &mut Vec::new()).await,
            store_rate(&store, 64, &mut Vec::new()).await,
        ];
        if round == 0 {
            // Warms up caches and the file.
            lone.clear();
            single.clear();
            continue;
        }
        for (rates, rate) in rates.iter_mut().zip(measured) {
            rates.push(rate);
        }
    }
    let [limit, naive, one, sixteen, sixty_four] = rates.map(median);
    println!("append, {MESSAGE_BYTES}-byte messages, synchronous=FULL, medians of {rounds} rounds");
    println!("  {:<34}{:>10}  {:>10}  {:>8}", "", "events/s", "of limit", "x naive");
    for (name, rate) in [
        ("raw limit, 64 rows a transaction", limit),
        ("naive store, one commit an event", naive),
        ("this store, 1 appender", one),
        ("this store, 16 appenders", sixteen),
        ("this store, 64 appenders", sixty_four),
    ] {
        println!("  {name:<34}{rate:>10.0}  {:>10.2}  {:>8.2}", rate / limit, rate / naive);
    }
    let (lone, single) = (median(lone), median(single));
    println!(
        "  lone appender p50 {lone:.0} us, naive p50 {single:.0} us: {:.2} times",
        lone / single
    );
    store.close().await.unwrap();
}

/// Events per second of `appenders` tasks; each append's time in microseconds goes to `times`.
async fn store_rate(store: &Arc<Store>, appenders: usize, times: &mut Vec<f64>) -> f64 {
    let started = Instant::now();
    let tasks = (0..appenders).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let session = SessionId::new(format!("session-{appenders}-{n}")).unwrap();
            let stream = StreamRef::in_session(session, StreamId::new("request/1").unwrap());
            let event = NewEvent::message(Message::parse(message()).unwrap());
            let mut times = Vec::new();
            while started.elapsed() < ROUND {
                let asked = Instant::now();
                store.store_event(&stream, event.clone()).await.unwrap();
                times.push(asked.elapsed().as_secs_f64() * 1e6);
            }
            times
        })
    });
    let mut stored = 0;
    for task in tasks.collect::<Vec<_>>() {
        let of_task = task.await.unwrap();
        stored += of_task.len();
        times.extend(of_task);
    }
    stored as f64 / started.elapsed().as_secs_f64()
}

/// Events per second of prepared inserts, `rows` a transaction.
async fn raw_rate(
    connection: &mut SqliteConnection,
    seq: &mut i64,
    rows: usize,
    times: &mut Vec<f64>,
) -> f64 {
    let message = message();
    let (started, mut stored) = (Instant::now(), 0);
    while started.elapsed() < ROUND {
        let asked = Instant::now();
        if rows == 1 {
            insert(connection, seq, &message).await;
        } else {
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
            for _ in 0..rows {
                insert(&mut tx, seq, &message).await;
            }
            tx.commit().await.unwrap();
        }
        stored += rows;
        times.push(asked.elapsed().as_secs_f64() * 1e6);
    }
    stored as f64 / started.elapsed().as_secs_f64()
}

async fn insert(connection: &mut SqliteConnection, seq: &mut i64, message: &str) {
    *seq += 1;
    // 64 streams in turn, as the store's 64 appenders.
    let query = sqlx::query(INSERT).bind(*seq % 64).bind(*seq / 64).bind(7_i64).bind(*seq);
    let query = query.bind(*seq).bind(None::<i64>).bind(message.to_owned());
    query.execute(connection).await.unwrap();
}

async fn replays(folder: &Path, rounds: usize) {
    let path = folder.join("replay.db");
    let store = open(&path).await;
    let stream = StreamRef::sessionless(StreamId::new("long").unwrap());
    let first = store.store_event(&stream, NewEvent::priming(None)).await.unwrap();
    let appends = (0..REPLAYED)
        .map(|_| store.store_event(&stream, NewEvent::message(Message::parse(message()).unwrap())));
    futures_util::stream::iter(appends)
        .buffered(512)
        .for_each(|id| async { drop(id.unwrap()) })
        .await;
    let mut scanner = raw(&path).await;
    let (mut replay_rates, mut scan_rates, mut grown) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (started, before) = (Instant::now(), resident_bytes());
        let replay = store.follow_after(stream.scope(), &first).await.unwrap();
        let mut events = replay.events.take(usize::try_from(REPLAYED).unwrap());
        let (mut count, mut peak) = (0_u64, before);
        while let Some(event) = events.try_next().await.unwrap() {
            count += 1;
            assert_eq!(event.seq, count + 1);
            if count % 10_000 == 0 {
                peak = peak.max(resident_bytes());
            }
        }
        assert_eq!(count, REPLAYED);
        replay_rates.push(count as f64 / started.elapsed().as_secs_f64());
        grown.push(peak.saturating_sub(before) as f64 / 1024.0 / 1024.0);
        scan_rates.push(scan(&mut scanner).await);
    }
    let (replay, scan, grown) = (median(replay_rates), median(scan_rates), median(grown));
    println!("\nreplay of {REPLAYED} events, medians of {rounds} rounds");
    println!("  {:<34}{scan:>10.0} events/s", "raw scan");
    println!("  {:<34}{replay:>10.0} events/s, {:.2} of raw", "this store", replay / scan);
    println!("  {:<34}{grown:>10.1} MiB", "more resident memory while replaying");
    store.close().await.unwrap();
}

/// Rows per second of one statement that reads what a replay needs.
async fn scan(connection: &mut SqliteConnection) -> f64 {
    let started = Instant::now();
    let mut rows = sqlx::query(
        "SELECT seq, tag, stored_at, running_bytes, retry_ms, message FROM events
         WHERE stream = 1 AND seq > 1 ORDER BY seq",
    )
    .fetch(connection);
    let (mut count, mut bytes) = (0_u64, 0);
    while let Some(row) = rows.try_next().await.unwrap() {
        let message: &str = row.get(5);
        bytes += message.len();
        count += 1;
    }
    assert_eq!((count, bytes), (REPLAYED, MESSAGE_BYTES * usize::try_from(REPLAYED).unwrap()));
    count as f64 / started.elapsed().as_secs_f64()
}

/// The process's resident memory, from Linux's `/proc`; 0 elsewhere.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
