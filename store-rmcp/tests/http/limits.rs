//! Whoever opens streams or connections without end meets a limit, and no one else notices.

use crate::support::{Client, Place, Server, briefs, refusal};

on_every_store!(
    too_many_streams_are_refused_with_an_error,
    too_many_connections_are_refused_with_an_error,
    a_session_that_hoards_connections_harms_no_other,
);

async fn too_many_streams_are_refused_with_an_error(place: Place) {
    let place = place.with(|s| s.limits.max_streams_per_session = Some(2));
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

async fn too_many_connections_are_refused_with_an_error(place: Place) {
    let place = place.with(|s| s.limits.max_followers_per_session = Some(1));
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

async fn a_session_that_hoards_connections_harms_no_other(place: Place) {
    let place = place.with(|s| s.limits.max_followers_per_session = Some(3));
    let server = Server::start(&place.open().await).await;
    let hoarder = Client::connect(&server).await;
    let mut held = Vec::new();
    for id in 1..=3 {
        let mut call = hoarder.call(id, "count", 0).await;
        held.push(call.take(1).await.remove(0));
        std::mem::forget(call);
    }
    for id in [None, Some(held[0].id())] {
        let response = hoarder.get_raw(id).await;
        let (status, reason) = refusal(response).await;
        assert_eq!((status, &*reason), (429, "limit_reached"));
    }
    let other = Client::connect(&server).await;
    let mut listening = other.listen().await;
    listening.take(1).await;
    assert_eq!(briefs(&other.call(1, "announce", 0).await.rest().await), ["-", "result"]);
    drop(listening);
}
