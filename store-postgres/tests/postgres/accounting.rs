//! Sums kept beside the rows equal a count of the rows, whatever happened before.

use std::sync::Arc;
use std::time::Duration;

use mcp_event_store_core::backend::Backend;
use mcp_event_store_core::{
    Clock, Engine, EventStore, Lease, Maintenance, Message, NewEvent, Retention, SessionId,
    SessionStore, Settings, StreamId, StreamRef,
};
use mcp_event_store_postgres::PostgresBackend;
use proptest::prelude::*;

use crate::scope::Scope;

#[derive(Clone, Debug)]
enum Step {
    Append { session: u8, stream: u8, bytes: u32, completes: bool },
    Renew { session: u8, stream: u8 },
    Store { session: u8 },
    DeleteStream { session: u8, stream: u8 },
    DeleteSession { session: u8 },
    Wait { seconds: u8 },
    Sweep,
    Book,
}

fn step() -> impl Strategy<Value = Step> {
    let (session, stream) = (0..4_u8, 0..3_u8);
    // Some make a stream a large one.
    let bytes = prop_oneof![12 => 0..900_u32, 1 => 65_000..66_000_u32];
    prop_oneof![
        8 => (session.clone(), stream.clone(), bytes, prop::bool::weighted(0.2)).prop_map(
            |(session, stream, bytes, completes)| Step::Append { session, stream, bytes, completes }
        ),
        1 => (session.clone(), stream.clone())
            .prop_map(|(session, stream)| Step::Renew { session, stream }),
        1 => session.clone().prop_map(|session| Step::Store { session }),
        1 => (session.clone(), stream)
            .prop_map(|(session, stream)| Step::DeleteStream { session, stream }),
        1 => session.prop_map(|session| Step::DeleteSession { session }),
        2 => (1..40_u8).prop_map(|seconds| Step::Wait { seconds }),
        2 => Just(Step::Sweep),
        1 => Just(Step::Book),
    ]
}

/// Session 0 stands for none.
fn stream(session: u8, stream: u8) -> StreamRef {
    let stream = StreamId::new(format!("stream-{stream}")).unwrap();
    match session {
        0 => StreamRef::sessionless(stream),
        session => StreamRef::in_session(id(session), stream),
    }
}

fn id(session: u8) -> SessionId {
    SessionId::new(format!("session-{session}")).unwrap()
}

fn settings() -> Settings {
    let seconds = |n| Some(Duration::from_secs(n));
    let retention = Retention {
        stream_ttl: seconds(60),
        completed_stream_ttl: seconds(30),
        event_ttl: seconds(45),
        max_events_per_stream: Some(5),
        max_bytes_per_stream: Some(2000),
        max_total_bytes: Some(9000),
        max_bytes_per_session: Some(3000),
        tombstone_ttl: Duration::from_secs(40),
        session_ttl: seconds(50),
        sweep_every: None,
    };
    Settings { retention, ..Settings::default() }
}

async fn run(steps: &[Step]) {
    let scope = Scope::shared().await;
    let clock = Clock::manual();
    // Two instances, which find each other's streams.
    let engines =
        [scope.engine_with(settings(), &clock).await, scope.engine_with(settings(), &clock).await];
    let backend = scope.backend(&clock).await.unwrap();
    for (at, step) in steps.iter().enumerate() {
        apply(&engines[at % 2], &clock, step).await;
        compare(&scope).await;
        if matches!(step, Step::Book) {
            compare_booked(&scope, &backend).await;
        }
    }
    engines[0].sweep().await.unwrap();
    compare(&scope).await;
    compare_booked(&scope, &backend).await;
    backend.close().await.unwrap();
    let freed = scope.integers(
        scope.sql("SELECT (SELECT count(*) FROM @events), (SELECT count(*) FROM @garbage)"),
    );
    assert_eq!(freed.await[0], [engines[0].usage().await.unwrap().events.cast_signed(), 0]);
    for engine in engines {
        engine.close().await.unwrap();
    }
    scope.tear_down().await;
}

/// Applies `step`; a refusal (complete, deleted) is as good as a success here.
async fn apply(engine: &Arc<Engine<PostgresBackend>>, clock: &Clock, step: &Step) {
    match *step {
        Step::Append { session, stream: name, bytes, completes } => {
            let message = Message::from_value(&"x".repeat(bytes as usize)).unwrap();
            let event = NewEvent { completes_stream: completes, ..NewEvent::message(message) };
            // With others, in one batch.
            let other = stream(session, name.wrapping_add(1) % 3);
            let also = engine.store_event(&other, NewEvent::priming(None));
            let one = stream(session, name);
            let _ = tokio::join!(engine.store_event(&one, event), also);
        }
        Step::Renew { session, stream: name } => {
            let lease = Lease::new("owner", Duration::from_secs(20));
            engine.renew(&stream(session, name), &lease).await.unwrap();
        }
        Step::Store { session } => {
            let _ = engine.store(&id(session), Message::parse("{}").unwrap()).await;
        }
        Step::DeleteStream { session, stream: name } => {
            engine.delete_stream(&stream(session, name)).await.unwrap();
        }
        Step::DeleteSession { session } => {
            engine.delete_session(&id(session)).await.unwrap();
        }
        Step::Wait { seconds } => clock.advance(Duration::from_secs(u64::from(seconds))),
        Step::Sweep => {
            engine.sweep().await.unwrap();
        }
        Step::Book => {}
    }
}

