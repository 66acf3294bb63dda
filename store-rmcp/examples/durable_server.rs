//! rmcp's Streamable HTTP server example, made durable. The three lines marked with `+` are all
//! that it takes; `mcp_event_store::open("sqlite://events.db")` gives a store that survives a restart.
//!
//!     cargo run --release -p mcp-event-store-rmcp --example durable_server

use std::sync::Arc;

use axum::serve::{Listener, ListenerExt};
use mcp_event_store_core::{Clock, Settings, memory};
use mcp_event_store_rmcp::DurableSessionManager;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData,
    ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::transport::StreamableHttpServerConfig;
use rmcp::{RoleServer, ServerHandler};
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
struct Greeter;

impl ServerHandler for Greeter {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        _request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        Ok(CallToolResult::success(vec![ContentBlock::text("hello")]).into())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let stop = CancellationToken::new();
    let config = StreamableHttpServerConfig::default().with_cancellation_token(stop.child_token());

    let store = memory::open(Settings::default(), Clock::system())?; // +
    let sessions = Arc::new(DurableSessionManager::new(&store)); // + (was LocalSessionManager)
    let service = sessions.service(|| Ok(Greeter), config); // + (was StreamableHttpService::new)

    let router = axum::Router::new().nest_service("/mcp", service);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
    let listener = listener.tap_io(|tcp| _ = tcp.set_nodelay(true));
    println!("listening on http://{}/mcp", listener.local_addr()?);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok(())
}
