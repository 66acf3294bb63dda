//! Requests without a session (protocol 2026-07-28), and rmcp's own session manager on our store.

use std::sync::Arc;

use mcp_event_store_rmcp::{ResumeGuard, RmcpEventStore};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tower_layer::Layer;

use crate::support::{Client, Place, Script, Server, Tools, briefs, refusal, serve};

const VERSION: &str = "2026-07-28";

on_every_store!(a_request_without_a_session_can_be_resumed, rmcps_own_manager_takes_our_store,);

/// A call as the protocol without sessions wants it.
fn call(n: u64) -> serde_json::Value {
    let meta = json!({
        "progressToken": "t",
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "name": "count", "arguments": { "n": n }, "_meta": meta });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params })
}

async fn a_request_without_a_session_can_be_resumed(place: Place) {
    let server = Server::start(&place.open().await).await;
    let mut client = Client::connect(&server).await;
    client.session.clear();
    client.version = VERSION;
    server.script.go(1);
    let mut sse = client.post_as(&call(2), VERSION).await;
    let first = sse.take(1).await.remove(0);
    assert_eq!(first.brief(), "1.0");
    drop(sse);
    server.script.go(2);
    let rest = client.resume_as(first.id(), VERSION).await.rest().await;
    assert_eq!(briefs(&rest), ["2.0", "result"]);
}

async fn rmcps_own_manager_takes_our_store(place: Place) {
    let store = place.open().await;
    let script = Arc::new(Script::default());
    let manager =
        LocalSessionManager::default().with_event_store(Arc::new(RmcpEventStore::new(&store)));
    let tools = Tools(script.clone());
    let config = StreamableHttpServerConfig::default();
    let service = StreamableHttpService::new(move || Ok(tools.clone()), manager.into(), config);
    let service = ResumeGuard::layer().layer(service);
    let stop = CancellationToken::new();
    let (address, _serving) = serve(service, stop.clone()).await;
    let _stop = stop.drop_guard();
    let client = Client::connect_with(&format!("http://{address}/mcp"), "2025-11-25").await;
    script.go(1);
    let mut sse = client.call(1, "count", 2).await;
    let seen = sse.take(2).await;
    drop(sse);
    script.go(2);
    let rest = client.resume(seen[1].id()).await.rest().await;
    assert_eq!(briefs(&rest), ["2.0", "result"]);
    let (status, reason) = refusal(client.get_raw(Some("made-up")).await).await;
    assert_eq!((status, &*reason), (400, "unknown_event"));
}
