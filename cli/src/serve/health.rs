//! `/healthz`: for load balancers, and for whoever waits until a server has nothing left to store.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use mcp_event_store::{Maintenance, Store};
use mcp_event_store_rmcp::DurableSessionManager;
use serde::{Deserialize, Serialize};

/// A store that takes longer than this to answer is not well.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is asked about.
#[derive(Clone)]
pub(super) struct Health {
    store: Arc<dyn Maintenance>,
    sessions: Arc<DurableSessionManager>,
}

impl Health {
    pub(super) fn new(store: &Store, sessions: &Arc<DurableSessionManager>) -> Self {
        Self { store: store.maintenance(), sessions: sessions.clone() }
    }
}

/// The answer's body.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Whether the store answers.
    pub(crate) store: Status,
    /// Sessions in this server's memory.
    pub(crate) sessions: usize,
    /// Requests whose response is not stored yet.
    pub(crate) running: usize,
}

/// What a load balancer asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Ok,
    Unavailable,
}

pub(super) async fn respond(State(health): State<Health>) -> (StatusCode, Json<Report>) {
    let (code, store) = match tokio::time::timeout(PATIENCE, health.store.ping()).await {
        Ok(Ok(())) => (StatusCode::OK, Status::Ok),
        failed => {
            tracing::warn!(?failed, "the store does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, Status::Unavailable)
        }
    };
    let sessions = health.sessions.sessions_here();
    let running = health.sessions.running_requests();
    (code, Json(Report { store, sessions, running }))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn health(store: &Store) -> (StatusCode, Report) {
        let sessions = Arc::new(DurableSessionManager::new(store));
        let (code, Json(report)) = respond(State(Health::new(store, &sessions))).await;
        (code, report)
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_makes_the_server_unavailable() {
        let store = mcp_event_store::open("memory://").await.unwrap();
        let (code, report) = health(&store).await;
        assert_eq!((code, report.store), (StatusCode::OK, Status::Ok));
        store.maintenance().close().await.unwrap();
        let (code, report) = health(&store).await;
        assert_eq!((code, report.store), (StatusCode::SERVICE_UNAVAILABLE, Status::Unavailable));
    }
}
