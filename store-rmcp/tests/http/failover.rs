//! Several instances on one store: one goes, another goes on.

use std::time::Duration;

use mcp_event_store_core::{Lease, NewEvent, SessionId, Store, StreamId, StreamRef};
use mcp_event_store_rmcp::DurableSessionConfig;

use crate::support::{Client, Fault, Mode, Place, Server, briefs, eventually};

on_every_store!(
    c07_another_instance_follows_a_running_call_live,
    c08_a_call_running_at_shutdown_ends_with_an_error,
    c08_after_a_graceful_shutdown_another_instance_has_everything,
    c08_an_evicted_session_is_resumed_on_another_instance,
    c08_an_idle_session_leaves_memory_and_comes_back,
    c09_a_resume_on_another_instance_takes_the_stream_over,
    a_silent_call_is_not_taken_for_dead,
    a_long_silent_call_is_neither_swept_nor_evicted,
    a_call_whose_server_died_ends_with_an_error,
    a_dead_servers_call_ends_though_storing_its_end_fails_at_first,
    a_stopped_server_deletes_nothing,
);

async fn c07_another_instance_follows_a_running_call_live(place: Place) {
    let first = Server::start(&place.open().await).await;
    let second = Server::start(&place.open().await).await;
    let client = Client::connect(&first).await;
    let mut sse = client.call(1, "count", 3).await;
    let priming = sse.take(1).await.remove(0);
    let mut resumed = client.at(&second).resume(priming.id()).await;
    resumed.take(1).await;
    assert_eq!(sse.next().await, None, "taken over on another instance");
    for step in ["1.0", "2.0", "3.0", "result"] {
        first.script.go(1);
        assert_eq!(resumed.next().await.unwrap().brief(), step);
    }
    assert_eq!(resumed.next().await, None);
}

async fn c08_after_a_graceful_shutdown_another_instance_has_everything(place: Place) {
    let first = Server::start(&place.open().await).await;
    let client = Client::connect(&first).await;
    let mut sse = client.call(1, "count", 3).await;
    first.script.go(1);
    let seen = sse.take(2).await;
    drop(sse);
    first.script.go(3);
    first.script.wait_until_finished(1).await;
    first.stop().await;
    let second = Server::start(&place.open().await).await;
    let rest = client.at(&second).resume(seen[1].id()).await.rest().await;
    assert_eq!(briefs(&rest), ["-", "2.0", "3.0", "result"]);
}

async fn c08_an_idle_session_leaves_memory_and_comes_back(place: Place) {
    let config = DurableSessionConfig::default().with_idle_timeout(Duration::from_millis(40));
    let server = Server::start_with(&place.open().await, config).await;
    let client = Client::connect(&server).await;
    server.script.go(2);
    let before = client.call(1, "count", 0).await.rest().await;
    eventually("eviction", || async { server.sessions.sessions_here() == 0 }).await;
    let again = client.resume(before[0].id()).await.rest().await;
    assert_eq!(briefs(&again), ["-", "result"]);
    let after = client.call(2, "count", 0).await.rest().await;
    assert_eq!(briefs(&after), ["-", "result"]);
}

async fn c08_a_call_running_at_shutdown_ends_with_an_error(place: Place) {
    let first = Server::start(&place.open().await).await;
    let client = Client::connect(&first).await;
    let mut sse = client.call(1, "count", 1).await;
    first.script.go(1);
    let seen = sse.take(2).await;
    first.stop().await;
    let second = Server::start(&place.open().await).await;
    let rest = client.at(&second).resume(seen[1].id()).await.rest().await;
    assert_eq!(briefs(&rest), ["-", "error"]);
    assert_eq!(rest[1].json()["error"]["data"]["reason"], "interrupted");
}

