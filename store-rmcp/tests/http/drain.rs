//! A server that is about to stop sends its clients elsewhere.

use std::time::Duration;

use mcp_event_store_rmcp::DurableSessionConfig;

use serde_json::json;

use crate::support::{Client, Place, Server, briefs, refusal, request, within_deadline};

on_every_store!(
    a_drained_server_sends_its_clients_to_another_and_finishes_its_calls,
    draining_waits_no_longer_than_told,
    an_older_client_that_could_not_come_back_is_kept,
    a_stopped_server_begins_no_session_that_it_would_wait_for,
);

const SECOND: Duration = Duration::from_secs(1);

async fn a_drained_server_sends_its_clients_to_another_and_finishes_its_calls(place: Place) {
    let config = DurableSessionConfig::default().with_retry(Duration::from_millis(55));
    let first = Server::start_with(&place.open().await, config).await;
    let second = Server::start(&place.open().await).await;
    let client = Client::connect(&first).await;
    let mut call = client.call(1, "count", 2).await;
    first.script.go(1);
    let seen = call.take(2).await;
    let mut listening = client.listen().await;
    listening.take(1).await;
    let sessions = first.sessions.clone();
    let drained = tokio::spawn(async move { sessions.drain(20 * SECOND).await });
    for connection in [&mut call, &mut listening] {
        let farewell = connection.rest().await;
        assert_eq!(briefs(&farewell), ["-"]);
        assert_eq!(farewell[0].retry, Some(55));
    }
    assert!(!drained.is_finished(), "a call still runs");
    let mut resumed = client.at(&second).resume(seen[1].id()).await;
    resumed.take(1).await;
    first.script.go(2);
    assert_eq!(briefs(&resumed.rest().await), ["2.0", "result"]);
    assert_eq!(within_deadline("the drain", drained).await.unwrap(), 0);
    // Who comes all the same is served, and sent away.
    first.script.go(1);
    let late = client.call(2, "count", 0).await.rest().await;
    assert_eq!(late[0].brief(), "-");
    let rest = client.at(&second).resume(late[0].id()).await.rest().await;
    assert_eq!(briefs(&rest), ["-", "result"]);
}

async fn draining_waits_no_longer_than_told(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let mut call = client.call(1, "count", 0).await;
    call.take(1).await;
    assert_eq!(server.sessions.drain(Duration::from_millis(50)).await, 1);
}

async fn an_older_client_that_could_not_come_back_is_kept(place: Place) {
    let server = Server::start(&place.open().await).await;
    let second = Server::start(&place.open().await).await;
    let client = Client::connect_with(&server.url(), "2025-06-18").await;
    let mut call = client.call(1, "count", 1).await;
    server.script.wait_until_started(1).await;
    assert_eq!(server.sessions.drain(Duration::from_millis(50)).await, 1);
    server.script.go(1);
    let first = call.next().await.unwrap();
    assert_eq!(first.brief(), "1.0", "it has an ID now");
    assert_eq!(call.next().await, None);
    server.script.go(1);
    let rest = client.at(&second).resume(first.id()).await.rest().await;
    assert_eq!(briefs(&rest), ["result"]);
}

async fn a_stopped_server_begins_no_session_that_it_would_wait_for(place: Place) {
    let first = Server::start(&place.open().await).await;
    let second = Server::start(&place.open().await).await;
    let client = Client::connect(&second).await;
    within_deadline("the shutdown", first.sessions.shutdown()).await;
    let stranger = Client::stranger(&first.url());
    let ping = request(1, "ping", &json!({}));
    for response in [stranger.initialize_raw().await, client.at(&first).post_raw(&ping).await] {
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(refusal(response).await, (503, "session_ended".into()));
    }
    within_deadline("the second shutdown", first.sessions.shutdown()).await;
    assert_eq!(first.sessions.sessions_here(), 0);
    assert_eq!(briefs(&client.post(&ping).await.rest().await), ["-", "result"]);
}
