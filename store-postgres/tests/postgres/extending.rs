//! Streams whose rows an instance knows are extended and ended without being looked up, and such as
//! look new begin likewise; what it knows is never trusted. The server's count of the calls of
//! functions is the witness.

use std::time::Duration;

use mcp_event_store_core::backend::{
    Appended, Backend, Group, PageLimit, PendingEvent, StreamKey, Tag,
};
use mcp_event_store_core::{
    Clock, Error, Lease, Message, Result, Retention, Settings, StreamId, StreamRef,
};
use mcp_event_store_postgres::PostgresBackend;
use mcp_event_store_test_servers::Postgres;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Row};

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

fn priming() -> PendingEvent {
    PendingEvent { message: None, ..event() }
}

fn end() -> PendingEvent {
    PendingEvent { completes_stream: true, ..event() }
}

#[tokio::test(flavor = "multi_thread")]
async fn known_streams_are_extended_without_a_look_up() {
    let server = Postgres::own(&[("track_functions", "pl")]).await.unwrap();
    for notify in [true, false] {
        let mut scope = Scope::on(server.url());
        scope.options.notify = notify;
        extend_known(scope).await;
    }
}

async fn extend_known(scope: Scope) {
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
    // Two owners of one stream are for the long way, as is a stream that is not known any more.
    backend.append(&[group(a, vec![leased("me"), leased("you")])], &settings()).await.unwrap();
    backend.append(&[group(ta, vec![end()])], &settings()).await.unwrap();
    assert!(matches!(append(&backend, &[ta]).await[0], Err(Error::StreamComplete)));
    compare_booked(&scope, &backend).await;
    backend.close().await.unwrap();
    // A connection reports its counts when it ends.
    eventually(Duration::from_secs(10), "calls are counted", async || {
        // Of `extend`, one each out of `append` and `start`, and three by themselves, where these
        // are not sent without a call; two times one event.
        scope.calls().await == if scope.options.notify { [4, 2, 0, 1] } else { [4, 5, 2, 1] }
    })
    .await;
    scope.tear_down().await;
}

/// An event that comes alone has a statement of its own.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_alone_is_stored_as_one_beside_others() {
    let scope = Scope::shared().await;
    let clock = Clock::manual();
    let backend = scope.backend(&clock).await.unwrap();
    let [alone, among, other] = ["alone", "among", "other"].map(|name| stream("s", name));
    let all = |event: &PendingEvent| {
        [&alone, &among, &other].map(|stream| group(stream, vec![event.clone()]))
    };
    let leased = |owner: &str| PendingEvent {
        lease: Some(Lease::new(owner, Duration::from_mins(1))),
        ..event()
    };
    let text = Message::from_value(&"x".repeat(70_000)).unwrap();
    let ttl = settings().retention.stream_ttl.unwrap();
    let steps = [
        (event(), Duration::ZERO),
        (leased("me"), Duration::from_secs(10)),
        (leased("you"), Duration::from_secs(10)),
        (event(), Duration::from_secs(10)),
        (leased("me"), Duration::from_secs(30)),
        (PendingEvent { message: Some(text), retry_ms: Some(7), ..event() }, Duration::ZERO),
        (PendingEvent { message: None, ..leased("you") }, Duration::from_secs(90)),
        // Expired: it begins anew.
        (event(), ttl + Duration::from_secs(90)),
        (event(), Duration::ZERO),
    ];
    for answer in backend.append(&all(&priming()), &settings()).await.unwrap() {
        assert_eq!(backend.take_over(&answer.unwrap().key).await.unwrap(), Some(1));
    }
    for (at, (event, later)) in steps.iter().enumerate() {
        clock.advance(*later);
        let [one, two, three] = all(event);
        let first = backend.append(&[one], &settings()).await.unwrap().swap_remove(0).unwrap();
        let meta = backend.find(&alone).await.unwrap().unwrap().meta;
        assert_eq!(
            (first.key, first.stored_at, first.reader_epoch),
            (meta.key, meta.newest_at, meta.reader_epoch),
            "step {at}"
        );
        let others = backend.append(&[two, three], &settings()).await.unwrap();
        assert_eq!(seqs(&others), [first.first_seq; 2], "step {at}");
        let rows = scope.rows(scope.sql(
            "SELECT (to_jsonb(s) - '{id,key,name,oldest_at,newest_at,active_at,since,lease_until}'
                    ::text[])::text,
                (SELECT string_agg(concat_ws(',', e.seq, e.tag, e.running_bytes, e.retry_ms,
                    length(e.message), s.newest_at - e.stored_at < 300000), ';' ORDER BY e.seq)
                 FROM @events e WHERE e.stream = s.id)
             FROM @streams s WHERE s.name IN ('alone', 'among') ORDER BY s.name",
        ));
        let rows = rows.await;
        let [alone, among] = &rows[..] else { panic!("step {at}: {} rows", rows.len()) };
        for column in 0..2 {
            let of = |row: &PgRow| row.get::<String, _>(column);
            assert_eq!(of(alone), of(among), "step {at}");
        }
        let times = scope.sql(
            "SELECT lease_until - active_at, newest_at - oldest_at, active_at - newest_at, active_at - since
             FROM @streams WHERE name IN ('alone', 'among') ORDER BY name",
        );
        let times = scope.integers(times).await;
        let is_near = times[0].iter().zip(&times[1]).all(|(one, other)| (one - other).abs() < 5000);
        assert!(is_near, "step {at}: {times:?}");
    }
    compare_booked(&scope, &backend).await;
    backend.close().await.unwrap();
    scope.tear_down().await;
}

