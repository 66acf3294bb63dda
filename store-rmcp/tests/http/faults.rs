//! A store that is slow or down: requests fail or wait, nothing is sent that was not stored, and
//! all is well again when the store is.

use std::time::Duration;

use mcp_event_store_rmcp::DurableSessionConfig;

use serde_json::json;

use crate::support::{
    Client, Fault, Mode, Place, Server, briefs, eventually, refusal, request, within,
};

on_every_store!(
    a_request_that_cannot_be_stored_is_refused_and_does_not_run,
    c11_a_response_that_cannot_be_stored_becomes_an_error_once_the_store_is_back,
    a_short_outage_goes_unnoticed,
    nothing_is_sent_before_it_is_stored,
    a_call_with_a_hole_fails_as_a_whole,
    other_sessions_do_not_notice,
    an_absent_store_is_said_to_every_kind_of_request,
    a_session_that_could_not_be_stored_does_not_begin,
    a_deletion_that_did_not_happen_is_not_confirmed,
    a_server_stops_though_its_store_is_away,
    a_server_stops_though_much_waits_for_its_store,
    a_client_gone_while_its_stream_is_primed_leaves_a_call_that_runs,
);

/// More than a real store takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(1);

fn impatient() -> DurableSessionConfig {
    DurableSessionConfig::default().with_store_timeout(PATIENCE)
}

async fn a_request_that_cannot_be_stored_is_refused_and_does_not_run(place: Place) {
    let (fault, store) = Fault::over(&place.open().await);
    let server = Server::start_with(&store, impatient()).await;
    let client = Client::connect(&server).await;
    fault.appends(Mode::Fail);
    let events = client.call(1, "count", 0).await.rest().await;
    assert_eq!(briefs(&events), ["error"]);
    assert_eq!(events[0].json()["error"]["data"]["reason"], "store_unavailable");
    assert!(!events[0].data.contains("out of order"), "the cause stays inside");
    assert_eq!(server.script.started(), 0);
    fault.appends(Mode::Work);
    server.script.go(1);
    let events = client.call(1, "count", 0).await.rest().await;
    assert_eq!(briefs(&events), ["-", "result"]);
}

async fn c11_a_response_that_cannot_be_stored_becomes_an_error_once_the_store_is_back(
    place: Place,
) {
    let (fault, store) = Fault::over(&place.open().await);
    let server = Server::start_with(&store, impatient()).await;
    let client = Client::connect(&server).await;
    let mut sse = client.call(1, "count", 0).await;
    let priming = sse.take(1).await.remove(0);
    fault.appends(Mode::Fail);
    server.script.go(1);
    server.script.wait_until_finished(1).await;
    // Long enough for the response to be given up; then only an error can come.
    tokio::time::sleep(PATIENCE * 3 / 2).await;
    fault.appends(Mode::Work);
    let rest = sse.rest().await;
    assert_eq!(briefs(&rest), ["error"]);
    assert_eq!(rest[0].json()["id"], 1);
    let again = client.resume(priming.id()).await.rest().await;
    assert_eq!(again[1..], rest[..], "the error is stored");
}

async fn a_short_outage_goes_unnoticed(place: Place) {
    let (fault, store) = Fault::over(&place.open().await);
    let server = Server::start(&store).await;
    let client = Client::connect(&server).await;
    let mut sse = client.call(1, "count", 2).await;
    sse.take(1).await;
    fault.appends(Mode::Fail);
    server.script.go(3);
    tokio::time::sleep(Duration::from_millis(200)).await;
    fault.appends(Mode::Work);
    assert_eq!(briefs(&sse.rest().await), ["1.0", "2.0", "result"]);
}

async fn nothing_is_sent_before_it_is_stored(place: Place) {
    let (fault, store) = Fault::over(&place.open().await);
    let server = Server::start(&store).await;
    let client = Client::connect(&server).await;
    let mut sse = client.call(1, "count", 1).await;
    sse.take(1).await;
    fault.appends(Mode::Stall);
    server.script.go(2);
    let early = tokio::time::timeout(Duration::from_millis(300), sse.next()).await;
    assert!(early.is_err(), "{early:?}");
    fault.appends(Mode::Work);
    assert_eq!(briefs(&sse.rest().await), ["1.0", "result"]);
}

async fn a_client_gone_while_its_stream_is_primed_leaves_a_call_that_runs(place: Place) {
    let inner = place.open().await;
    let (fault, store) = Fault::over(&inner);
    let server = Server::start(&store).await;
    let client = Client::connect(&server).await;
    fault.appends(Mode::Stall);
    let hasty = client.clone();
    let post = tokio::spawn(async move { hasty.call(1, "count", 0).await });
    eventually("the request's arrival", || async { server.sessions.running_requests() == 1 }).await;
    post.abort();
    let _ = post.await;
    fault.appends(Mode::Work);
    server.script.wait_until_started(1).await;
    server.script.go(1);
    eventually("the call's end", || async { server.sessions.running_requests() == 0 }).await;
    let usage = inner.maintenance().usage().await.unwrap();
    // The standalone stream's priming event, and the call's with its response.
    assert_eq!((usage.streams, usage.events), (2, 3), "{usage:?}");
}

