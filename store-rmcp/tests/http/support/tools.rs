//! The server's tools. They do nothing before the test's word.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use mcp_event_store_rmcp::StreamControl;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, PingRequest,
    ProgressNotificationParam, ServerCapabilities, ServerConfig, ServerRequest,
    ToolListChangedNotification,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use tokio::sync::Semaphore;

use super::eventually;

/// After which clients are told to come back that were hung up on.
pub const RETRY: Duration = Duration::from_millis(40);

/// The test's hold on its server's tools.
pub struct Script {
    steps: Semaphore,
    started: AtomicUsize,
    finished: AtomicUsize,
}

impl Default for Script {
    fn default() -> Self {
        let steps = Semaphore::new(0);
        Self { steps, started: AtomicUsize::new(0), finished: AtomicUsize::new(0) }
    }
}

impl Script {
    /// Lets waiting tools take `steps` steps, all together.
    pub fn go(&self, steps: usize) {
        self.steps.add_permits(steps);
    }

    pub fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    pub async fn wait_until_started(&self, calls: usize) {
        let started = || async { self.started() >= calls };
        eventually("a tool's start", started).await;
    }

    pub async fn wait_until_finished(&self, calls: usize) {
        let finished = || async { self.finished.load(Ordering::SeqCst) >= calls };
        eventually("a tool's end", finished).await;
    }

    async fn step(&self) {
        self.steps.acquire().await.unwrap().forget();
    }
}

#[derive(Clone)]
pub struct Tools(pub Arc<Script>);

type Outcome = Result<String, ErrorData>;

impl Tools {
    /// `to` progress notifications and the result, one a step.
    async fn count(&self, to: u64, context: &RequestContext<RoleServer>) -> Outcome {
        for n in 1..=to {
            self.0.step().await;
            self.progress(n, context).await;
        }
        self.0.step().await;
        Ok(format!("counted to {to}"))
    }

    async fn progress(&self, n: u64, context: &RequestContext<RoleServer>) {
        if let Some(token) = context.meta.get_progress_token() {
            #[allow(clippy::cast_precision_loss)]
            let progress = ProgressNotificationParam::new(token, n as f64);
            // A notification that could not be stored is the test's matter.
            let _ = context.peer.notify_progress(progress).await;
        }
    }

    /// A notification for the standalone stream, `times` times.
    async fn announce(&self, times: u64, context: &RequestContext<RoleServer>) -> Outcome {
        for _ in 0..times {
            let changed = ToolListChangedNotification::default();
            context.peer.send_notification(changed.into()).await.map_err(internal)?;
        }
        Ok("announced".into())
    }

    /// One step, then `times` notifications for the standalone stream, all at once.
    async fn announce_together(&self, times: u64, context: &RequestContext<RoleServer>) -> Outcome {
        self.0.step().await;
        let changed = || ToolListChangedNotification::default().into();
        let sent = (0..times).map(|_| context.peer.send_notification(changed()));
        try_join_all(sent).await.map_err(internal)?;
        Ok("announced".into())
    }

    /// Hangs up `times` times, each before a notification, one a step.
    async fn hang_up(&self, times: u64, context: &RequestContext<RoleServer>) -> Outcome {
        for n in 1..=times {
            Self::control(context)?.close_stream(RETRY).await.map_err(internal)?;
            self.0.step().await;
            self.progress(n, context).await;
        }
        Ok("hung up".into())
    }

    /// Ends the standalone connection, and sends a notification for it.
    async fn hang_up_standalone(&self, context: &RequestContext<RoleServer>) -> Outcome {
        let control = Self::control(context)?;
        control.close_standalone_stream(None).await.map_err(internal)?;
        self.announce(1, context).await
    }

    fn control(context: &RequestContext<RoleServer>) -> Result<StreamControl, ErrorData> {
        let none = || ErrorData::internal_error("no control over streams", None);
        context.extensions.get::<StreamControl>().cloned().ok_or_else(none)
    }

    /// Asks the client, on the call's own stream.
    async fn ask(&self, context: &RequestContext<RoleServer>) -> Outcome {
        let ping = ServerRequest::PingRequest(PingRequest::default());
        context.peer.send_request(ping).await.map_err(internal)?;
        Ok("answered".into())
    }

    async fn run(&self, name: &str, n: u64, context: &RequestContext<RoleServer>) -> Outcome {
        match name {
            "count" => self.count(n, context).await,
            "announce" => self.announce(n, context).await,
            "announce_together" => self.announce_together(n, context).await,
            "hang_up" => self.hang_up(n, context).await,
            "hang_up_standalone" => self.hang_up_standalone(context).await,
            "ask" => self.ask(context).await,
            "large" => Ok("x".repeat(usize::try_from(n).unwrap())),
            "hang" => {
                context.ct.cancelled().await;
                Ok("cancelled".into())
            }
            other => Err(ErrorData::invalid_params(format!("no tool {other}"), None)),
        }
    }
}

fn internal(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let n = request.arguments.as_ref().and_then(|a| a.get("n")?.as_u64()).unwrap_or(0);
        self.0.started.fetch_add(1, Ordering::SeqCst);
        let outcome = self.run(&request.name, n, &context).await;
        self.0.finished.fetch_add(1, Ordering::SeqCst);
        Ok(CallToolResult::success(vec![ContentBlock::text(outcome?)]).into())
    }
}
