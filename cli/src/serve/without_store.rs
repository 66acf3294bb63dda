//! The same server as rmcp makes it by itself: what `bench` compares with.

use std::sync::Arc;

use rmcp::transport::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use tokio_util::sync::CancellationToken;

use super::{Args, Server, http_config, listen, tools};
use crate::signals::Signals;

/// Serves until a signal. Sessions and their streams live in memory, and end with the process.
pub(super) async fn serve(args: &Args) -> anyhow::Result<()> {
    let listener = listen(&args.listen).await?;
    let mut signals = Signals::new()?;
    let stop = CancellationToken::new();
    let mut sessions = LocalSessionManager::default();
    sessions.session_config.sse_retry = Some(args.retry);
    let config = http_config(args, listener.local_addr()?, &stop);
    // The sessions prime the streams of requests; this would prime the others, all with ID 0.
    let config = config.with_sse_retry(None);
    let mcp = StreamableHttpService::new(|| Ok(tools::Tools), Arc::new(sessions), config);
    let server = Server::start(listener, axum::Router::new().nest_service("/mcp", mcp), &stop)?;

    signals.stop_requested().await;
    tracing::info!("stopping");
    tokio::select! {
        stopped = server.stop() => stopped,
        () = signals.stop_requested() => anyhow::bail!("stopped at once, as asked twice"),
    }
}