async fn a_call_with_a_hole_fails_as_a_whole(place: Place) {
    let (fault, store) = Fault::over(&place.open().await);
    let server = Server::start_with(&store, impatient()).await;
    let client = Client::connect(&server).await;
    let mut sse = client.call(1, "count", 3).await;
    server.script.go(1);
    let seen = sse.take(2).await;
    fault.appends(Mode::Fail);
    server.script.go(1);
    // Long enough for the notification to be given up, which is the point here.
    tokio::time::sleep(PATIENCE * 3 / 2).await;
    fault.appends(Mode::Work);
    server.script.go(2);
    let rest = sse.rest().await;
    assert_eq!(briefs(&rest), ["error"]);
    assert_eq!(rest[0].json()["error"]["data"]["reason"], "store_unavailable");
    let again = client.resume(seen[1].id()).await.rest().await;
    assert_eq!(again[1..], rest[..]);
    server.script.wait_until_finished(1).await;
    server.script.go(1);
    let next = client.call(2, "count", 0).await.rest().await;
    assert_eq!(briefs(&next), ["-", "result"], "the session works again");
}

async fn other_sessions_do_not_notice(place: Place) {
    let (fault, store) = Fault::over(&place.open().await);
    let server = Server::start(&store).await;
    let (slow, fine) = (Client::connect(&server).await, Client::connect(&server).await);
    let mut stalled = slow.call(1, "count", 1).await;
    stalled.take(1).await;
    fault.appends_of(&slow.session, Mode::Stall);
    server.script.go(2);
    let early = tokio::time::timeout(Duration::from_millis(200), stalled.next()).await;
    assert!(early.is_err(), "{early:?}");
    server.script.go(3);
    let events = fine.call(1, "count", 2).await.rest().await;
    assert_eq!(briefs(&events), ["-", "1.0", "2.0", "result"]);
    fault.appends(Mode::Work);
    assert_eq!(briefs(&stalled.rest().await), ["1.0", "result"]);
}

async fn an_absent_store_is_said_to_every_kind_of_request(place: Place) {
    let (fault, store) = Fault::over(&place.open().await);
    let server = Server::start_with(&store, impatient()).await;
    let elsewhere = Server::start_with(&store, impatient()).await;
    let client = Client::connect(&server).await;
    server.script.go(1);
    let events = client.call(1, "count", 0).await.rest().await;
    for mode in [Mode::Fail, Mode::Stall] {
        fault.everything(mode);
        let (there, stranger) = (client.at(&elsewhere), Client::stranger(&server.url()));
        let ping = request(2, "ping", &json!({}));
        let (resumed, fresh, restored, posted, begun) = tokio::join!(
            client.get_raw(Some(events[0].id())),
            client.get_raw(None),
            there.get_raw(Some(events[0].id())),
            there.post_raw(&ping),
            stranger.initialize_raw(),
        );
        for response in [resumed, fresh, restored, posted, begun] {
            assert_eq!(response.headers()["retry-after"], "1");
            let (status, reason) = refusal(response).await;
            assert_eq!((status, &*reason), (503, "store_unavailable"));
        }
        fault.everything(Mode::Work);
    }
    let resumed = client.resume(events[0].id()).await.rest().await;
    assert_eq!(briefs(&resumed), ["-", "result"]);
}

async fn a_session_that_could_not_be_stored_does_not_begin(place: Place) {
    let place = place.with(|s| s.limits.max_event_bytes = Some(60));
    let server = Server::start(&place.open().await).await;
    let response = Client::stranger(&server.url()).initialize_raw().await;
    assert!(response.headers().get("mcp-session-id").is_none());
    let (status, reason) = refusal(response).await;
    assert_eq!((status, &*reason), (413, "too_large"));
}

async fn a_deletion_that_did_not_happen_is_not_confirmed(place: Place) {
    let (fault, store) = Fault::over(&place.open().await);
    let server = Server::start_with(&store, impatient()).await;
    let client = Client::connect(&server).await;
    server.script.go(1);
    let events = client.call(1, "count", 0).await.rest().await;
    fault.everything(Mode::Fail);
    let (status, reason) = refusal(client.delete_raw().await).await;
    assert_eq!((status, &*reason), (503, "store_unavailable"));
    fault.everything(Mode::Work);
    let resumed = client.resume(events[0].id()).await.rest().await;
    assert_eq!(briefs(&resumed), ["-", "result"], "all is there");
    assert_eq!(client.delete().await, reqwest::StatusCode::ACCEPTED);
    assert_eq!(client.get_raw(None).await.status(), reqwest::StatusCode::NOT_FOUND);
}

async fn a_server_stops_though_its_store_is_away(place: Place) {
    let (fault, store) = Fault::over(&place.open().await);
    let config = impatient().with_lease_ttl(Duration::from_millis(300));
    let server = Server::start_with(&store, config.clone()).await;
    let client = Client::connect(&server).await;
    let priming = client.call(1, "count", 0).await.take(1).await.remove(0);
    fault.everything(Mode::Fail);
    server.stop().await;
    fault.everything(Mode::Work);
    let next = Server::start_with(&store, config).await;
    let rest = client.at(&next).resume(priming.id()).await.rest().await;
    assert_eq!(briefs(&rest), ["-", "error"], "once its lease has lapsed");
}

async fn a_server_stops_though_much_waits_for_its_store(place: Place) {
    const MUCH: u32 = 30;
    let (fault, store) = Fault::over(&place.open().await);
    let config = impatient().with_lease_ttl(Duration::from_millis(300));
    let server = Server::start_with(&store, config).await;
    let client = Client::connect(&server).await;
    client.call(1, "announce_together", MUCH.into()).await.take(1).await;
    fault.everything(Mode::Fail);
    server.script.go(1);
    // It ends with the first refusal, while the others wait.
    server.script.wait_until_finished(1).await;
    within(PATIENCE * MUCH / 3, "the stop", server.stop()).await;
}