async fn a_silent_call_is_not_taken_for_dead(place: Place) {
    let config = DurableSessionConfig::default().with_lease_ttl(Duration::from_secs(1));
    let first = Server::start_with(&place.open().await, config.clone()).await;
    let second = Server::start_with(&place.open().await, config).await;
    let client = Client::connect(&first).await;
    let mut sse = client.call(1, "count", 0).await;
    let priming = sse.take(1).await.remove(0);
    let mut resumed = client.at(&second).resume(priming.id()).await;
    resumed.take(1).await;
    // More than two lives of the lease: the time is the point here.
    let silence = tokio::time::timeout(Duration::from_millis(2500), resumed.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    first.script.go(1);
    assert_eq!(briefs(&resumed.rest().await), ["result"]);
}

/// Stores what an instance leaves behind that was killed in mid-call; its event's ID.
async fn left_behind(store: &Store, client: &Client) -> String {
    let stream = StreamRef::in_session(
        SessionId::new(&client.session).unwrap(),
        StreamId::new("request/5f0c9a52-0000-4000-8000-000000000000/\"call-9\"").unwrap(),
    );
    let lease = Lease::new("a dead instance", Duration::from_millis(400));
    let priming = NewEvent::priming(Duration::from_secs(1)).with_lease(lease);
    store.events().store_event(&stream, priming).await.unwrap().as_str().to_owned()
}

async fn a_call_whose_server_died_ends_with_an_error(place: Place) {
    let store = place.open().await;
    let server = Server::start(&store).await;
    let client = Client::connect(&server).await;
    let id = left_behind(&store, &client).await;
    let mut first = client.resume(&id).await;
    first.take(1).await;
    let events = client.resume(&id).await.rest().await;
    assert_eq!(briefs(&events), ["-", "error"]);
    let error = events[1].json();
    assert_eq!(error["id"], "call-9");
    assert_eq!(error["error"]["data"]["reason"], "interrupted");
    let again = client.resume(&id).await.rest().await;
    assert_eq!(again[1..], events[1..], "once");
}

async fn a_dead_servers_call_ends_though_storing_its_end_fails_at_first(place: Place) {
    for failure in [Mode::Fail, Mode::Lose] {
        let (fault, store) = Fault::over(&place.open().await);
        let server = Server::start(&store).await;
        let client = Client::connect(&server).await;
        let id = left_behind(&store, &client).await;
        let mut resumed = client.resume(&id).await;
        resumed.take(1).await;
        fault.appends(failure);
        // Until the lease has lapsed and the first try has failed; nothing shows it from outside.
        let early = tokio::time::timeout(Duration::from_millis(900), resumed.next()).await;
        assert!(early.is_err(), "{early:?}");
        fault.appends(Mode::Work);
        assert_eq!(briefs(&resumed.rest().await), ["error"]);
    }
}

async fn a_stopped_server_deletes_nothing(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    server.script.go(1);
    client.call(1, "count", 0).await.rest().await;
    let before = place.open().await.maintenance().usage().await.unwrap();
    server.stop().await;
    let after = place.open().await.maintenance().usage().await.unwrap();
    assert_eq!(after, before);
}

async fn c08_an_evicted_session_is_resumed_on_another_instance(place: Place) {
    let config = DurableSessionConfig::default().with_idle_timeout(Duration::from_millis(40));
    let first = Server::start_with(&place.open().await, config).await;
    let second = Server::start(&place.open().await).await;
    let client = Client::connect(&first).await;
    first.script.go(2);
    let mut call = client.call(1, "count", 1).await;
    let priming = call.take(1).await.remove(0);
    let all = call.rest().await;
    eventually("eviction", || async { first.sessions.sessions_here() == 0 }).await;
    let resumed = client.at(&second).resume(priming.id()).await.rest().await;
    assert_eq!(resumed[1..], all[..]);
}

async fn c09_a_resume_on_another_instance_takes_the_stream_over(place: Place) {
    let first = Server::start(&place.open().await).await;
    let second = Server::start(&place.open().await).await;
    let client = Client::connect(&first).await;
    let priming = client.call(1, "count", 1).await.take(1).await.remove(0);
    let mut here = client.resume(priming.id()).await;
    here.take(1).await;
    let mut there = client.at(&second).resume(priming.id()).await;
    there.take(1).await;
    assert_eq!(here.next().await, None, "taken over from the instance that runs the call");
    let mut back = client.resume(priming.id()).await;
    back.take(1).await;
    assert_eq!(there.next().await, None, "and taken back");
    first.script.go(2);
    assert_eq!(briefs(&back.rest().await), ["1.0", "result"]);
}

async fn a_long_silent_call_is_neither_swept_nor_evicted(place: Place) {
    let ttl = Duration::from_secs(2);
    let place = place.with(|s| {
        s.retention.stream_ttl = Some(ttl);
        s.retention.session_ttl = Some(ttl);
        s.retention.sweep_every = Some(Duration::from_millis(50));
    });
    let config = DurableSessionConfig::default()
        .with_lease_ttl(ttl / 2)
        .with_idle_timeout(Duration::from_millis(100));
    let server = Server::start_with(&place.open().await, config).await;
    let client = Client::connect(&server).await;
    // Nobody is connected meanwhile.
    let priming = client.call(1, "count", 1).await.take(1).await.remove(0);
    // Several lives of everything: the time is the point here.
    tokio::time::sleep(3 * ttl).await;
    let mut resumed = client.resume(priming.id()).await;
    resumed.take(1).await;
    server.script.go(2);
    assert_eq!(briefs(&resumed.rest().await), ["1.0", "result"]);
}
