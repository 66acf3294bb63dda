//! rmcp's own settings keep working.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::StatusCode;
use rmcp::transport::StreamableHttpServerConfig;
use serde_json::json;

use crate::support::{Client, Place, Server, briefs, request, within_deadline};

on_every_store!(
    silent_connections_are_kept_alive_with_comments,
    origins_and_sizes_of_requests_are_checked,
    a_cancelled_token_ends_every_connection,
);

async fn silent_connections_are_kept_alive_with_comments(place: Place) {
    let often = Some(Duration::from_millis(30));
    let rmcp = StreamableHttpServerConfig::default().with_sse_keep_alive(often);
    let server = Server::start_with_rmcp(&place.open().await, rmcp).await;
    let client = Client::connect(&server).await;
    let mut call = client.call(1, "count", 0).await;
    let priming = call.take(1).await.remove(0);
    for response in [client.get_raw(Some(priming.id())).await, client.get_raw(None).await] {
        let mut bytes = response.bytes_stream();
        let mut comments = 0;
        while comments < 3 {
            let chunk = within_deadline("a comment", bytes.next()).await.unwrap().unwrap();
            comments += usize::from(chunk.starts_with(b":"));
        }
    }
    server.script.go(1);
    let rest = client.resume(priming.id()).await.rest().await;
    assert_eq!(briefs(&rest), ["-", "result"]);
}

async fn origins_and_sizes_of_requests_are_checked(place: Place) {
    let rmcp = StreamableHttpServerConfig::default()
        .with_allowed_origins(["https://app.example.com:443"])
        .with_max_request_body_bytes(1000);
    let server = Server::start_with_rmcp(&place.open().await, rmcp).await;
    let client = Client::connect(&server).await;
    for (origin, status) in [
        ("https://evil.example", StatusCode::FORBIDDEN),
        ("https://app.example.com", StatusCode::BAD_REQUEST),
    ] {
        let get = client.get(Some("made-up")).header("origin", origin);
        assert_eq!(get.send().await.unwrap().status(), status);
    }
    let large = request(1, "ping", &json!({ "padding": "x".repeat(1000) }));
    assert_eq!(client.post_raw(&large).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

async fn a_cancelled_token_ends_every_connection(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let mut call = client.call(1, "count", 0).await;
    call.take(1).await;
    let mut listening = client.listen().await;
    listening.take(1).await;
    server.stop().await;
    assert_eq!(listening.next().await, None);
    assert!(call.rest().await.len() <= 1, "an error at most");
}
