//! An MCP client that calls `echo`, and believes no answer that it did not ask for.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use sse_stream::SseStream;

const PROTOCOL: &str = "2025-11-25";
/// Bytes of the text that a call sends and gets back.
const TEXT_BYTES: usize = 200;
/// A call that takes longer has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// A client with a session, and a connection that it keeps.
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    session: String,
    number: usize,
    calls: u64,
}

impl Client {
    /// Initializes a session with the server at `url`. `number` tells this client from the others.
    pub(super) async fn open(url: &str, number: usize) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let url = url.to_owned();
        let mut client = Self { http, url, session: String::new(), number, calls: 0 };
        let response = client
            .post(&json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
                "protocolVersion": PROTOCOL,
                "capabilities": {},
                "clientInfo": { "name": "mcp-event-store bench", "version": "1" },
            }}))
            .await?;
        let session = response.headers().get("mcp-session-id").context("no session was opened")?;
        client.session = session.to_str()?.to_owned();
        answer(response, 0).await?;
        let method = "notifications/initialized";
        client.post(&json!({ "jsonrpc": "2.0", "method": method })).await?;
        Ok(client)
    }

    /// Calls `echo`, and answers how long the response took.
    pub(super) async fn call(&mut self) -> anyhow::Result<Duration> {
        self.calls += 1;
        // No two calls send the same text, so that none can pass for another's.
        let text = format!("call {} of client {} ", self.calls, self.number);
        let text = format!("{text:.<TEXT_BYTES$}");
        let call = json!({ "jsonrpc": "2.0", "id": self.calls, "method": "tools/call", "params": {
            "name": "echo",
            "arguments": { "text": text },
        }});
        let asked = Instant::now();
        let (answer, answered) = answer(self.post(&call).await?, self.calls).await?;
        ensure!(answer.text() == Some(&text), "a call got a wrong answer: {answer:?}");
        Ok(answered - asked)
    }

    /// Deletes the session.
    pub(super) async fn close(&self) -> anyhow::Result<()> {
        send(self.request(Method::DELETE)).await.map(drop)
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
    let response = request.send().await.context("the server does not answer")?;
    let status = response.status();
    ensure!(status.is_success(), "the server answered {status}: {}", response.text().await?);
    Ok(response)
}

/// The response to request `id`, and when it came. Reads the stream to its end, after which its
/// connection is free for the next call.
async fn answer(response: Response, id: u64) -> anyhow::Result<(Answer, Instant)> {
    let mut events = SseStream::from_bytes_stream(response.bytes_stream());
    let mut found = None;
    while let Some(event) = events.next().await {
        let data = event?.data.unwrap_or_default();
        if data.is_empty() {
            // It primes the stream.
            continue;
        }
        let came = Instant::now();
        let answer: Answer = serde_json::from_str(&data).context("an event is no response")?;
        ensure!(answer.id == Some(id), "a response to another request came: {data}");
        ensure!(found.is_none(), "a response came twice: {data}");
        found = Some((answer, came));
    }
    found.context("the stream ended without the response")
}

/// What is looked at of a JSON-RPC response.
#[derive(Debug, Deserialize)]
struct Answer {
    id: Option<u64>,
    result: Option<Outcome>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    #[serde(default)]
    content: Vec<Content>,
}

#[derive(Debug, Deserialize)]
struct Content {
    text: String,
}

impl Answer {
    /// The text of a tool's result.
    fn text(&self) -> Option<&String> {
        match &self.result.as_ref()?.content[..] {
            [Content { text }] if self.error.is_none() => Some(text),
            _ => None,
        }
    }
}
