//! A server process, and a client that shows what is on the wire.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use sse_stream::{Sse, SseStream};

/// Longer than anything here takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The command, without any configuration from the environment of the test.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-event-store"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MCP_EVENT_STORE_") {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// A running `serve`; killed when dropped.
pub struct Server {
    pub child: Child,
    pub url: String,
}

impl Server {
    pub fn start(store: &str, more: &[&str]) -> Self {
        let mut command = command(&["serve", "--listen", "127.0.0.1:0", "--store", store]);
        command.args(more);
        Self::spawn(command)
    }

    /// A server that logs what `filter` says.
    pub fn start_logging(store: &str, filter: &str) -> Self {
        let mut command = command(&["serve", "--listen", "127.0.0.1:0", "--store", store]);
        command.env("RUST_LOG", filter).stderr(Stdio::piped());
        Self::spawn(command)
    }

    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim_end().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, url }
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Kills the server; what it has logged.
    pub fn stop_and_read_log(mut self) -> String {
        self.child.kill().unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(mut self) -> std::process::ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client with a session.
pub struct Client {
    pub http: reqwest::Client,
    pub url: String,
    session: Option<String>,
}

impl Client {
    pub async fn open(url: &str) -> Self {
        let mut client = Self { http: reqwest::Client::new(), url: url.to_owned(), session: None };
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "test", "version": "0" },
        });
        let response = client.post("initialize", &params).send().await.unwrap();
        let session = response.headers()["mcp-session-id"].to_str().unwrap();
        client.session = Some(session.to_owned());
        client
    }

    pub fn session(&self) -> &str {
        self.session.as_deref().unwrap()
    }

    pub fn post(&self, method: &str, params: &Value) -> RequestBuilder {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let request = self.request(Method::POST).header(CONTENT_TYPE, "application/json");
        request.body(message.to_string())
    }

    /// Calls a tool, with progress.
    pub async fn call(&self, tool: &str, arguments: &Value) -> Events {
        let meta = json!({ "progressToken": "t" });
        let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
        Events::of(self.post("tools/call", &params).send().await.unwrap())
    }

    pub async fn resume(&self, last_event_id: &str) -> Events {
        let request = self.request(Method::GET).header("last-event-id", last_event_id);
        Events::of(request.send().await.unwrap())
    }

    fn request(&self, method: Method) -> RequestBuilder {
        let request = self.http.request(method, &self.url).timeout(DEADLINE);
        let request = request.header(ACCEPT, "application/json, text/event-stream");
        match &self.session {
            Some(session) => request.header("mcp-session-id", session),
            None => request,
        }
    }
}

/// An SSE response.
pub struct Events(futures_util::stream::BoxStream<'static, Sse>);

impl Events {
    fn of(response: Response) -> Self {
        let events = SseStream::from_bytes_stream(response.bytes_stream());
        Self(events.map(Result::unwrap).filter(|e| std::future::ready(e.id.is_some())).boxed())
    }

    pub async fn next(&mut self) -> Option<Sse> {
        tokio::time::timeout(DEADLINE, self.0.next()).await.unwrap()
    }

    pub async fn rest(&mut self) -> Vec<Sse> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// What an event carries, in short.
pub fn brief(event: &Sse) -> String {
    let Ok(message) = serde_json::from_str::<Value>(event.data.as_deref().unwrap_or("")) else {
        return "-".into();
    };
    match &message["params"]["progress"] {
        Value::Null if message["error"].is_object() => message["error"]["message"].to_string(),
        Value::Null => message["result"]["content"][0]["text"].to_string(),
        progress => progress.to_string(),
    }
}

/// It failed with `code`, printed nothing, and said every one of `words`.
pub fn fails(output: &Output, code: i32, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(output.stdout.is_empty());
    assert!(stderr.starts_with("error: "), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "no {word} in {stderr}");
    }
}
