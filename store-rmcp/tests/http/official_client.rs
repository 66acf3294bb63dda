//! rmcp's own client, unmodified.

use rmcp::ServiceExt;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::StreamableHttpClientTransport;
use serde_json::json;
use std::time::Duration;

use mcp_event_store_rmcp::DurableSessionConfig;

use crate::support::{Place, Proxy, Server, within_deadline};

on_every_store!(rmcps_client_does_not_notice_a_lost_connection);

fn count(to: u64) -> CallToolRequestParams {
    let arguments = json!({ "n": to }).as_object().cloned().unwrap();
    CallToolRequestParams::new("count").with_arguments(arguments)
}

async fn rmcps_client_does_not_notice_a_lost_connection(place: Place) {
    let config = DurableSessionConfig::default().with_retry(Duration::from_millis(50));
    let server = Server::start_with(&place.open().await, config).await;
    let proxy = Proxy::to(server.address).await;
    let client = ().serve(StreamableHttpClientTransport::from_uri(proxy.url())).await.unwrap();
    let peer = client.peer().clone();
    let calling = tokio::spawn(async move { peer.call_tool(count(3)).await });
    server.script.wait_until_started(1).await;
    server.script.go(2);
    proxy.cut();
    server.script.go(2);
    let result = within_deadline("the result", calling).await.unwrap().unwrap();
    let text = serde_json::to_value(&result).unwrap()["content"][0]["text"].clone();
    assert_eq!(text, "counted to 3");
    client.cancel().await.unwrap();
}
