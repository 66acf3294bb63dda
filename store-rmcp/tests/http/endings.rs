//! Every request's stream ends, whatever happens to its response.

use serde_json::json;

use crate::support::{Client, Place, Server, briefs, request};

on_every_store!(
    c11_a_cancelled_request_ends,
    c11_a_response_too_large_to_store_becomes_an_error,
    a_notification_too_large_to_store_harms_nothing_else,
    a_request_id_in_use_is_refused,
    a_request_id_too_long_is_refused,
);

async fn c11_a_cancelled_request_ends(place: Place) {
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

async fn c11_a_response_too_large_to_store_becomes_an_error(place: Place) {
    let place = place.with(|s| s.limits.max_event_bytes = Some(10_000));
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
    let place = place.with(|s| s.limits.max_event_bytes = Some(300));
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
