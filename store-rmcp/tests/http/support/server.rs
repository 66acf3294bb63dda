//! One server instance: axum, rmcp and the adapter, on a port of its own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use mcp_event_store_core::Store;
use mcp_event_store_rmcp::{DurableSessionConfig, DurableSessionManager};
use rmcp::transport::StreamableHttpServerConfig;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::tools::{Script, Tools};
use super::within_deadline;

/// The header in which these tests name a request's user.
pub const USER: &str = "x-user";

/// A running server. Dropping it stops it, without grace.
pub struct Server {
    pub address: SocketAddr,
    pub script: Arc<Script>,
    pub sessions: Arc<DurableSessionManager>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

/// Whether sessions are bound to the user that the request names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Users {
    Unchecked,
    Checked,
}

impl Server {
    pub async fn start(store: &Store) -> Self {
        Self::start_with(store, DurableSessionConfig::default()).await
    }

    pub async fn start_with(store: &Store, config: DurableSessionConfig) -> Self {
        Self::launch(store, config, StreamableHttpServerConfig::default(), Users::Unchecked).await
    }

    pub async fn start_with_users(store: &Store) -> Self {
        let (config, rmcp) =
            (DurableSessionConfig::default(), StreamableHttpServerConfig::default());
        Self::launch(store, config, rmcp, Users::Checked).await
    }

    /// A server with rmcp's own settings.
    pub async fn start_with_rmcp(store: &Store, rmcp: StreamableHttpServerConfig) -> Self {
        Self::launch(store, DurableSessionConfig::default(), rmcp, Users::Unchecked).await
    }

    async fn launch(
        store: &Store,
        config: DurableSessionConfig,
        rmcp: StreamableHttpServerConfig,
        users: Users,
    ) -> Self {
        let script = Arc::new(Script::default());
        let sessions = Arc::new(DurableSessionManager::with_config(store, config));
        let stop = CancellationToken::new();
        let tools = Tools(script.clone());
        let rmcp = rmcp.with_cancellation_token(stop.child_token());
        let mut service = sessions.service(move || Ok(tools.clone()), rmcp);
        if users == Users::Checked {
            service = service.with_principal(|request| {
                let user = request.headers.get(USER)?;
                user.to_str().ok().map(str::to_owned)
            });
        }
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
pub async fn serve<S>(service: S, stop: CancellationToken) -> (SocketAddr, JoinHandle<()>)
where
    S: Service<Request<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
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
