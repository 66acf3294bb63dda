//! rmcp's own client, unmodified.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_event_store_rmcp::DurableSessionConfig;
use rmcp::model::{CallToolRequestParams, ProgressNotificationParam};
use rmcp::service::NotificationContext;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{ClientHandler, RoleClient, ServiceExt};
use serde_json::json;

use crate::support::{Place, Proxy, Server, eventually, within_deadline};

on_every_store!(
    c13_rmcps_client_does_not_notice_lost_connections,
    c13_rmcps_client_comes_back_after_a_tool_hung_up,
);

fn call(tool: &'static str, n: u64) -> CallToolRequestParams {
    let arguments = json!({ "n": n }).as_object().cloned().unwrap();
    CallToolRequestParams::new(tool).with_arguments(arguments)
}

/// Notes the progress that it hears of.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<f64>>>);

impl Listener {
    fn heard(&self) -> Vec<f64> {
        self.0.lock().unwrap().clone()
    }
}

impl ClientHandler for Listener {
    async fn on_progress(
        &self,
        progress: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.0.lock().unwrap().push(progress.progress);
    }
}

fn swift() -> DurableSessionConfig {
    DurableSessionConfig::default().with_retry(Duration::from_millis(50))
}

async fn c13_rmcps_client_does_not_notice_lost_connections(place: Place) {
    let server = Server::start_with(&place.open().await, swift()).await;
    let proxy = Proxy::to(server.address).await;
    let listener = Listener::default();
    let transport = StreamableHttpClientTransport::from_uri(proxy.url());
    let client = listener.clone().serve(transport).await.unwrap();
    let peer = client.peer().clone();
    let calling = tokio::spawn(async move { peer.call_tool(call("count", 4)).await });
    server.script.wait_until_started(1).await;
    for n in 1..=4 {
        server.script.go(1);
        eventually("the notification", || async { listener.heard().len() == n }).await;
        // Not before the first: what has no event ID yet cannot be resumed.
        proxy.cut();
    }
    server.script.go(1);
    let result = within_deadline("the result", calling).await.unwrap().unwrap();
    let text = serde_json::to_value(&result).unwrap()["content"][0]["text"].clone();
    assert_eq!(text, "counted to 4");
    assert_eq!(listener.heard(), [1.0, 2.0, 3.0, 4.0]);
    client.cancel().await.unwrap();
}

async fn c13_rmcps_client_comes_back_after_a_tool_hung_up(place: Place) {
    let server = Server::start_with(&place.open().await, swift()).await;
    let transport = StreamableHttpClientTransport::from_uri(server.url());
    let client = Listener::default().serve(transport).await.unwrap();
    server.script.go(2);
    let calling = client.peer().call_tool(call("hang_up", 2));
    let result = within_deadline("the result", calling).await.unwrap();
    let text = serde_json::to_value(&result).unwrap()["content"][0]["text"].clone();
    assert_eq!(text, "hung up");
    client.cancel().await.unwrap();
}
