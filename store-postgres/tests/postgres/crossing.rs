//! Two instances whose batches, deletions and sweeps cross: locks are taken in one order, so that
//! PostgreSQL never has to break a deadlock.

use std::sync::Arc;
use std::time::Duration;

use mcp_event_store_core::Message;
use mcp_event_store_core::{
    Clock, Engine, Error, EventStore, Lease, Maintenance, NewEvent, Retention, SessionId,
    SessionStore, Settings, StreamId, StreamRef,
};
use mcp_event_store_postgres::PostgresBackend;
use mcp_event_store_test_servers::Postgres;
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

use crate::accounting::compare;
use crate::scope::{Scope, event, eventually, fresh};

const FOR: Duration = Duration::from_secs(5);

/// Streams come and go: short lives, small caps.
fn settings() -> Settings {
    let retention = Retention {
        stream_ttl: Some(Duration::from_millis(300)),
        completed_stream_ttl: Some(Duration::from_millis(100)),
        tombstone_ttl: Duration::from_millis(200),
        max_events_per_stream: Some(8),
        max_bytes_per_session: Some(4000),
        session_ttl: Some(Duration::from_millis(400)),
        sweep_every: None,
        ..Retention::default()
    };
    Settings { retention, ..Settings::default() }
}

/// A small random number, without a generator of its own.
fn draw(below: u8) -> u8 {
    let mut random = [0];
    getrandom::fill(&mut random).unwrap();
    random[0] % below
}

fn any_session() -> SessionId {
    SessionId::new(format!("session {}", draw(6))).unwrap()
}

fn any_stream() -> StreamRef {
    let name = StreamId::new(format!("stream {}", draw(8))).unwrap();
    match draw(4) {
        0 => StreamRef::sessionless(name),
        _ => StreamRef::in_session(any_session(), name),
    }
}

fn is_expected(error: &Error) -> bool {
    matches!(error, Error::StreamComplete | Error::SessionDeleted)
}

async fn appender(engine: Arc<Engine<PostgresBackend>>) {
    let (began, end) = (Instant::now(), Instant::now() + FOR);
    while Instant::now() < end {
        let mut event = event("x");
        // At times all look as if their streams began, which may be there all the same.
        if began.elapsed().as_millis() / 250 % 2 == 0 {
            event.message = None;
        }
        event.completes_stream = draw(10) == 0;
        event.lease = (draw(3) == 0).then(|| Lease::new("owner", Duration::from_millis(50)));
        if let Err(error) = engine.store_event(&any_stream(), event).await {
            assert!(is_expected(&error), "{error:?}");
        }
    }
}

/// Makes requests in sessions that others use too, each a stream of its own.
async fn requester(engine: Arc<Engine<PostgresBackend>>) {
    let end = Instant::now() + FOR;
    while Instant::now() < end {
        let stream = StreamRef::in_session(any_session(), StreamId::new(fresh("request")).unwrap());
        let last = NewEvent { completes_stream: true, ..event("x") };
        for event in [NewEvent::priming(None), event("x"), last] {
            match engine.store_event(&stream, event).await {
                Ok(_) => {}
                // Its session was deleted, or it was and began anew.
                Err(error) => {
                    assert!(is_expected(&error), "{error:?}");
                    break;
                }
            }
        }
    }
}

