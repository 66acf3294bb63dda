//! Sessions that agreed on a protocol without priming events.

use crate::support::{Client, Event, Place, Server, briefs};

on_every_store!(
    a_session_on_2025_03_26_gets_no_priming_event_and_still_resumes,
    a_session_on_2025_06_18_gets_no_priming_event_and_still_resumes,
);

async fn a_session_on_2025_03_26_gets_no_priming_event_and_still_resumes(place: Place) {
    resumes_without_priming(place, "2025-03-26").await;
}

async fn a_session_on_2025_06_18_gets_no_priming_event_and_still_resumes(place: Place) {
    resumes_without_priming(place, "2025-06-18").await;
}

async fn resumes_without_priming(place: Place, version: &'static str) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect_with(&server.url(), version).await;
    let mut sse = client.call(1, "count", 3).await;
    server.script.go(1);
    let first = sse.next().await.unwrap();
    assert_eq!(first.brief(), "1.0");
    drop(sse);
    server.script.go(3);
    let rest = client.resume(first.id()).await.rest().await;
    assert_eq!(briefs(&rest), ["2.0", "3.0", "result"]);
    client.call(2, "announce", 1).await.rest().await;
    let announced = client.listen().await.take(1).await;
    assert_eq!(briefs(&announced), ["notifications/tools/list_changed"]);
    let all: Vec<&Event> = rest.iter().chain(&announced).collect();
    assert!(all.iter().all(|event| event.id.is_some() && event.retry.is_none()));
}