/// Some groups of a batch want a lease, some events say when to come back or have no message.
#[tokio::test(flavor = "multi_thread")]
async fn each_group_of_a_batch_gets_what_it_wants() {
    let server = Postgres::own(&[("track_functions", "pl")]).await.unwrap();
    let scope = Scope::on(server.url());
    let one = scope.backend(&Clock::system()).await.unwrap();
    let other = scope.backend(&Clock::system()).await.unwrap();
    // Numbers and names are in other orders.
    let streams = ["c", "a", "d", "b"].map(|name| stream("s", name));
    let between = stream("s", "between");
    append(&one, &streams.each_ref()[..2]).await;
    append(&one, &[&between]).await;
    append(&one, &streams.each_ref()[2..]).await;
    let wanted = |step: u64, stream: u64| {
        let number = step * 10 + stream;
        // Which is over at once, for the next owner.
        let lease = Lease::new(format!("owner {number}"), Duration::ZERO);
        PendingEvent {
            message: (stream != 1).then(|| Message::from_value(&number).unwrap()),
            retry_ms: (step > 0 && stream == 2).then_some(number),
            lease: (stream != 3).then_some(lease),
            ..event()
        }
    };
    // Extended by themselves, out of `append`, where a group stands before them, and out of
    // `start`, with one behind them that begins, and one among them that ends.
    for (step, backend, beside) in [
        (0, &one, None),
        (1, &one, None),
        (2, &other, Some(("A", event()))),
        (3, &one, Some(("e", priming()))),
        (4, &one, Some(("between", end()))),
    ] {
        let events: Vec<_> = (0..).take(streams.len()).map(|stream| wanted(step, stream)).collect();
        let groups = streams.iter().zip(&events).map(|(of, event)| group(of, vec![event.clone()]));
        let beside = beside.map(|(name, event)| group(&stream("s", name), vec![event]));
        let groups: Vec<_> = groups.chain(beside).collect();
        for answer in backend.append(&groups, &settings()).await.unwrap() {
            answer.unwrap();
        }
        for (stream, wanted) in streams.iter().zip(&events) {
            let meta = one.find(stream).await.unwrap().unwrap().meta;
            let page = one.read(&meta.key, meta.last_seq - 1, PageLimit::PAGE).await.unwrap();
            let last = &page.unwrap().events[0];
            assert_eq!((last.tag, &last.message), (wanted.tag, &wanted.message), "step {step}");
            assert_eq!(last.retry_ms, wanted.retry_ms, "step {step}");
            let owner = meta.lease.map(|lease| lease.owner);
            assert_eq!(
                owner,
                wanted.lease.as_ref().map(|lease| lease.owner.clone()),
                "step {step}"
            );
        }
    }
    compare_booked(&scope, &one).await;
    one.close().await.unwrap();
    other.close().await.unwrap();
    eventually(Duration::from_secs(10), "calls are counted", async || {
        scope.calls().await == [4, 3, 0, 2]
    })
    .await;
    scope.tear_down().await;
}