/// Deletes streams and, `rarity` times as rarely, sessions; stores and uses records, and renews.
async fn deleter(engine: Arc<Engine<PostgresBackend>>, rarity: u8) {
    let end = Instant::now() + FOR;
    while Instant::now() < end {
        match draw(5) {
            // It refuses appends for a while.
            0 if draw(rarity) == 0 => drop(engine.delete_session(&any_session()).await.unwrap()),
            1 => drop(engine.delete_stream(&any_stream()).await.unwrap()),
            2 => {
                let stored = engine.store(&any_session(), Message::parse("{}").unwrap()).await;
                assert!(stored.as_ref().err().is_none_or(is_expected), "{stored:?}");
            }
            3 => _ = engine.touch(&any_session()).await.unwrap(),
            _ => {
                let lease = Lease::new("other", Duration::from_millis(50));
                engine.renew(&any_stream(), &lease).await.unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

async fn sweeper(engine: Arc<Engine<PostgresBackend>>) {
    let end = Instant::now() + FOR;
    while Instant::now() < end {
        engine.sweep().await.unwrap();
    }
}

/// A database of a test's own, whose deadlocks the server counts.
pub(crate) struct Database {
    admin: Scope,
    name: String,
    pub(crate) scope: Scope,
}

impl Database {
    pub(crate) async fn create() -> Self {
        Self::create_on(Scope::shared().await).await
    }

    async fn create_on(admin: Scope) -> Self {
        let name = fresh("crossing");
        admin.run(format!("CREATE DATABASE {name}")).await;
        let mut url = Url::parse(&admin.url).unwrap();
        url.set_path(&name);
        Self { admin, name, scope: Scope::on(url.as_str()) }
    }

    /// Drops it once all its connections are closed, and so have reported what they counted.
    pub(crate) async fn drop_without_deadlocks(self) {
        let Self { admin, name, .. } = self;
        let counts =
            format!("SELECT deadlocks, xact_commit FROM pg_stat_database WHERE datname = '{name}'");
        let counted = &admin.integers(counts).await[0];
        assert!(counted[0] == 0 && counted[1] > 100, "deadlocks and commits: {counted:?}");
        admin.run(format!("DROP DATABASE {name} WITH (FORCE)")).await;
    }
}

/// Opens instances of a store, lets each do what `start` gives it, all at once, and compares what
/// is left.
async fn cross(
    scope: &Scope,
    instances: usize,
    start: impl Fn(&mut JoinSet<()>, &Arc<Engine<PostgresBackend>>),
) {
    let mut tasks = JoinSet::new();
    let mut engines = Vec::new();
    for _ in 0..instances {
        engines.push(scope.engine_with(settings(), &Clock::system()).await);
    }
    for engine in &engines {
        start(&mut tasks, engine);
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    compare(scope).await;
    for engine in engines {
        engine.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crossing_batches_deletions_and_sweeps_never_deadlock() {
    let database = Database::create().await;
    cross(&database.scope, 2, |tasks, engine| {
        for _ in 0..24 {
            tasks.spawn(appender(engine.clone()));
        }
        tasks.spawn(deleter(engine.clone(), 8));
        tasks.spawn(deleter(engine.clone(), 8));
        tasks.spawn(sweeper(engine.clone()));
    })
    .await;
    database.drop_without_deadlocks().await;
}

/// Mostly without a look-up, and all the same in order.
#[tokio::test(flavor = "multi_thread")]
async fn crossing_beginnings_and_ends_never_deadlock() {
    let server = Postgres::own(&[("track_functions", "pl")]).await.unwrap();
    let database = Database::create_on(Scope::on(server.url())).await;
    cross(&database.scope, 2, |tasks, engine| {
        for _ in 0..24 {
            tasks.spawn(requester(engine.clone()));
        }
        tasks.spawn(deleter(engine.clone(), 250));
        tasks.spawn(sweeper(engine.clone()));
    })
    .await;
    // What `start` would not do, `append` did.
    let stored = async || {
        let [append, _, _, start] = database.scope.calls().await;
        start > append + 50
    };
    eventually(Duration::from_secs(10), "streams began without a look-up", stored).await;
    database.drop_without_deadlocks().await;
}

/// What no lock of a session orders: session-less streams that several instances create, extend
/// and delete at once.
#[tokio::test(flavor = "multi_thread")]
async fn session_less_streams_that_are_created_at_once_stay_whole() {
    let database = Database::create().await;
    cross(&database.scope, 3, |tasks, engine| {
        for _ in 0..8 {
            let engine = engine.clone();
            tasks.spawn(async move {
                for n in 0..150 {
                    let name = StreamId::new(format!("stream {}", draw(3))).unwrap();
                    let stream = StreamRef::sessionless(name);
                    if n % 5 == 0 {
                        engine.delete_stream(&stream).await.unwrap();
                    } else {
                        engine.store_event(&stream, event("x")).await.unwrap();
                    }
                }
            });
        }
    })
    .await;
    database.drop_without_deadlocks().await;
}
