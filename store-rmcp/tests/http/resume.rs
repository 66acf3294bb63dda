//! Streams of requests: primed, dropped, resumed.

use std::time::Duration;

use mcp_event_store_rmcp::DurableSessionConfig;

use crate::support::{Client, Event, Place, Proxy, Server, Sse, briefs};

on_every_store!(
    c01_the_standalone_stream_begins_with_its_priming_event_too,
    c01_a_stream_begins_with_its_priming_event_and_every_message_has_an_id,
    c02_a_dropped_connection_resumes_with_exactly_what_it_missed,
    c03_what_is_sent_while_nobody_is_connected_is_replayed,
    c01_a_resumed_connection_begins_with_the_presented_id,
    a_resumed_connection_gets_events_as_they_happen,
    a_connection_dropped_again_and_again_misses_nothing,
    c05_four_streams_cut_and_resumed_at_once_each_get_their_own,
    c09_a_second_resume_takes_the_stream_over,
    c02_a_complete_stream_resumed_at_its_end_ends_at_once,
);

async fn c01_a_stream_begins_with_its_priming_event_and_every_message_has_an_id(place: Place) {
    let config = DurableSessionConfig::default().with_retry(Duration::from_millis(1234));
    let server = Server::start_with(&place.open().await, config).await;
    let client = Client::connect(&server).await;
    server.script.go(4);
    let events = client.call(1, "count", 3).await.rest().await;
    assert_eq!(briefs(&events), ["-", "1.0", "2.0", "3.0", "result"]);
    assert_eq!(events[0].retry, Some(1234));
    let mut ids: Vec<&str> = events.iter().map(Event::id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 5);
}

async fn c02_a_dropped_connection_resumes_with_exactly_what_it_missed(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let mut sse = client.call(1, "count", 5).await;
    server.script.go(2);
    let seen = sse.take(3).await;
    drop(sse);
    server.script.go(4);
    let missed = client.resume(seen[2].id()).await.rest().await;
    assert_eq!(briefs(&missed), ["-", "3.0", "4.0", "5.0", "result"]);
    assert_eq!(missed[4].json()["id"], 1);
    assert_eq!(missed[4].json()["result"]["content"][0]["text"], "counted to 5");
    // The same again from the very first ID: a replay consumes nothing.
    let all = client.resume(seen[0].id()).await.rest().await;
    assert_eq!(briefs(&all), ["-", "1.0", "2.0", "3.0", "4.0", "5.0", "result"]);
    assert_eq!(all[1..3], seen[1..3]);
    assert_eq!(all[3..], missed[1..]);
}

async fn c03_what_is_sent_while_nobody_is_connected_is_replayed(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let mut sse = client.call(1, "count", 3).await;
    let priming = sse.take(1).await;
    drop(sse);
    server.script.go(4);
    server.script.wait_until_finished(1).await;
    let missed = client.resume(priming[0].id()).await.rest().await;
    assert_eq!(briefs(&missed), ["-", "1.0", "2.0", "3.0", "result"]);
}

async fn c01_a_resumed_connection_begins_with_the_presented_id(place: Place) {
    let config = DurableSessionConfig::default().with_retry(Duration::from_millis(77));
    let server = Server::start_with(&place.open().await, config).await;
    let client = Client::connect(&server).await;
    let mut sse = client.call(1, "count", 1).await;
    server.script.go(1);
    let seen = sse.take(2).await;
    drop(sse);
    let mut resumed = client.resume(seen[1].id()).await;
    let first = resumed.next().await.unwrap();
    assert_eq!(first, Event { id: seen[1].id.clone(), data: String::new(), retry: Some(77) });
    server.script.go(1);
    assert_eq!(briefs(&resumed.rest().await), ["result"]);
}

