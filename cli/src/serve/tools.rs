//! The server's tools: one that answers at once, one that takes its time, and one that hangs up
//! meanwhile.

use std::time::Duration;

use mcp_event_store_rmcp::StreamControl;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    ErrorData, Implementation, ProgressNotificationParam, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;

/// The MCP server.
#[derive(Clone)]
pub(super) struct Tools;

#[derive(Deserialize, JsonSchema)]
struct Echo {
    /// What to give back.
    text: String,
}

#[derive(Deserialize, JsonSchema)]
struct Count {
    /// The last number.
    to: u32,
    /// Milliseconds between two numbers.
    #[serde(default = "Count::pace")]
    every_ms: u32,
}

impl Count {
    fn pace() -> u32 {
        100
    }
}

#[tool_router]
impl Tools {
    #[tool(description = "Gives back the text.")]
    async fn echo(&self, Parameters(Echo { text }): Parameters<Echo>) -> String {
        text
    }

    #[tool(description = "Counts from 1 to a number, with a progress notification a step.")]
    async fn count(
        &self,
        Parameters(count): Parameters<Count>,
        context: RequestContext<RoleServer>,
    ) -> Result<String, ErrorData> {
        for n in 1..=count.to {
            let step = async {
                tokio::time::sleep(Duration::from_millis(count.every_ms.into())).await;
                report(&context, n, count.to).await;
            };
            tokio::select! {
                () = step => {}
                () = context.ct.cancelled() => {
                    return Err(ErrorData::internal_error("the call was cancelled", None));
                }
            }
        }
        Ok(format!("counted to {}", count.to))
    }

    /// Takes no arguments and has the name and the behaviour that the protocol's conformance tests
    /// ask for (SEP-1699).
    #[tool(description = "Closes its own SSE stream, and answers once the client is back.")]
    async fn test_reconnection(
        &self,
        context: RequestContext<RoleServer>,
    ) -> Result<String, ErrorData> {
        let control = context.extensions.get::<StreamControl>();
        if let Some(control) = control {
            let closed = control.close_stream(None).await;
            closed.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let how = if control.is_some() { "closed" } else { "left open, for an older client" };
        Ok(format!("the stream was {how}, and this is the answer"))
    }
}

/// Tells the client how far the call is, if it asked to hear of that.
async fn report(context: &RequestContext<RoleServer>, n: u32, total: u32) {
    let Some(token) = context.meta.get_progress_token() else { return };
    let progress = ProgressNotificationParam::new(token, n.into()).with_total(total.into());
    if let Err(error) = context.peer.notify_progress(progress).await {
        tracing::warn!(%error, "a progress notification was not sent");
    }
}

#[tool_handler]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        let about = Implementation::new("mcp-event-store", env!("CARGO_PKG_VERSION"));
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(about)
    }
}
