//! Input that no well-behaved client sends.

use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Client, Place, Server, briefs, refusal, within_deadline};

on_every_store!(
    an_id_of_any_bytes_and_length_is_unknown,
    no_id_splits_a_header,
    a_get_without_accept_is_not_acceptable,
    a_session_of_any_name_is_not_found,
    gets_that_race_a_delete_end,
);

/// Whether the server still does what it is there for.
async fn works(server: &Server, client: &Client) {
    server.script.go(1);
    let events = client.call(77, "count", 0).await.rest().await;
    assert_eq!(briefs(&events), ["-", "result"]);
}

async fn an_id_of_any_bytes_and_length_is_unknown(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    client.call(1, "announce", 1).await.rest().await;
    let long = "x".repeat(8192);
    let every_byte: Vec<u8> = (0x80..=0xff).collect();
    for id in [long.as_bytes(), &every_byte, b"\xff", b"", b" ", b"\t", b"%0d%0adata: x", b"../.."]
    {
        let id = HeaderValue::from_bytes(id).unwrap();
        let get = client.get(None).header("last-event-id", id.clone());
        let response = within_deadline("an answer", get.send()).await.unwrap();
        let (status, reason) = refusal(response).await;
        assert_eq!((status, &*reason), (400, "unknown_event"), "{id:?}");
    }
    works(&server, &client).await;
}

async fn no_id_splits_a_header(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    for id in ["a\rX-Injected: 1", "a\nX-Injected: 1", "a\r\n X-Injected: 1", "a\0b"] {
        let request = format!(
            "GET /mcp HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\nmcp-session-id: {}\r\n\
             connection: close\r\nlast-event-id: {id}\r\n\r\n",
            server.address, client.session,
        );
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = socket.read_to_end(&mut answer);
        within_deadline("an answer", read).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{id:?}: {answer}");
        assert!(!answer.to_lowercase().contains("x-injected"), "{answer}");
    }
    works(&server, &client).await;
}

async fn a_get_without_accept_is_not_acceptable(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let response = client.get_accepting("application/json").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_ACCEPTABLE);
    let mut nobody = client.clone();
    nobody.session.clear();
    assert_eq!(nobody.get_raw(None).await.status(), StatusCode::BAD_REQUEST, "no session");
}

async fn a_session_of_any_name_is_not_found(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    for name in ["nobody", &"x".repeat(4096), "\t", "a b", "*", "'; DROP TABLE events; --"] {
        let mut nobody = client.clone();
        nobody.session = name.to_owned();
        assert_eq!(nobody.get_raw(None).await.status(), StatusCode::NOT_FOUND, "{name:?}");
        assert_eq!(nobody.delete().await, StatusCode::ACCEPTED, "deleting nothing is no error");
    }
    works(&server, &client).await;
}

async fn gets_that_race_a_delete_end(place: Place) {
    let first = Server::start(&place.open().await).await;
    let second = Server::start(&place.open().await).await;
    for _ in 0..5 {
        let client = Client::connect(&first).await;
        first.script.go(1);
        let events = client.call(1, "count", 0).await.rest().await;
        let there = client.at(&second);
        let (resumed, fresh, deleted) = tokio::join!(
            there.get_raw(Some(events[0].id())),
            client.get_raw(None),
            client.delete(),
        );
        assert_eq!(deleted, StatusCode::ACCEPTED);
        for response in [resumed, fresh] {
            let status = response.status().as_u16();
            assert!([200, 400, 404, 503].contains(&status), "{status}");
            within_deadline("its end", response.bytes()).await.unwrap();
        }
        assert_eq!(client.get_raw(None).await.status(), StatusCode::NOT_FOUND);
    }
}
