//! Every request's stream ends, whatever happens to its response.

use std::time::Duration;

use mcp_event_store_core::{Lease, NewEvent, SessionId, StreamId, StreamRef};
use mcp_event_store_rmcp::DurableSessionConfig;
use serde_json::json;

use crate::support::{Client, Place, Server, briefs, request};

on_every_store!(
    a_cancelled_request_ends,
    a_response_too_large_to_store_becomes_an_error,
    a_notification_too_large_to_store_harms_nothing_else,
    a_request_id_in_use_is_refused,
    a_request_id_too_long_is_refused,
    too_many_streams_are_refused_with_an_error,
    a_call_whose_server_died_ends_with_an_error,
    a_silent_call_is_not_taken_for_dead,
    a_call_running_at_shutdown_ends_with_an_error,
    too_many_connections_are_refused_with_an_error,
);

async fn a_cancelled_request_ends(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let mut sse = client.call(1, "hang", 0).await;
    let priming = sse.take(1).await.remove(0);
    server.script.wait_until_started(1).await;
    client.notify("notifications/cancelled", &json!({ "requestId": 1 })).await;
    assert_eq!(briefs(&sse.rest().await), ["-"]);
    let resumed = client.resume(priming.id()).await.rest().await;
    assert_eq!(briefs(&resumed), ["-", "-"]);
    server.script.wait_until_finished(1).await;
}

async fn a_response_too_large_to_store_becomes_an_error(place: Place) {
    let place = place.with(|s| s.limits.max_event_bytes = Some(10_000)).await;
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let events = client.call(1, "large", 20_000).await.rest().await;
    assert_eq!(briefs(&events), ["-", "error"]);
    let error = events[1].json();
    assert_eq!(error["id"], 1);
    assert_eq!(error["error"]["data"]["reason"], "too_large");
    let again = client.resume(events[0].id()).await.rest().await;
    assert_eq!(again[1..], events[1..], "the error is stored");
}

async fn a_notification_too_large_to_store_harms_nothing_else(place: Place) {
    let place = place.with(|s| s.limits.max_event_bytes = Some(300)).await;
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let mut long = request(1, "tools/call", &json!({ "name": "count", "arguments": { "n": 2 } }));
    long["params"]["_meta"]["progressToken"] = "t".repeat(400).into();
    server.script.go(3);
    assert_eq!(briefs(&client.post(&long).await.rest().await), ["-", "result"]);
}

async fn a_request_id_in_use_is_refused(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let mut first = client.call(1, "count", 0).await;
    server.script.wait_until_started(1).await;
    let second = client.call(1, "count", 0).await.rest().await;
    assert_eq!(briefs(&second), ["error"]);
    assert_eq!(second[0].json()["error"]["code"], -32600);
    server.script.go(1);
    assert_eq!(briefs(&first.rest().await), ["-", "result"]);
    server.script.go(1);
    let third = client.call(1, "count", 0).await.rest().await;
    assert_eq!(briefs(&third), ["-", "result"], "free again");
}

async fn a_request_id_too_long_is_refused(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let mut long = request(1, "ping", &json!({}));
    long["id"] = "i".repeat(600).into();
    let events = client.post(&long).await.rest().await;
    assert_eq!(briefs(&events), ["error"]);
    assert_eq!(events[0].json()["error"]["code"], -32600);
}

async fn too_many_streams_are_refused_with_an_error(place: Place) {
    let place = place.with(|s| s.limits.max_streams_per_session = Some(2)).await;
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let mut running = client.call(1, "count", 0).await;
    running.take(1).await;
    let refused = client.call(2, "count", 0).await.rest().await;
    assert_eq!(briefs(&refused), ["error"]);
    assert_eq!(refused[0].json()["error"]["data"]["reason"], "limit_reached");
    server.script.go(1);
    assert_eq!(briefs(&running.rest().await), ["result"]);
    server.script.go(1);
    let next = client.call(3, "count", 0).await.rest().await;
    assert_eq!(briefs(&next), ["-", "result"], "there is room again");
}

async fn a_call_whose_server_died_ends_with_an_error(place: Place) {
    let store = place.open().await;
    let server = Server::start(&store).await;
    let client = Client::connect(&server).await;
    // What an instance leaves behind that was killed in mid-call.
    let stream = StreamRef::in_session(
        SessionId::new(&client.session).unwrap(),
        StreamId::new("request/5f0c9a52-0000-4000-8000-000000000000/\"call-9\"").unwrap(),
    );
    let lease = Lease::new("a dead instance", Duration::from_millis(400));
    let priming = NewEvent::priming(Duration::from_secs(1)).with_lease(lease);
    let id = store.events().store_event(&stream, priming).await.unwrap();
    let mut first = client.resume(id.as_str()).await;
    first.take(1).await;
    let events = client.resume(id.as_str()).await.rest().await;
    assert_eq!(briefs(&events), ["-", "error"]);
    let error = events[1].json();
    assert_eq!(error["id"], "call-9");
    assert_eq!(error["error"]["data"]["reason"], "interrupted");
    let again = client.resume(id.as_str()).await.rest().await;
    assert_eq!(again[1..], events[1..], "once");
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

async fn a_call_running_at_shutdown_ends_with_an_error(place: Place) {
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

async fn too_many_connections_are_refused_with_an_error(place: Place) {
    let place = place.with(|s| s.limits.max_followers_per_session = Some(1)).await;
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let mut listening = client.listen().await;
    listening.take(1).await;
    let refused = client.call(1, "count", 0).await.rest().await;
    assert_eq!(briefs(&refused), ["error"]);
    assert_eq!(refused[0].json()["error"]["data"]["reason"], "limit_reached");
    assert_eq!(server.script.started(), 0);
    let stranger = Client::connect(&server).await;
    server.script.go(1);
    let others = stranger.call(1, "count", 0).await.rest().await;
    assert_eq!(briefs(&others), ["-", "result"], "another session does not notice");
}
