//! The least MCP client that can resume: what the protocol asks of one, by hand, so that every
//! event shows as it was on the wire.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::{Stream, StreamExt as _};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use sse_stream::{Sse, SseStream};
use tokio::time::{sleep, timeout};

use crate::serve::health::Report;

const PROTOCOL: &str = "2025-11-25";
const CALL_ID: u32 = 1;
/// Longer than the whole call.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client with a session.
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    session: String,
}

impl Client {
    /// Initializes a session with the server at `url`.
    pub(super) async fn open(url: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let mut client = Self { http, url: url.to_owned(), session: String::new() };
        let initialize = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": PROTOCOL,
            "capabilities": {},
            "clientInfo": { "name": "mcp-event-store demo", "version": "1" },
        }});
        let response = client.post(&initialize).await?;
        let session = response.headers().get("mcp-session-id").context("no session was opened")?;
        client.session = session.to_str()?.to_owned();
        let method = "notifications/initialized";
        client.post(&json!({ "jsonrpc": "2.0", "method": method })).await?;
        Ok(client)
    }

    /// Talks to the server at `url` from now on.
    pub(super) fn move_to(&mut self, url: &str) {
        url.clone_into(&mut self.url);
    }

    /// Calls the tool `count`.
    pub(super) async fn count(&self, to: u32, every: Duration) -> anyhow::Result<Events> {
        let every_ms = u32::try_from(every.as_millis())?;
        let call = json!({ "jsonrpc": "2.0", "id": CALL_ID, "method": "tools/call", "params": {
            "name": "count",
            "arguments": { "to": to, "every_ms": every_ms },
            "_meta": { "progressToken": CALL_ID },
        }});
        Ok(Events::of(self.post(&call).await?))
    }

    /// What came after `last_event_id`, and what is still to come.
    pub(super) async fn resume(&self, last_event_id: &str) -> anyhow::Result<Events> {
        let get = self.request(Method::GET).header("last-event-id", last_event_id);
        Ok(Events::of(send(get).await?))
    }

    /// Deletes the session and with it all that the demo stored.
    pub(super) async fn close(&self) -> anyhow::Result<()> {
        send(self.request(Method::DELETE)).await.map(drop)
    }

    /// Waits until the server has stored the end of every request.
    pub(super) async fn wait_until_nothing_runs(&self) -> anyhow::Result<()> {
        let done = async {
            while self.health().await?.running > 0 {
                sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, done).await.context("the call did not finish in time")?
    }

    async fn health(&self) -> anyhow::Result<Report> {
        let url = self.url.replace("/mcp", "/healthz");
        Ok(self.http.get(url).timeout(PATIENCE).send().await?.json().await?)
    }

    async fn post(&self, message: &Value) -> anyhow::Result<Response> {
        let post = self.request(Method::POST).header(CONTENT_TYPE, "application/json");
        send(post.body(message.to_string())).await
    }

    fn request(&self, method: Method) -> RequestBuilder {
        let request = self.http.request(method, &self.url);
        let request = request.header(ACCEPT, "application/json, text/event-stream");
        if self.session.is_empty() {
            return request;
        }
        request.header("mcp-session-id", &self.session).header("mcp-protocol-version", PROTOCOL)
    }
}

async fn send(request: RequestBuilder) -> anyhow::Result<Response> {
    let answer = timeout(PATIENCE, request.send()).await;
    let response = answer.context("the server does not answer")??;
    let status = response.status();
    ensure!(status.is_success(), "the server answered {status}: {}", response.text().await?);
    Ok(response)
}

/// One connection's events.
pub(super) struct Events(Pin<Box<dyn Stream<Item = Result<Sse, sse_stream::Error>> + Send>>);

impl Events {
    fn of(response: Response) -> Self {
        Self(Box::pin(SseStream::from_bytes_stream(response.bytes_stream())))
    }

    /// The next event with an ID; `None` when the server has ended the connection.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Received>> {
        loop {
            let next = timeout(PATIENCE, self.0.next()).await;
            let Some(event) = next.context("the server sent nothing for too long")? else {
                return Ok(None);
            };
            let event = event?;
            if let Some(id) = event.id {
                let retry = event.retry.map(Duration::from_millis);
                return Received::new(id, &event.data.unwrap_or_default(), retry).map(Some);
            }
        }
    }
}

/// An event as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) id: String,
    pub(super) content: Content,
}

/// What the demo's call sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Priming { retry: Duration },
    Progress(u32),
    Result(String),
}

impl Received {
    fn new(id: String, data: &str, retry: Option<Duration>) -> anyhow::Result<Self> {
        let content = match retry {
            Some(retry) if data.is_empty() => Content::Priming { retry },
            _ => Content::parse(data)?,
        };
        Ok(Self { id, content })
    }

    /// Whether it carries a message.
    pub(super) fn is_message(&self) -> bool {
        !matches!(self.content, Content::Priming { .. })
    }
}

impl Content {
    fn parse(data: &str) -> anyhow::Result<Self> {
        let message: Value = serde_json::from_str(data).context("an event is no JSON")?;
        if let Some(progress) = message["params"]["progress"].as_f64() {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            return Ok(Self::Progress(progress as u32));
        }
        let result = message["result"]["content"][0]["text"].as_str();
        let Some(text) = result else { bail!("an event that the call did not send: {message}") };
        Ok(Self::Result(text.to_owned()))
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Priming { retry } => write!(f, "priming event, retry {retry:?}"),
            Self::Progress(n) => write!(f, "progress {n}"),
            Self::Result(text) => write!(f, "result \"{text}\""),
        }
    }
}
