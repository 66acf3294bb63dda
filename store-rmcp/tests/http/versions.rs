//! Sessions that agreed on a protocol without priming events.

use crate::support::{Client, Event, Place, Server, briefs};

on_every_store!(
    c01_the_version_agreed_at_initialize_counts_not_a_requests_header,
    c01_a_session_on_2025_03_26_gets_no_priming_event_and_still_resumes,
    c01_a_session_on_2025_06_18_gets_no_priming_event_and_still_resumes,
);

async fn c01_a_session_on_2025_03_26_gets_no_priming_event_and_still_resumes(place: Place) {
    resumes_without_priming(place, "2025-03-26").await;
}

async fn c01_a_session_on_2025_06_18_gets_no_priming_event_and_still_resumes(place: Place) {
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

async fn c01_the_version_agreed_at_initialize_counts_not_a_requests_header(place: Place) {
    let first = Server::start(&place.open().await).await;
    let second = Server::start(&place.open().await).await;
    for (agreed, claimed) in [("2025-06-18", "2025-11-25"), ("2025-11-25", "2025-06-18")] {
        let mut client = Client::connect_with(&first.url(), agreed).await;
        client.version = claimed;
        // A restored session remembers it as well.
        for server in [&first, &second] {
            server.script.go(1);
            let events = client.at(server).call(1, "count", 0).await.rest().await;
            let expected: &[&str] =
                if agreed == "2025-11-25" { &["-", "result"] } else { &["result"] };
            assert_eq!(briefs(&events), expected, "agreed on {agreed}, claims {claimed}");
        }
    }
}
