//! One server instance: axum, rmcp and the adapter, on a port of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use mcp_event_store_core::Store;
use mcp_event_store_rmcp::{DurableSessionConfig, DurableSessionManager};
use rmcp::transport::streamable_http_server::SessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::tools::{Script, Tools};
use super::within_deadline;

/// A running server. Dropping it stops it, without grace.
pub struct Server {
    pub address: SocketAddr,
    pub script: Arc<Script>,
    pub sessions: Arc<DurableSessionManager>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Server {
    pub async fn start(store: &Store) -> Self {
        Self::start_with(store, DurableSessionConfig::default()).await
    }

    pub async fn start_with(store: &Store, config: DurableSessionConfig) -> Self {
        let script = Arc::new(Script::default());
        let sessions = Arc::new(DurableSessionManager::with_config(store, config));
        let stop = CancellationToken::new();
        let tools = Tools(script.clone());
        let service = StreamableHttpService::new(
            move || Ok(tools.clone()),
            sessions.clone(),
            sessions.configure(
                StreamableHttpServerConfig::default().with_cancellation_token(stop.child_token()),
            ),
        );
        let (address, serving) = serve(service, stop.clone()).await;
        Self { address, script, sessions, stop, serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Stops as a well-behaved server does.
    pub async fn stop(mut self) {
        self.stop.cancel();
        within_deadline("shutdown", async {
            (&mut self.serving).await.unwrap();
            self.sessions.shutdown().await;
        })
        .await;
    }
}

/// Serves `service` on a port of its own until `stop` is cancelled.
pub async fn serve<M: SessionManager>(
    service: StreamableHttpService<Tools, M>,
    stop: CancellationToken,
) -> (SocketAddr, JoinHandle<()>) {
    let router = axum::Router::new().nest_service("/mcp", service);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let stopped = stop.cancelled_owned();
        axum::serve(listener, router).with_graceful_shutdown(stopped).await.unwrap();
    });
    (address, serving)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        self.serving.abort();
    }
}
