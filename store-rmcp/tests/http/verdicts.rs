//! IDs that resume nothing: refused with a typed verdict, and not one foreign byte.

use std::time::Duration;

use reqwest::header::ACCEPT;
use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::support::{Client, Place, Server, briefs, eventually, refusal};

on_every_store!(
    c06_an_id_of_another_session_is_unknown,
    c06_a_made_up_id_is_unknown,
    c06_an_expired_calls_id_is_answered_with_an_error_in_its_stream,
    c06_an_expired_id_of_the_standalone_stream_names_what_is_left,
    c06_a_forgotten_id_is_unknown,
    c06_an_id_of_a_deleted_session_is_unknown,
    c06_an_id_without_its_session_is_unknown,
    rmcps_own_refusals_keep_their_precedence,
);

const UNKNOWN: (u16, &str) = (400, "unknown_event");

async fn refused(client: &Client, id: &str) -> (u16, String) {
    refusal(client.get_raw(Some(id)).await).await
}

/// The answer to a client that speaks the protocol without sessions.
async fn without_session(client: &Client, id: &str) -> Response {
    let mut client = client.clone();
    client.session.clear();
    let get = client.get(Some(id)).header("mcp-protocol-version", "2026-07-28");
    get.send().await.unwrap()
}

async fn is_unknown_everywhere(client: &Client, id: &str) {
    let (status, reason) = refused(client, id).await;
    assert_eq!((status, &*reason), UNKNOWN);
    let (status, reason) = refusal(without_session(client, id).await).await;
    assert_eq!((status, &*reason), UNKNOWN, "without a session");
}

async fn c06_an_id_of_another_session_is_unknown(place: Place) {
    let server = Server::start(&place.open().await).await;
    let owner = Client::connect(&server).await;
    let stranger = Client::connect(&server).await;
    server.script.go(3);
    let events = owner.call(1, "count", 2).await.rest().await;
    owner.call(2, "announce", 1).await.rest().await;
    let standalone = owner.listen().await.take(2).await;
    for event in events.iter().chain(&standalone) {
        is_unknown_everywhere(&stranger, event.id()).await;
    }
    let again = owner.resume(events[0].id()).await.rest().await;
    assert_eq!(briefs(&again), ["-", "1.0", "2.0", "result"]);
}

async fn c06_a_made_up_id_is_unknown(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    server.script.go(1);
    let events = client.call(1, "count", 0).await.rest().await;
    let mut flipped = events[0].id().to_owned();
    let first = if flipped.starts_with('A') { "B" } else { "A" };
    flipped.replace_range(..1, first);
    for id in ["made-up", "0", &flipped, &flipped[..20]] {
        is_unknown_everywhere(&client, id).await;
    }
}

async fn c06_an_expired_calls_id_is_answered_with_an_error_in_its_stream(place: Place) {
    let short = Some(Duration::from_millis(100));
    let place = place.with(|s| s.retention.completed_stream_ttl = short);
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    server.script.go(1);
    let events = client.call(7, "count", 0).await.rest().await;
    eventually("expiry", || async {
        let answer = client.resume(events[0].id()).await.rest().await;
        briefs(&answer) == ["error"]
    })
    .await;
    let answer = client.resume(events[0].id()).await.rest().await;
    assert_eq!(answer[0].id, events[0].id, "asked again, the same again");
    let error = answer[0].json();
    assert_eq!(error["id"], 7);
    assert_eq!(error["error"]["data"]["reason"], "events_expired");
    assert_eq!(refusal(without_session(&client, events[0].id()).await).await.1, UNKNOWN.1);
}

async fn c06_an_expired_id_of_the_standalone_stream_names_what_is_left(place: Place) {
    let place = place.with(|s| s.retention.max_events_per_stream = Some(2));
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let priming = client.listen().await.take(1).await.remove(0);
    client.call(1, "announce", 4).await.rest().await;
    let response = client.get_raw(Some(priming.id())).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["id"], Value::Null);
    assert_eq!(body["error"]["data"]["reason"], "events_expired");
    let resume_after = body["error"]["data"]["resumeAfter"].as_str().unwrap();
    let left = client.resume(resume_after).await.take(3).await;
    let changed = "notifications/tools/list_changed";
    assert_eq!(briefs(&left), ["-", changed, changed]);
    assert_eq!(refusal(without_session(&client, priming.id()).await).await.1, UNKNOWN.1);
}

async fn c06_a_forgotten_id_is_unknown(place: Place) {
    let short = Duration::from_millis(50);
    let place = place.with(|s| {
        s.retention.completed_stream_ttl = Some(short);
        s.retention.tombstone_ttl = short;
    });
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    server.script.go(1);
    let events = client.call(1, "count", 0).await.rest().await;
    eventually("oblivion", || async {
        client.get_raw(Some(events[0].id())).await.status() == StatusCode::BAD_REQUEST
    })
    .await;
    is_unknown_everywhere(&client, events[0].id()).await;
}

async fn c06_an_id_of_a_deleted_session_is_unknown(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    server.script.go(1);
    let events = client.call(1, "count", 0).await.rest().await;
    assert_eq!(client.delete().await, StatusCode::ACCEPTED);
    assert_eq!(client.get_raw(Some(events[0].id())).await.status(), StatusCode::NOT_FOUND);
    let fresh = Client::connect(&server).await;
    is_unknown_everywhere(&fresh, events[0].id()).await;
}

async fn c06_an_id_without_its_session_is_unknown(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    server.script.go(1);
    let events = client.call(1, "count", 0).await.rest().await;
    let standalone = client.listen().await.take(1).await;
    for event in events.iter().chain(&standalone) {
        let (status, reason) = refusal(without_session(&client, event.id()).await).await;
        assert_eq!((status, &*reason), UNKNOWN);
    }
}

async fn rmcps_own_refusals_keep_their_precedence(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let status =
        |request: reqwest::RequestBuilder| async { request.send().await.unwrap().status() };
    let get = || client.get(Some("made-up"));
    assert_eq!(status(get().header("host", "evil.example")).await, StatusCode::FORBIDDEN);
    assert_eq!(status(client.get_accepting("text/html")).await, StatusCode::NOT_ACCEPTABLE);
    let mut nobody = client.clone();
    nobody.session = "nobody".into();
    assert_eq!(status(nobody.get(Some("made-up"))).await, StatusCode::NOT_FOUND);
    assert_eq!(status(get().header(ACCEPT, "text/event-stream")).await, StatusCode::BAD_REQUEST);
}