impl Scope {
    /// `sql` with the schema in front of `@` names.
    pub(crate) fn sql(&self, sql: &str) -> String {
        sql.replace('@', &format!("\"{}\".", self.schema()))
    }
}

/// Has everything booked, as a sweep does, and compares what sessions hold with a count.
pub(crate) async fn compare_booked(scope: &Scope, backend: &PostgresBackend) {
    let sessions = backend.large_sessions(0, None, 1000).await.unwrap();
    let counted = "SELECT coalesce((SELECT sum(s.total_bytes - s.removed_bytes + s.own_bytes)
            FROM @streams s WHERE s.session = x.id), 0)::bigint
        FROM @sessions x ORDER BY x.id";
    let counted = scope.integers(scope.sql(counted)).await;
    let booked: Vec<_> = sessions.iter().map(|(_, bytes)| vec![bytes.cast_signed()]).collect();
    assert_eq!(booked, counted, "bytes of sessions");
    let unbooked = scope.integers(scope.sql("SELECT count(*) FROM @streams WHERE unbooked"));
    assert_eq!(unbooked.await[0], [0], "streams that are not booked");
    compare(scope).await;
}

/// Compares every sum with a count, so far as it is booked, and the metadata of streams with their
/// events.
pub(crate) async fn compare(scope: &Scope) {
    let same = async |what: &str, counted: &str, summed: &str| {
        let counted = scope.integers(scope.sql(counted)).await;
        let summed = scope.integers(scope.sql(summed)).await;
        assert_eq!(counted, summed, "{what}");
    };
    let kept = "WITH s AS (SELECT *, last_seq + 1 - first_seq AS kept,
        total_bytes - removed_bytes AS held, total_bytes - removed_bytes + octet_length(session)
        + octet_length(name) + 256 AS counted FROM @streams)";
    let totals = format!(
        "{kept} SELECT
             (SELECT count(*) FROM s WHERE state < 2), (SELECT count(*) FROM s WHERE state = 2),
             (SELECT coalesce(sum(kept), 0)::bigint FROM s),
             (SELECT coalesce(sum(counted), 0)::bigint FROM s),
             (SELECT count(*) FROM @sessions WHERE record IS NOT NULL)"
    );
    let sums = "SELECT sum(streams)::bigint, sum(tombstones)::bigint, sum(events)::bigint,
        sum(bytes)::bigint, sum(sessions)::bigint FROM @totals";
    same("totals", &totals, sums).await;
    let sessions = format!(
        "{kept} SELECT coalesce(sum(s.counted - s.total_bytes + s.booked_bytes), 0)::bigint, count(s.id),
             count(s.id) FILTER (WHERE s.state = 0)
         FROM @sessions x LEFT JOIN s ON s.session = x.id GROUP BY x.id ORDER BY x.id"
    );
    let sums = "SELECT bytes, streams, open_streams FROM @sessions ORDER BY id";
    same("sessions", &sessions, sums).await;
    let events = format!("{kept} SELECT s.id, s.kept, s.held, s.oldest_at FROM s ORDER BY s.id");
    let counted = "SELECT s.id, count(e.seq), coalesce(sum(CASE WHEN e.seq IS NULL THEN 0 ELSE
            64 + octet_length(coalesce(e.message, '')) END), 0)::bigint, min(e.stored_at)
        FROM @streams s LEFT JOIN @events e ON e.stream = s.id AND e.seq >= s.first_seq
        GROUP BY s.id ORDER BY s.id";
    same("events", counted, &events).await;
    let derived =
        "SELECT count(*) FROM @streams WHERE large <> (total_bytes - removed_bytes >= 65536)
        OR state <> CASE WHEN expired_at IS NOT NULL THEN 2 WHEN complete THEN 1 ELSE 0 END
        OR unbooked <> (total_bytes <> booked_bytes AND session <> '')";
    same("columns that follow from others", derived, "SELECT 0::bigint").await;
    let orphans = "SELECT count(*) FROM @streams s WHERE s.session <> ''
        AND NOT EXISTS (SELECT 1 FROM @sessions x WHERE x.id = s.session)";
    same("streams without their session", orphans, "SELECT 0::bigint").await;
    let empty = "SELECT count(*) FROM @sessions
        WHERE record IS NULL AND deleted_at IS NULL AND streams = 0";
    same("sessions that hold nothing", empty, "SELECT 0::bigint").await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sums_equal_a_count(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(run(&steps));
    }
}
