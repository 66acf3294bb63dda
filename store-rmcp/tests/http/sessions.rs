//! Sessions: kept apart, served by any instance, deleted for good.

use std::time::Duration;

use mcp_event_store_rmcp::DurableSessionConfig;
use reqwest::StatusCode;

use crate::support::{Client, Fault, Mode, Place, Server, briefs, eventually};

on_every_store!(
    a_call_on_the_second_instance_is_that_instances_own,
    an_unknown_session_is_not_found,
    c10_delete_deletes_the_events_on_every_instance,
    c10_a_session_deleted_on_one_instance_ends_on_the_others,
    c10_a_listener_that_comes_after_a_deletion_elsewhere_is_told,
    a_session_is_not_restored_while_it_is_deleted,
    a_session_in_use_does_not_expire,
    concurrent_requests_of_an_unknown_session_restore_it_once,
    a_client_that_gives_up_while_its_session_is_restored_harms_no_other_request,
);

/// Refused, in a way that says so.
async fn resumes_nothing(client: &Client, id: &str) {
    let response = client.get_raw(Some(id)).await;
    let status = response.status();
    assert!([StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND].contains(&status), "{status}");
    let body = response.text().await.unwrap();
    assert!(!body.contains("event:") && !body.contains("data:"), "{body}");
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

async fn c10_delete_deletes_the_events_on_every_instance(place: Place) {
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

async fn c10_a_session_deleted_on_one_instance_ends_on_the_others(place: Place) {
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
}

/// Both instances hold the session, and neither looks after it within the test.
async fn c10_a_listener_that_comes_after_a_deletion_elsewhere_is_told(place: Place) {
    let config = DurableSessionConfig::default().with_lease_ttl(Duration::from_hours(1));
    let first = Server::start_with(&place.open().await, config.clone()).await;
    let second = Server::start_with(&place.open().await, config.clone()).await;
    let third = Server::start_with(&place.open().await, config).await;
    let client = Client::connect(&first).await;
    client.at(&second).listen().await.take(1).await;
    assert_eq!(client.at(&third).delete().await, StatusCode::ACCEPTED);
    for (server, how) in [(&first, "begun"), (&second, "restored")] {
        let status = client.at(server).get_raw(None).await.status();
        assert_eq!(status, StatusCode::NOT_FOUND, "{how} there");
        let left = || async { server.sessions.sessions_here() == 0 };
        eventually("the session's end", left).await;
    }
}

async fn a_session_is_not_restored_while_it_is_deleted(place: Place) {
    let (fault, store) = Fault::over(&place.open().await);
    let server = Server::start(&store).await;
    let client = Client::connect(&server).await;
    fault.deletions(Mode::Stall);
    let (deleting, listening) = (client.clone(), client.clone());
    let delete = tokio::spawn(async move { deleting.delete().await });
    eventually("a deletion that waits", || async { fault.waiting() == 1 }).await;
    let mut get = tokio::spawn(async move { listening.get_raw(None).await.status() });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut get).await;
    assert!(early.is_err(), "{early:?}");
    fault.deletions(Mode::Work);
    assert_eq!(delete.await.unwrap(), StatusCode::ACCEPTED);
    assert_eq!(get.await.unwrap(), StatusCode::NOT_FOUND);
    assert_eq!(client.get_raw(None).await.status(), StatusCode::NOT_FOUND);
}

async fn a_session_in_use_does_not_expire(place: Place) {
    let place = place.with(|s| s.retention.session_ttl = Some(Duration::from_secs(1)));
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

async fn a_client_that_gives_up_while_its_session_is_restored_harms_no_other_request(place: Place) {
    let first = Server::start(&place.open().await).await;
    let client = Client::connect(&first).await;
    for _ in 0..5 {
        let (fault, store) = Fault::over(&place.open().await);
        let second = Server::start(&store).await;
        let there = client.at(&second);
        fault.everything(Mode::Stall);
        let hasty = there.clone();
        let gives_up = tokio::spawn(async move { hasty.get_raw(None).await });
        let patient = tokio::spawn(async move { there.call(1, "count", 0).await.rest().await });
        // Both are on their way to the store by now, or soon: either way it must go well.
        tokio::time::sleep(Duration::from_millis(100)).await;
        gives_up.abort();
        fault.everything(Mode::Work);
        second.script.go(1);
        assert_eq!(briefs(&patient.await.unwrap()), ["-", "result"]);
    }
}
