//! Sessions bound to the principal that began them.

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{Client, LATEST, Place, Server, briefs, request};

on_every_store!(
    a_session_is_not_found_by_anybody_but_its_principal,
    another_instance_knows_whose_a_session_is,
    nobody_deletes_anothers_session,
);

const ANN: Option<&str> = Some("ann");

async fn is_not_found_by(thief: &Client, id: &str) {
    assert_eq!(thief.get_raw(Some(id)).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(thief.get_raw(None).await.status(), StatusCode::NOT_FOUND);
    let ping = request(9, "ping", &json!({}));
    assert_eq!(thief.post_raw(&ping).await.status(), StatusCode::NOT_FOUND);
    let cancelled = json!({
        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 },
    });
    assert_eq!(thief.post_raw(&cancelled).await.status(), StatusCode::NOT_FOUND);
}

async fn a_session_is_not_found_by_anybody_but_its_principal(place: Place) {
    let server = Server::start_with_users(&place.open().await).await;
    let ann = Client::connect_as(ANN, &server.url(), LATEST).await;
    let mut call = ann.call(1, "count", 0).await;
    let priming = call.take(1).await.remove(0);
    for thief in [ann.stolen_by(Some("bob")), ann.stolen_by(None)] {
        is_not_found_by(&thief, priming.id()).await;
    }
    server.script.go(1);
    assert_eq!(briefs(&call.rest().await), ["result"], "nothing has happened to it");
    assert_eq!(briefs(&ann.resume(priming.id()).await.rest().await), ["-", "result"]);
    // A session without a user is nobody else's either.
    let anyone = Client::connect_as(None, &server.url(), LATEST).await;
    is_not_found_by(&anyone.stolen_by(ANN), priming.id()).await;
    assert_eq!(briefs(&anyone.listen().await.take(1).await), ["-"]);
}

async fn another_instance_knows_whose_a_session_is(place: Place) {
    let first = Server::start_with_users(&place.open().await).await;
    let second = Server::start_with_users(&place.open().await).await;
    let ann = Client::connect_as(ANN, &first.url(), LATEST).await;
    first.script.go(1);
    let events = ann.call(1, "count", 0).await.rest().await;
    let there = ann.at(&second);
    let bob = there.stolen_by(Some("bob"));
    is_not_found_by(&bob, events[0].id()).await;
    assert_eq!(second.sessions.sessions_here(), 0, "nothing was restored for him");
    // At the same time, while it is restored for her.
    let (hers, his) =
        tokio::join!(there.get_raw(Some(events[0].id())), bob.get_raw(Some(events[0].id())));
    assert_eq!((hers.status(), his.status()), (StatusCode::OK, StatusCode::NOT_FOUND));
    is_not_found_by(&bob, events[0].id()).await;
}

async fn nobody_deletes_anothers_session(place: Place) {
    let first = Server::start_with_users(&place.open().await).await;
    let second = Server::start_with_users(&place.open().await).await;
    let ann = Client::connect_as(ANN, &first.url(), LATEST).await;
    for server in [&first, &second] {
        let bob = ann.at(server).stolen_by(Some("bob"));
        assert_eq!(bob.delete().await, StatusCode::NOT_FOUND);
    }
    first.script.go(1);
    assert_eq!(briefs(&ann.call(1, "count", 0).await.rest().await), ["-", "result"]);
    assert_eq!(ann.at(&second).delete().await, StatusCode::ACCEPTED);
    assert_eq!(ann.at(&second).get_raw(None).await.status(), StatusCode::NOT_FOUND);
}