async fn a_resumed_connection_gets_events_as_they_happen(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let mut sse = client.call(1, "count", 3).await;
    let priming = sse.take(1).await;
    drop(sse);
    let mut resumed = client.resume(priming[0].id()).await;
    resumed.take(1).await;
    for step in ["1.0", "2.0", "3.0", "result"] {
        server.script.go(1);
        assert_eq!(resumed.next().await.unwrap().brief(), step);
    }
    assert_eq!(resumed.next().await, None);
}

async fn a_connection_dropped_again_and_again_misses_nothing(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let mut sse = client.call(1, "count", 8).await;
    let mut last = sse.take(1).await.remove(0);
    let mut seen = Vec::new();
    for _ in 0..9 {
        server.script.go(1);
        sse = client.resume(last.id()).await;
        last = sse.take(2).await.remove(1);
        seen.push(last.brief());
    }
    assert_eq!(seen, ["1.0", "2.0", "3.0", "4.0", "5.0", "6.0", "7.0", "8.0", "result"]);
    assert_eq!(sse.next().await, None);
}

async fn c09_a_second_resume_takes_the_stream_over(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let mut first: Sse = client.call(1, "count", 1).await;
    let priming = first.take(1).await.remove(0);
    let mut second = client.resume(priming.id()).await;
    second.take(1).await;
    assert_eq!(first.next().await, None);
    server.script.go(2);
    assert_eq!(briefs(&second.rest().await), ["1.0", "result"]);
}

async fn c02_a_complete_stream_resumed_at_its_end_ends_at_once(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    server.script.go(1);
    let events = client.call(1, "count", 0).await.rest().await;
    let after = client.resume(events.last().unwrap().id()).await.rest().await;
    assert_eq!(briefs(&after), ["-"]);
}

async fn c01_the_standalone_stream_begins_with_its_priming_event_too(place: Place) {
    let config = DurableSessionConfig::default().with_retry(Duration::from_millis(1234));
    let server = Server::start_with(&place.open().await, config).await;
    let client = Client::connect(&server).await;
    let mut listening = client.listen().await;
    client.call(1, "announce", 2).await.rest().await;
    let events = listening.take(3).await;
    assert_eq!((events[0].brief(), events[0].retry), ("-".into(), Some(1234)));
    assert!(events.iter().all(|event| event.id.is_some()));
    drop(listening);
    let opening = client.resume(events[1].id()).await.take(1).await.remove(0);
    assert_eq!((opening.id, opening.retry), (events[1].id.clone(), Some(1234)));
}

async fn c05_four_streams_cut_and_resumed_at_once_each_get_their_own(place: Place) {
    let server = Server::start(&place.open().await).await;
    let proxy = Proxy::to(server.address).await;
    let client = Client::connect(&server).await;
    let through = client.at_url(&proxy.url());
    let mut standalone = through.listen().await;
    let mut last = vec![(0, standalone.take(1).await.remove(0))];
    let mut calls = Vec::new();
    for id in 1..=3 {
        let mut call = through.call(id, "count", 4).await;
        last.push((id, call.take(1).await.remove(0)));
        calls.push(call);
    }
    proxy.cut();
    server.script.go(3 * 5);
    client.call(9, "announce", 2).await.rest().await;
    let resumed = last.into_iter().map(|(id, priming)| {
        let client = through.clone();
        tokio::spawn(async move {
            let mut sse = client.resume(priming.id()).await;
            (id, if id == 0 { sse.take(3).await } else { sse.rest().await })
        })
    });
    for resumed in resumed.collect::<Vec<_>>() {
        let (id, events) = resumed.await.unwrap();
        if id == 0 {
            let changed = "notifications/tools/list_changed";
            assert_eq!(briefs(&events), ["-", changed, changed]);
            continue;
        }
        assert_eq!(briefs(&events), ["-", "1.0", "2.0", "3.0", "4.0", "result"]);
        for event in &events[1..5] {
            assert_eq!(event.json()["params"]["progressToken"], id.to_string());
        }
        assert_eq!(events[5].json()["id"], id);
    }
}
