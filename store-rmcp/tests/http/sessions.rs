//! Sessions: kept apart, served by any instance, deleted for good.

use std::time::Duration;

use mcp_event_store_rmcp::DurableSessionConfig;
use reqwest::StatusCode;

use crate::support::{Client, Place, Server, briefs, eventually};

on_every_store!(
    an_id_of_another_session_resumes_nothing,
    an_id_of_a_session_resumes_nothing_without_the_session,
    another_instance_restores_the_session_and_resumes_its_stream,
    another_instance_follows_a_running_call_live,
    a_call_on_the_second_instance_is_that_instances_own,
    an_unknown_session_is_not_found,
    delete_deletes_the_events_on_every_instance,
    a_session_deleted_on_one_instance_ends_on_the_others,
    a_session_in_use_does_not_expire,
    a_stopped_server_deletes_nothing,
    an_idle_session_leaves_memory_and_comes_back,
    concurrent_requests_of_an_unknown_session_restore_it_once,
);

/// Not one byte of an event in the answer.
async fn resumes_nothing(client: &Client, id: &str) {
    let response = client.get_raw(Some(id)).await;
    let status = response.status();
    assert!(status == StatusCode::OK || status == StatusCode::NOT_FOUND, "{status}");
    let body = response.text().await.unwrap();
    assert!(!body.contains("data"), "{body}");
    assert!(status == StatusCode::NOT_FOUND || body.is_empty(), "{body}");
}

async fn an_id_of_another_session_resumes_nothing(place: Place) {
    let server = Server::start(&place.open().await).await;
    let owner = Client::connect(&server).await;
    let stranger = Client::connect(&server).await;
    server.script.go(3);
    let events = owner.call(1, "count", 2).await.rest().await;
    owner.call(2, "announce", 1).await.rest().await;
    let standalone = owner.listen().await.take(2).await;
    for event in events.iter().chain(&standalone) {
        resumes_nothing(&stranger, event.id()).await;
    }
    resumes_nothing(&stranger, "made-up").await;
    let again = owner.resume(events[0].id()).await.rest().await;
    assert_eq!(briefs(&again), ["-", "1.0", "2.0", "result"]);
}

async fn an_id_of_a_session_resumes_nothing_without_the_session(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    server.script.go(1);
    let events = client.call(1, "count", 0).await.rest().await;
    let mut sessionless = client.clone();
    sessionless.session.clear();
    let request =
        sessionless.get(Some(events[0].id())).header("mcp-protocol-version", "2026-07-28");
    let response = request.send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "");
}

async fn another_instance_restores_the_session_and_resumes_its_stream(place: Place) {
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

async fn another_instance_follows_a_running_call_live(place: Place) {
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

async fn a_call_on_the_second_instance_is_that_instances_own(place: Place) {
    let first = Server::start(&place.open().await).await;
    let second = Server::start(&place.open().await).await;
    let here = Client::connect(&first).await;
    let there = here.at(&second);
    // The same request ID on both, at the same time.
    let mut one = here.call(1, "count", 1).await;
    let mut two = there.call(1, "count", 1).await;
    second.script.go(2);
    assert_eq!(briefs(&two.rest().await), ["-", "1.0", "result"]);
    first.script.go(2);
    assert_eq!(briefs(&one.rest().await), ["-", "1.0", "result"]);
}

async fn an_unknown_session_is_not_found(place: Place) {
    let server = Server::start(&place.open().await).await;
    let mut client = Client::connect(&server).await;
    for unknown in ["00000000-0000-4000-8000-000000000000".to_owned(), "x".repeat(4000)] {
        client.session = unknown;
        assert_eq!(client.get_raw(None).await.status(), StatusCode::NOT_FOUND);
    }
}

async fn delete_deletes_the_events_on_every_instance(place: Place) {
    let first = Server::start(&place.open().await).await;
    let second = Server::start(&place.open().await).await;
    let client = Client::connect(&first).await;
    first.script.go(1);
    let events = client.call(1, "count", 0).await.rest().await;
    let elsewhere = client.at(&second);
    let mut listening = elsewhere.listen().await;
    listening.take(1).await;
    assert_eq!(client.delete().await, StatusCode::ACCEPTED);
    assert_eq!(listening.next().await, None, "its events are gone");
    assert_eq!(client.get_raw(None).await.status(), StatusCode::NOT_FOUND);
    resumes_nothing(&client, events[0].id()).await;
    resumes_nothing(&elsewhere, events[0].id()).await;
    assert_eq!(place.open().await.maintenance().usage().await.unwrap().events, 0);
    let fresh = Client::connect(&first).await;
    resumes_nothing(&fresh, events[0].id()).await;
    assert_eq!(client.delete().await, StatusCode::ACCEPTED, "deleting twice is no error");
}

async fn a_session_deleted_on_one_instance_ends_on_the_others(place: Place) {
    let config = DurableSessionConfig::default().with_lease_ttl(Duration::from_millis(100));
    let first = Server::start_with(&place.open().await, config.clone()).await;
    let second = Server::start_with(&place.open().await, config).await;
    let client = Client::connect(&first).await;
    let elsewhere = client.at(&second);
    elsewhere.listen().await.take(1).await;
    assert_eq!(elsewhere.delete().await, StatusCode::ACCEPTED);
    // The first instance still holds the session in memory, but nothing can be stored for it.
    let refused = client.call(1, "count", 0).await.rest().await;
    assert_eq!(briefs(&refused), ["error"]);
    assert_eq!(refused[0].json()["error"]["data"]["reason"], "session_deleted");
    assert_eq!(client.get_raw(None).await.status(), StatusCode::NOT_FOUND);
    // A session that only listens is told as well.
    let listener = Client::connect(&first).await;
    assert_eq!(listener.at(&second).delete().await, StatusCode::ACCEPTED);
    let response = listener.get_raw(None).await;
    if response.status() == StatusCode::OK {
        assert_eq!(response.text().await.unwrap(), "");
        assert_eq!(listener.get_raw(None).await.status(), StatusCode::NOT_FOUND);
    }
}

async fn a_session_in_use_does_not_expire(place: Place) {
    let place = place.with(|s| s.retention.session_ttl = Some(Duration::from_secs(1))).await;
    let config = DurableSessionConfig::default().with_lease_ttl(Duration::from_millis(100));
    let first = Server::start_with(&place.open().await, config.clone()).await;
    let client = Client::connect(&first).await;
    let mut listening = client.listen().await;
    listening.take(1).await;
    // More than two lives of the record: the time is the point here.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    first.script.go(1);
    let call = client.call(1, "count", 0).await.rest().await;
    let second = Server::start_with(&place.open().await, config).await;
    let resumed = client.at(&second).resume(call[0].id()).await.rest().await;
    assert_eq!(briefs(&resumed), ["-", "result"]);
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

async fn an_idle_session_leaves_memory_and_comes_back(place: Place) {
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

async fn concurrent_requests_of_an_unknown_session_restore_it_once(place: Place) {
    let first = Server::start(&place.open().await).await;
    let client = Client::connect(&first).await;
    let second = Server::start(&place.open().await).await;
    second.script.go(5);
    let mut calls = Vec::new();
    for id in 1..=5 {
        let client = client.at(&second);
        calls.push(tokio::spawn(async move { client.call(id, "count", 0).await.rest().await }));
    }
    for call in calls {
        assert_eq!(briefs(&call.await.unwrap()), ["-", "result"]);
    }
    assert_eq!(second.sessions.sessions_here(), 1);
}
