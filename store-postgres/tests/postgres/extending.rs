//! Streams whose rows an instance knows are extended without being looked up; what it knows is
//! never trusted. The server's count of the calls of functions is the witness.

use std::time::Duration;

use mcp_event_store_core::backend::{
    Appended, Backend, Group, PageLimit, PendingEvent, StreamKey, Tag,
};
use mcp_event_store_core::{Clock, Error, Lease, Message, Result, Retention, Settings, StreamRef};
use mcp_event_store_postgres::PostgresBackend;
use mcp_event_store_test_servers::Postgres;

use crate::accounting::{compare, compare_booked};
use crate::scope::{Scope, eventually, stream};

fn settings() -> Settings {
    let retention = Retention { sweep_every: None, ..Retention::default() };
    Settings { retention, ..Settings::default() }
}

fn event() -> PendingEvent {
    let mut tag = [0; 6];
    getrandom::fill(&mut tag).unwrap();
    PendingEvent {
        tag: Tag(tag),
        message: Some(Message::parse(r#""a message""#).unwrap()),
        retry_ms: None,
        lease: None,
        completes_stream: false,
    }
}

fn group(stream: &StreamRef, events: Vec<PendingEvent>) -> Group {
    let mut key = [0; 16];
    getrandom::fill(&mut key).unwrap();
    Group { stream: stream.clone(), candidate_key: StreamKey(key), events }
}

/// One event for each of `streams`, in one batch.
async fn append(backend: &PostgresBackend, streams: &[&StreamRef]) -> Vec<Result<Appended>> {
    let groups: Vec<_> = streams.iter().map(|stream| group(stream, vec![event()])).collect();
    backend.append(&groups, &settings()).await.unwrap()
}

fn seqs(answers: &[Result<Appended>]) -> Vec<u64> {
    answers.iter().map(|answer| answer.as_ref().unwrap().first_seq).collect()
}

/// How often `append`, which looks streams up, and `extend` were called.
async fn calls(scope: &Scope) -> [i64; 2] {
    let calls = ["append", "extend"].map(|function| {
        format!(
            "(SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_user_functions
              WHERE schemaname = '{}' AND funcname = '{function}')",
            scope.schema()
        )
    });
    scope.integers(format!("SELECT {}", calls.join(", "))).await[0].as_slice().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn known_streams_are_extended_without_a_look_up() {
    let server = Postgres::own(&[("track_functions", "pl")]).await.unwrap();
    let scope = Scope::on(server.url());
    let backend = scope.backend(&Clock::system()).await.unwrap();
    let streams = [stream("s", "b"), stream("s", "a"), stream("t", "a")];
    let [b, a, ta] = &streams;
    assert_eq!(seqs(&append(&backend, &[b, a]).await), [1, 1]);
    assert_eq!(seqs(&append(&backend, &[a, b]).await), [2, 2]);
    // Who is new takes the others along.
    assert_eq!(seqs(&append(&backend, &[ta, a, b]).await), [1, 3, 3]);
    assert_eq!(seqs(&append(&backend, &[b, ta, a]).await), [4, 2, 4]);
    let two = group(b, vec![event(), event()]);
    assert_eq!(seqs(&backend.append(&[two], &settings()).await.unwrap()), [5]);
    assert_eq!(seqs(&append(&backend, &[b]).await), [7]);
    let leased = |owner: &str| PendingEvent {
        lease: Some(Lease::new(owner, Duration::from_secs(5))),
        ..event()
    };
    backend.append(&[group(a, vec![leased("me")])], &settings()).await.unwrap();
    let lease = backend.find(a).await.unwrap().unwrap().meta.lease.unwrap();
    assert_eq!(&*lease.owner, "me");
    // Two owners of one stream, and an end, are for the long way.
    backend.append(&[group(a, vec![leased("me"), leased("you")])], &settings()).await.unwrap();
    let end = PendingEvent { completes_stream: true, ..event() };
    backend.append(&[group(ta, vec![end])], &settings()).await.unwrap();
    assert!(matches!(append(&backend, &[ta]).await[0], Err(Error::StreamComplete)));
    compare_booked(&scope, &backend).await;
    backend.close().await.unwrap();
    // A connection reports its counts when it ends.
    eventually(Duration::from_secs(10), "calls are counted", async || {
        // Of `extend`, five by themselves, and two out of `append`.
        calls(&scope).await == [5, 7]
    })
    .await;
    scope.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_did_to_known_streams_is_seen() {
    let scope = Scope::shared().await;
    let clock = Clock::manual();
    let (one, other) = (scope.backend(&clock).await.unwrap(), scope.backend(&clock).await.unwrap());
    let streams = ["kept", "deleted", "made anew", "complete", "of a deleted session"]
        .map(|name| stream(if name.ends_with("session") { "gone" } else { "s" }, name));
    let [kept, deleted, anew, complete, gone] = &streams;
    let all: Vec<_> = streams.iter().collect();
    let first = append(&one, &all).await;
    assert_eq!(seqs(&append(&other, &[kept]).await), [2]);
    other.delete_stream(deleted).await.unwrap();
    other.delete_stream(anew).await.unwrap();
    append(&other, &[anew]).await;
    let end = PendingEvent { completes_stream: true, ..event() };
    other.append(&[group(complete, vec![end])], &settings()).await.unwrap();
    other.delete_session(&gone.session.clone().unwrap()).await.unwrap();

    let second = append(&one, &all).await;
    assert_eq!(seqs(&second[..3]), [3, 1, 2]);
    let key = |answers: &[Result<Appended>], at: usize| answers[at].as_ref().unwrap().key;
    assert_eq!(key(&first, 0), key(&second, 0));
    assert!((1..3).all(|at| key(&first, at) != key(&second, at)));
    assert!(matches!(second[3], Err(Error::StreamComplete)));
    assert!(matches!(second[4], Err(Error::SessionDeleted)));
    for (stream, events) in [(kept, 3), (deleted, 1), (anew, 2), (complete, 2)] {
        let meta = one.find(stream).await.unwrap().unwrap().meta;
        let page = one.read(&meta.key, 0, PageLimit::PAGE).await.unwrap().unwrap();
        assert_eq!(page.events.len(), events, "{stream:?}");
    }
    compare(&scope).await;

    // Expired, but for what has a lease: revived, with what was there removed.
    other
        .append(
            &[group(
                kept,
                vec![PendingEvent {
                    lease: Some(Lease::new("me", Duration::from_secs(200_000))),
                    ..event()
                }],
            )],
            &settings(),
        )
        .await
        .unwrap();
    append(&one, &[kept, deleted]).await;
    clock.advance(Duration::from_hours(24));
    let third = append(&one, &[kept, deleted]).await;
    assert_eq!(seqs(&third), [6, 3]);
    let first_kept = async |stream| one.find(stream).await.unwrap().unwrap().meta.first_seq;
    assert_eq!([first_kept(kept).await, first_kept(deleted).await], [1, 3]);
    compare_booked(&scope, &one).await;
    one.close().await.unwrap();
    other.close().await.unwrap();
    scope.tear_down().await;
}