/// What the server answers for is stored already.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_badly_is_not_sent_again() {
    let mut scope = Scope::shared().await;
    // Then it calls the function.
    scope.options.notify = false;
    let backend = scope.backend(&Clock::system()).await.unwrap();
    let streams = [stream("s", "a"), stream("s", "b")];
    assert_eq!(seqs(&append(&backend, &streams.each_ref()).await), [1, 1]);
    let columns = |numbers: &str, seqs: &str| {
        let all = [numbers, seqs, "1,1", "0,0"].map(|column| format!("'{{{column}}}'::bigint[]"));
        format!("RETURN QUERY SELECT {}", all.join(", "))
    };
    for (answer, told) in [
        ("RETURN".to_owned(), "no answer"),
        (columns("1,3", "2,2"), "not given"),
        (columns("1,1", "2,2"), "twice"),
        (columns("1,2", "2"), "lengths"),
    ] {
        answer_instead_of_extending(&scope, &answer).await;
        let groups = streams.each_ref().map(|stream| group(stream, vec![event()]));
        let error = backend.append(&groups, &settings()).await.unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
        assert!(format!("{error:?}").contains(told), "{error:?}");
    }
    backend.close().await.unwrap();
    scope.tear_down().await;
}

async fn answer_instead_of_extending(scope: &Scope, answer: &str) {
    let replace =
        "CREATE OR REPLACE FUNCTION %s(%s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN %s; END $f$";
    scope
        .run(format!(
            "DO $do$ BEGIN EXECUTE (
                SELECT format('{replace}', f.oid::regproc, pg_get_function_arguments(f.oid),
                    pg_get_function_result(f.oid), $answer${answer}$answer$)
                FROM pg_proc f
                WHERE f.proname = 'extend' AND f.pronamespace = '\"{}\"'::regnamespace);
            END $do$",
            scope.schema()
        ))
        .await;
}

