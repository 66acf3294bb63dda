//! A tool hangs up on its client, which comes back (SEP-1699).

use std::time::Duration;

use mcp_event_store_rmcp::DurableSessionConfig;

use crate::support::{Client, Place, Server, briefs};

on_every_store!(
    c04_a_tool_closes_its_stream_again_and_again_and_its_client_gets_all,
    c04_a_stream_is_closed_for_a_client_on_another_instance,
    c04_a_tool_closes_the_standalone_stream,
    c04_what_was_closed_in_the_past_closes_no_later_connection,
    a_session_on_an_older_protocol_has_no_control_over_streams,
);

const CHANGED: &str = "notifications/tools/list_changed";

async fn c04_a_tool_closes_its_stream_again_and_again_and_its_client_gets_all(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let mut closed = client.call(1, "hang_up", 3).await.rest().await;
    assert_eq!(briefs(&closed), ["-", "-"], "primed, and closed");
    for round in ["1.0", "2.0"] {
        let marker = closed.pop().unwrap();
        assert_eq!(marker.retry, Some(40), "the tool's own time");
        let mut resumed = client.resume(marker.id()).await;
        resumed.take(1).await;
        server.script.go(1);
        closed = resumed.rest().await;
        assert_eq!(briefs(&closed), [round, "-"], "closed again after a resume");
    }
    server.script.go(1);
    server.script.wait_until_finished(1).await;
    let rest = client.resume(closed.pop().unwrap().id()).await.rest().await;
    assert_eq!(briefs(&rest), ["-", "3.0", "result"]);
    assert_eq!(rest[2].json()["result"]["content"][0]["text"], "hung up");
}

async fn c04_a_stream_is_closed_for_a_client_on_another_instance(place: Place) {
    let first = Server::start(&place.open().await).await;
    let second = Server::start(&place.open().await).await;
    let client = Client::connect(&first).await;
    let closed = client.call(1, "hang_up", 2).await.rest().await;
    let mut resumed = client.at(&second).resume(closed[1].id()).await;
    resumed.take(1).await;
    first.script.go(1);
    let closed = resumed.rest().await;
    assert_eq!(briefs(&closed), ["1.0", "-"]);
    first.script.go(1);
    let rest = client.at(&second).resume(closed[1].id()).await.rest().await;
    assert_eq!(briefs(&rest), ["-", "2.0", "result"]);
}

async fn c04_a_tool_closes_the_standalone_stream(place: Place) {
    let config = DurableSessionConfig::default().with_retry(Duration::from_millis(123));
    let server = Server::start_with(&place.open().await, config).await;
    let client = Client::connect(&server).await;
    let mut listening = client.listen().await;
    listening.take(1).await;
    for id in 1..=2 {
        client.call(id, "hang_up_standalone", 0).await.rest().await;
        let closed = listening.rest().await;
        let marker = closed.last().unwrap();
        assert_eq!((marker.brief(), marker.retry), ("-".into(), Some(123)), "the usual time");
        listening = client.resume(marker.id()).await;
        assert_eq!(briefs(&listening.take(2).await), ["-", CHANGED]);
    }
}

async fn c04_what_was_closed_in_the_past_closes_no_later_connection(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let closed = client.call(1, "hang_up", 1).await.rest().await;
    // From the beginning, past the marker.
    let mut again = client.resume(closed[0].id()).await;
    again.take(1).await;
    server.script.go(1);
    assert_eq!(briefs(&again.rest().await), ["1.0", "result"]);
    // Nobody listens while the standalone stream is closed.
    client.call(2, "hang_up_standalone", 0).await.rest().await;
    let mut listening = client.listen().await;
    assert_eq!(briefs(&listening.take(2).await), ["-", CHANGED]);
    client.call(3, "announce", 1).await.rest().await;
    assert_eq!(briefs(&listening.take(1).await), [CHANGED]);
}

async fn a_session_on_an_older_protocol_has_no_control_over_streams(place: Place) {
    let server = Server::start(&place.open().await).await;
    for version in ["2025-03-26", "2025-06-18"] {
        let client = Client::connect_with(&server.url(), version).await;
        let events = client.call(1, "hang_up", 1).await.rest().await;
        assert_eq!(events[0].json()["error"]["message"], "no control over streams");
    }
}
