//! A store that is slow or down: requests fail or wait, nothing is sent that was not stored, and
//! all is well again when the store is.

use std::time::Duration;

use mcp_event_store_rmcp::DurableSessionConfig;

use crate::support::{Appends, Client, Fault, Place, Server, briefs, eventually};

on_every_store!(
    a_request_that_cannot_be_stored_is_refused_and_does_not_run,
    a_response_that_cannot_be_stored_becomes_an_error_once_the_store_is_back,
    a_short_outage_goes_unnoticed,
    nothing_is_sent_before_it_is_stored,
    a_client_gone_while_its_stream_is_primed_leaves_a_call_that_runs,
);

fn impatient() -> DurableSessionConfig {
    DurableSessionConfig::default().with_store_timeout(Duration::from_millis(100))
}

async fn a_request_that_cannot_be_stored_is_refused_and_does_not_run(place: Place) {
    let (fault, store) = Fault::over(&place.open().await);
    let server = Server::start_with(&store, impatient()).await;
    let client = Client::connect(&server).await;
    fault.set(Appends::Fail);
    let events = client.call(1, "count", 0).await.rest().await;
    assert_eq!(briefs(&events), ["error"]);
    assert_eq!(events[0].json()["error"]["data"]["reason"], "store_unavailable");
    assert!(!events[0].data.contains("out of order"), "the cause stays inside");
    assert_eq!(server.script.started(), 0);
    fault.set(Appends::Work);
    server.script.go(1);
    let events = client.call(1, "count", 0).await.rest().await;
    assert_eq!(briefs(&events), ["-", "result"]);
}

async fn a_response_that_cannot_be_stored_becomes_an_error_once_the_store_is_back(place: Place) {
    let (fault, store) = Fault::over(&place.open().await);
    let server = Server::start_with(&store, impatient()).await;
    let client = Client::connect(&server).await;
    let mut sse = client.call(1, "count", 0).await;
    let priming = sse.take(1).await.remove(0);
    fault.set(Appends::Fail);
    server.script.go(1);
    server.script.wait_until_finished(1).await;
    // Long enough for the response to be given up; then only an error can come.
    tokio::time::sleep(Duration::from_millis(500)).await;
    fault.set(Appends::Work);
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
    fault.set(Appends::Fail);
    server.script.go(3);
    tokio::time::sleep(Duration::from_millis(200)).await;
    fault.set(Appends::Work);
    assert_eq!(briefs(&sse.rest().await), ["1.0", "2.0", "result"]);
}

async fn nothing_is_sent_before_it_is_stored(place: Place) {
    let (fault, store) = Fault::over(&place.open().await);
    let server = Server::start(&store).await;
    let client = Client::connect(&server).await;
    let mut sse = client.call(1, "count", 1).await;
    sse.take(1).await;
    fault.set(Appends::Stall);
    server.script.go(2);
    let early = tokio::time::timeout(Duration::from_millis(300), sse.next()).await;
    assert!(early.is_err(), "{early:?}");
    fault.set(Appends::Work);
    assert_eq!(briefs(&sse.rest().await), ["1.0", "result"]);
}

async fn a_client_gone_while_its_stream_is_primed_leaves_a_call_that_runs(place: Place) {
    let inner = place.open().await;
    let (fault, store) = Fault::over(&inner);
    let server = Server::start(&store).await;
    let client = Client::connect(&server).await;
    fault.set(Appends::Stall);
    let hasty = client.clone();
    let post = tokio::spawn(async move { hasty.call(1, "count", 0).await });
    eventually("the request's arrival", || async { server.sessions.running_requests() == 1 }).await;
    post.abort();
    let _ = post.await;
    fault.set(Appends::Work);
    server.script.wait_until_started(1).await;
    server.script.go(1);
    eventually("the call's end", || async { server.sessions.running_requests() == 0 }).await;
    let usage = inner.maintenance().usage().await.unwrap();
    // The standalone stream's priming event, and the call's with its response.
    assert_eq!((usage.streams, usage.events), (2, 3), "{usage:?}");
}