/// A row of the totals is locked until its transaction is committed.
#[tokio::test(flavor = "multi_thread")]
async fn each_connection_that_appends_has_totals_of_its_own() {
    let scope = Scope::shared().await;
    let backends = [
        scope.backend(&Clock::system()).await.unwrap(),
        scope.backend(&Clock::system()).await.unwrap(),
    ];
    let streams = [stream("s", "a"), stream("t", "b")];
    for (backend, stream) in backends.iter().zip(&streams) {
        append(backend, &[stream]).await;
    }
    let shards = scope.sql(
        "SELECT t.shard::bigint FROM @totals t JOIN pg_locks l ON l.locktype = 'advisory'
             AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
             AND l.classid::bigint = hashtext('@\"totals\"')::bigint & 4294967295
             AND l.objid::bigint = t.shard AND l.objsubid = 2
         WHERE t.changes > 0",
    );
    let shards = scope.integers(shards).await.concat();
    assert_eq!(shards.len(), 2, "{shards:?}");
    assert_ne!(shards[0], shards[1]);
    for (backend, stream) in backends.iter().zip(&streams) {
        assert_eq!(seqs(&append(backend, &[stream]).await), [2]);
        backend.append(&[group(stream, vec![end()])], &settings()).await.unwrap();
    }
    let changed = "SELECT shard::bigint, changes FROM @totals WHERE changes > 0 ORDER BY shard";
    let changed = scope.integers(scope.sql(changed)).await;
    let mut wanted = shards.iter().map(|shard| vec![*shard, 3]).collect::<Vec<_>>();
    wanted.sort_unstable();
    assert_eq!(changed, wanted);
    for backend in &backends {
        compare_booked(&scope, backend).await;
        backend.close().await.unwrap();
    }
    scope.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_totals_are_taken_connections_share_one() {
    let scope = Scope::shared().await;
    let first = scope.backend(&Clock::system()).await.unwrap();
    let mut connection = PgConnection::connect(&scope.url).await.unwrap();
    let take = "SELECT pg_advisory_lock(hashtext('@\"totals\"'), shard) FROM @totals";
    sqlx::raw_sql(AssertSqlSafe(scope.sql(take))).execute(&mut connection).await.unwrap();
    let backends = [first, scope.backend(&Clock::system()).await.unwrap()];
    let streams = ["a", "b", "c", "d"].map(|name| stream("s", name));
    for round in 1..=3 {
        for (at, stream) in streams.iter().enumerate() {
            assert_eq!(seqs(&append(&backends[at % 2], &[stream]).await), [round]);
        }
    }
    connection.close().await.unwrap();
    for backend in &backends {
        compare_booked(&scope, backend).await;
        backend.close().await.unwrap();
    }
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
    other.append(&[group(complete, vec![end()])], &settings()).await.unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn what_others_did_is_seen_by_an_event_alone() {
    for notify in [true, false] {
        let mut scope = Scope::shared().await;
        scope.options.notify = notify;
        let clock = Clock::system();
        let backends = [scope.backend(&clock).await.unwrap(), scope.backend(&clock).await.unwrap()];
        let [one, other] = &backends;
        let [ended, anew] = ["ended", "made anew"].map(|name| stream("s", name));
        append(one, &[&ended, &anew]).await;
        assert_eq!(seqs(&append(one, &[&ended]).await), [2]);
        other.append(&[group(&ended, vec![end()])], &settings()).await.unwrap();
        other.delete_stream(&anew).await.unwrap();
        assert!(matches!(append(one, &[&ended]).await[0], Err(Error::StreamComplete)));
        compare(&scope).await;
        assert_eq!(seqs(&append(one, &[&anew]).await), [1]);
        other.delete_session(&anew.session.clone().unwrap()).await.unwrap();
        assert!(matches!(append(one, &[&anew]).await[0], Err(Error::SessionDeleted)));
        compare_booked(&scope, one).await;
        for backend in &backends {
            backend.close().await.unwrap();
        }
        scope.tear_down().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_begin_and_end_without_a_look_up() {
    let server = Postgres::own(&[("track_functions", "pl")]).await.unwrap();
    let scope = Scope::on(server.url());
    let backend = scope.backend(&Clock::system()).await.unwrap();
    let names = ["t", "s"].map(|session| ["c", "b", "a"].map(|name| stream(session, name)));
    let streams: Vec<_> = names.iter().flatten().collect();
    let alone = StreamRef::sessionless(StreamId::new("alone").unwrap());
    let batch = async |groups: &[Group]| backend.append(groups, &settings()).await.unwrap();
    let lease = Some(Lease::new("me", Duration::from_secs(5)));

    batch(&[group(&alone, vec![priming()])]).await;
    let begin = |stream| group(stream, vec![PendingEvent { lease: lease.clone(), ..priming() }]);
    let beginnings: Vec<_> = streams.iter().copied().map(begin).collect();
    let answers = batch(&beginnings).await;
    assert_eq!(seqs(&answers), [1; 6]);
    for (group, answer) in beginnings.iter().zip(&answers) {
        assert_eq!(answer.as_ref().unwrap().key, group.candidate_key);
        let found = backend.find(&group.stream).await.unwrap().unwrap().meta;
        assert_eq!((found.key, found.last_seq), (group.candidate_key, 1));
        assert_eq!(found.lease.map(|lease| lease.owner.to_string()).as_deref(), Some("me"));
    }
    // One begins and ends at once, one ends, one goes on.
    let (short, one) = (stream("u", "short"), streams[0]);
    let mixed = [group(&short, vec![priming(), event(), end()]), group(one, vec![event(), end()])];
    assert_eq!(seqs(&batch(&mixed).await), [1, 2]);
    assert_eq!(
        seqs(&batch(&[group(streams[1], vec![event()]), group(&alone, vec![end()])]).await),
        [2, 2]
    );
    for (stream, events, complete) in
        [(&short, 3, true), (one, 3, true), (streams[1], 2, false), (&alone, 2, true)]
    {
        let meta = backend.find(stream).await.unwrap().unwrap().meta;
        assert_eq!((meta.complete, meta.lease.is_some()), (complete, !complete), "{stream:?}");
        let page = backend.read(&meta.key, 0, PageLimit::PAGE).await.unwrap().unwrap();
        assert_eq!(page.events.len(), events, "{stream:?}");
        let running: Vec<_> = page.events.iter().map(|event| event.running_bytes).collect();
        assert!(running.is_sorted(), "{running:?}");
        assert_eq!(running.last(), Some(&meta.total_bytes));
    }
    compare_booked(&scope, &backend).await;
    backend.close().await.unwrap();
    // No session's lock orders the beginning of a session-less stream. Each of the last two batches
    // has a known stream.
    let counted = async || scope.calls().await == [1, 2, 0, 3];
    eventually(Duration::from_secs(10), "calls are counted", counted).await;
    scope.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_something_is_otherwise_the_whole_batch_is_looked_up() {
    let server = Postgres::own(&[("track_functions", "pl")]).await.unwrap();
    let scope = Scope::on(server.url());
    let clock = Clock::manual();
    let (one, other) = (scope.backend(&clock).await.unwrap(), scope.backend(&clock).await.unwrap());
    let mut settings = settings();
    settings.limits.max_streams_per_session = Some(2);
    let batch = async |backend: &PostgresBackend, groups: &[Group]| {
        let answers = backend.append(groups, &settings).await.unwrap();
        compare(&scope).await;
        answers
    };
    let (known, begun) = (stream("s", "known"), stream("v", "begun by another"));
    batch(&one, &[group(&known, vec![priming()])]).await;
    batch(&other, &[group(&begun, vec![priming()])]).await;
    // One is believed to be new, and is there.
    let groups = [group(&known, vec![end()]), group(&begun, vec![priming()])];
    assert_eq!(seqs(&batch(&one, &groups).await), [2, 2]);

    // Another instance ended it; the new one beside it is stored all the same.
    let ended = stream("s", "ended by another");
    batch(&one, &[group(&ended, vec![priming()])]).await;
    batch(&other, &[group(&ended, vec![end()])]).await;
    let beside = stream("t", "beside");
    let groups = [group(&ended, vec![end()]), group(&beside, vec![priming()])];
    let answers = batch(&one, &groups).await;
    assert!(matches!(answers[0], Err(Error::StreamComplete)));
    assert_eq!(answers[1].as_ref().unwrap().first_seq, 1);

    // An end makes no room for a beginning beside it.
    let (open, more) = (stream("u", "open"), stream("u", "more"));
    batch(&one, &[group(&open, vec![priming()])]).await;
    batch(&one, &[group(&more, vec![priming()])]).await;
    let at_once = group(&stream("u", "at once"), vec![priming(), end()]);
    let answers = batch(&one, &[at_once, group(&open, vec![event()])]).await;
    assert!(matches!(answers[0], Err(Error::LimitReached { .. })));
    assert_eq!(answers[1].as_ref().unwrap().first_seq, 2);

    let groups = [group(&more, vec![end()]), group(&stream("u", "third"), vec![priming()])];
    let answers = batch(&one, &groups).await;
    assert_eq!(answers[0].as_ref().unwrap().first_seq, 2);
    assert!(matches!(answers[1], Err(Error::LimitReached { .. })));

    // A session that would be more than full.
    let new = ["1", "2", "3"].map(|name| stream("full", name));
    let groups: Vec<_> = new.iter().map(|stream| group(stream, vec![priming()])).collect();
    let answers = batch(&one, &groups).await;
    assert!(matches!(answers[2], Err(Error::LimitReached { .. })));
    assert_eq!(seqs(&answers[..2]), [1, 1]);
    let groups = [group(&new[2], vec![priming()]), group(&beside, vec![end()])];
    let answers = batch(&one, &groups).await;
    assert!(matches!(answers[0], Err(Error::LimitReached { .. })));
    assert_eq!(answers[1].as_ref().unwrap().first_seq, 2);
    // What ends makes room.
    batch(&one, &[group(&new[0], vec![end()])]).await;
    assert_eq!(seqs(&batch(&one, &[group(&new[2], vec![priming()])]).await), [1]);

    // A deleted session, with a stream that is known and one that is new.
    let gone = ["known", "new"].map(|name| stream("gone", name));
    batch(&one, &[group(&gone[0], vec![priming()])]).await;
    other.delete_session(&gone[0].session.clone().unwrap()).await.unwrap();
    let groups = [group(&gone[0], vec![end()]), group(&gone[1], vec![priming()])];
    let answers = batch(&one, &groups).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(Error::SessionDeleted))));

    // Expired, then a tombstone: each time what was there is not built upon.
    let old = stream("s", "old");
    batch(&one, &[group(&old, vec![priming()])]).await;
    clock.advance(Duration::from_hours(24));
    assert_eq!(seqs(&batch(&one, &[group(&old, vec![end()])]).await), [2]);
    assert_eq!(one.find(&old).await.unwrap().unwrap().meta.first_seq, 2);
    clock.advance(Duration::from_hours(3));
    assert_eq!(seqs(&batch(&one, &[group(&old, vec![priming()])]).await), [1]);
    compare_booked(&scope, &one).await;
    one.close().await.unwrap();
    other.close().await.unwrap();
    // Each but the other instance's end begins with `start`; `append` follows where that will not do.
    // Both leave what is known and live to `extend`.
    let counted = async || scope.calls().await == [10, 8, 0, 18];
    eventually(Duration::from_secs(10), "calls are counted", counted).await;
    scope.tear_down().await;
}
