//! Requests of the server to its client.

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{Client, Place, Server, briefs, refusal};

on_every_store!(
    a_question_to_the_client_travels_on_the_stream_of_its_call,
    an_answer_that_lands_on_another_instance_is_not_taken_for_its_own,
    an_answer_to_a_former_life_of_the_session_is_refused,
);

async fn a_question_to_the_client_travels_on_the_stream_of_its_call(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let mut sse = client.call(1, "ask", 0).await;
    let events = sse.take(2).await;
    assert_eq!(briefs(&events), ["-", "ping"]);
    drop(sse);
    assert_eq!(client.answer(&events[1].json()["id"]).await, StatusCode::ACCEPTED);
    let rest = client.resume(events[1].id()).await.rest().await;
    assert_eq!(briefs(&rest), ["-", "result"]);
    assert_eq!(rest[1].json()["result"]["content"][0]["text"], "answered");
}

async fn an_answer_that_lands_on_another_instance_is_not_taken_for_its_own(place: Place) {
    let first = Server::start(&place.open().await).await;
    let second = Server::start(&place.open().await).await;
    let here = Client::connect(&first).await;
    let there = here.at(&second);
    let mut one = here.call(1, "ask", 0).await;
    let mut two = there.call(2, "ask", 0).await;
    let question = one.take(2).await.remove(1).json()["id"].clone();
    let other = two.take(2).await.remove(1).json()["id"].clone();
    assert_ne!(question, other);
    let astray = json!({ "jsonrpc": "2.0", "id": question, "result": {} });
    let (status, reason) = refusal(there.post_raw(&astray).await).await;
    assert_eq!((status, &*reason), (400, "not_asked_here"));
    assert_eq!(there.answer(&other).await, StatusCode::ACCEPTED);
    assert_eq!(briefs(&two.rest().await), ["result"]);
    assert_eq!(here.answer(&question).await, StatusCode::ACCEPTED);
    assert_eq!(briefs(&one.rest().await), ["result"]);
}

async fn an_answer_to_a_former_life_of_the_session_is_refused(place: Place) {
    let first = Server::start(&place.open().await).await;
    let client = Client::connect(&first).await;
    let mut call = client.call(1, "ask", 0).await;
    let question = call.take(2).await.remove(1).json()["id"].clone();
    first.stop().await;
    let second = Server::start(&place.open().await).await;
    let there = client.at(&second);
    let mut again = there.call(2, "ask", 0).await;
    again.take(2).await;
    assert_eq!(there.answer(&question).await, StatusCode::BAD_REQUEST);
    assert_eq!(there.answer(&json!(0)).await, StatusCode::BAD_REQUEST, "as rmcp would count");
}
