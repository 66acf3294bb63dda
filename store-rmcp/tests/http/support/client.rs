//! An MCP client that shows every SSE event as it came.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use sse_stream::{Sse as RawEvent, SseStream};

use super::{Server, USER, within_deadline};

pub const LATEST: &str = "2025-11-25";

/// One client, with one session once it is initialized.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    pub url: String,
    pub session: String,
    pub version: &'static str,
    /// Who the client says it is.
    pub user: Option<&'static str>,
}

impl Client {
    /// Opens a session on `server`.
    pub async fn connect(server: &Server) -> Self {
        Self::connect_with(&server.url(), LATEST).await
    }

    pub async fn connect_with(url: &str, version: &'static str) -> Self {
        Self::connect_as(None, url, version).await
    }

    pub async fn connect_as(user: Option<&'static str>, url: &str, version: &'static str) -> Self {
        let mut client = Self::stranger(url);
        (client.version, client.user) = (version, user);
        let (response, events) = client.initialize().await;
        client.session = response["mcp-session-id"].to_str().unwrap().to_owned();
        let answer = events.iter().find(|event| !event.data.is_empty()).unwrap();
        assert_eq!(answer.json()["result"]["protocolVersion"], version);
        client.notify("notifications/initialized", &json!({})).await;
        client
    }

    /// A client without a session.
    pub fn stranger(url: &str) -> Self {
        let (http, session) = (reqwest::Client::new(), String::new());
        Self { http, url: url.into(), session, version: LATEST, user: None }
    }

    /// Sends `initialize` and nothing more.
    pub async fn initialize_raw(&self) -> Response {
        let params = json!({
            "protocolVersion": self.version,
            "capabilities": {},
            "clientInfo": { "name": "test", "version": "0" },
        });
        self.post_raw(&request(0, "initialize", &params)).await
    }

    async fn initialize(&self) -> (HeaderMap, Vec<Event>) {
        let response = self.initialize_raw().await;
        assert_eq!(response.status(), StatusCode::OK);
        (response.headers().clone(), Sse::new(response).rest().await)
    }

    /// The same session on another server instance.
    pub fn at(&self, server: &Server) -> Self {
        self.at_url(&server.url())
    }

    pub fn at_url(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    /// The same session in the hands of another user.
    pub fn stolen_by(&self, user: Option<&'static str>) -> Self {
        Self { user, ..self.clone() }
    }

    fn request(&self, method: Method) -> RequestBuilder {
        let mut request = self
            .http
            .request(method, &self.url)
            .header(ACCEPT, "application/json, text/event-stream");
        if let Some(user) = self.user {
            request = request.header(USER, user);
        }
        if !self.session.is_empty() {
            request = request
                .header("mcp-session-id", &self.session)
                .header("mcp-protocol-version", self.version);
        }
        request
    }

    pub async fn post_raw(&self, message: &Value) -> Response {
        let request = self.request(Method::POST).header(CONTENT_TYPE, "application/json");
        within_deadline("a POST's answer", request.body(message.to_string()).send()).await.unwrap()
    }

    /// Posts a request; its events come as they are sent.
    pub async fn post(&self, message: &Value) -> Sse {
        Sse::new(self.post_raw(message).await)
    }

    /// Posts a request of another protocol version.
    pub async fn post_as(&self, message: &Value, version: &str) -> Sse {
        let post = self.request(Method::POST).header(CONTENT_TYPE, "application/json");
        let method = message["method"].as_str().unwrap();
        let post = post.header("mcp-protocol-version", version).header("mcp-method", method);
        let post = post.header("mcp-name", message["params"]["name"].as_str().unwrap());
        let answer = post.body(message.to_string()).send();
        Sse::new(within_deadline("a POST's answer", answer).await.unwrap())
    }

    /// Resumes a stream as a client of another protocol version.
    pub async fn resume_as(&self, last_event_id: &str, version: &str) -> Sse {
        let get = self.get(Some(last_event_id)).header("mcp-protocol-version", version);
        Sse::new(within_deadline("a GET's answer", get.send()).await.unwrap())
    }

    /// Calls a tool with progress; the token is the ID as text.
    pub async fn call(&self, id: i64, tool: &str, n: u64) -> Sse {
        self.post(&call(id, tool, n)).await
    }

    pub async fn notify(&self, method: &str, params: &Value) {
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        assert_eq!(self.post_raw(&message).await.status(), StatusCode::ACCEPTED);
    }

    /// Answers a request of the server.
    pub async fn answer(&self, id: &Value) -> StatusCode {
        let message = json!({ "jsonrpc": "2.0", "id": id, "result": {} });
        self.post_raw(&message).await.status()
    }

    pub fn get(&self, last_event_id: Option<&str>) -> RequestBuilder {
        let request = self.request(Method::GET);
        match last_event_id {
            Some(id) => request.header("last-event-id", id),
            None => request,
        }
    }

    pub fn get_accepting(&self, media_type: &str) -> RequestBuilder {
        let get = self.http.request(Method::GET, &self.url).header(ACCEPT, media_type);
        get.header("mcp-session-id", &self.session)
    }

    pub async fn get_raw(&self, last_event_id: Option<&str>) -> Response {
        within_deadline("a GET's answer", self.get(last_event_id).send()).await.unwrap()
    }

    /// The standalone stream.
    pub async fn listen(&self) -> Sse {
        Sse::new(self.get_raw(None).await)
    }

    pub async fn resume(&self, last_event_id: &str) -> Sse {
        Sse::new(self.get_raw(Some(last_event_id)).await)
    }

    /// Resumes over a network that may be cut.
    pub async fn try_resume(&self, last_event_id: &str) -> reqwest::Result<Sse> {
        let answer = self.get(Some(last_event_id)).send();
        Ok(Sse::new(within_deadline("a GET's answer", answer).await?))
    }

    pub async fn delete(&self) -> StatusCode {
        self.delete_raw().await.status()
    }

    pub async fn delete_raw(&self) -> Response {
        within_deadline("a DELETE", self.request(Method::DELETE).send()).await.unwrap()
    }
}

/// The JSON-RPC error of a refused request: its HTTP status and its reason. Not one byte more.
pub async fn refusal(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    let body: Value = response.json().await.unwrap();
    let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["error", "id", "jsonrpc"], "{body}");
    (status, body["error"]["data"]["reason"].as_str().unwrap().to_owned())
}

pub fn request(id: i64, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

fn call(id: i64, tool: &str, n: u64) -> Value {
    let params = json!({
        "name": tool,
        "arguments": { "n": n },
        "_meta": { "progressToken": id.to_string() },
    });
    request(id, "tools/call", &params)
}

/// One SSE event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub id: Option<String>,
    pub data: String,
    pub retry: Option<u64>,
}

impl Event {
    pub fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_else(|| panic!("no ID: {self:?}"))
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| panic!("no message: {self:?}"))
    }

    /// In short: a progress value, "result", "error", a method, or "-" for no message.
    pub fn brief(&self) -> String {
        if self.data.is_empty() {
            return "-".into();
        }
        let json = self.json();
        match json["method"].as_str() {
            Some("notifications/progress") => json["params"]["progress"].to_string(),
            Some(method) => method.to_owned(),
            None if json["error"].is_object() => "error".into(),
            None => "result".into(),
        }
    }
}

/// An SSE response. Dropping it drops the connection.
pub struct Sse {
    events: Result<RawEvents, Response>,
}

type RawEvents = Pin<Box<dyn Stream<Item = Result<RawEvent, sse_stream::Error>> + Send>>;

impl Sse {
    fn new(response: Response) -> Self {
        if response.status() != StatusCode::OK {
            return Self { events: Err(response) };
        }
        Self { events: Ok(Box::pin(SseStream::from_bytes_stream(response.bytes_stream()))) }
    }

    /// The next event; `None` when the server has ended the stream.
    pub async fn next(&mut self) -> Option<Event> {
        self.next_or_cut().await.unwrap()
    }

    /// The next event, over a network that may be cut.
    pub async fn next_or_cut(&mut self) -> Result<Option<Event>, sse_stream::Error> {
        let events = match &mut self.events {
            Ok(events) => events,
            Err(refused) => panic!("{}: {:?}", refused.status(), refused.chunk().await),
        };
        loop {
            let Some(event) = within_deadline("an event", events.next()).await else {
                return Ok(None);
            };
            let event = event?;
            // A keep-alive comment comes as a block without fields.
            if event.id.is_some() || event.data.is_some() || event.retry.is_some() {
                let (id, retry) = (event.id, event.retry);
                return Ok(Some(Event { id, data: event.data.unwrap_or_default(), retry }));
            }
        }
    }

    /// The next `n` events.
    pub async fn take(&mut self, n: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < n {
            events.push(self.next().await.unwrap_or_else(|| panic!("ended after {events:?}")));
        }
        events
    }

    /// Everything until the server ends the stream.
    pub async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// Events in short.
pub fn briefs(events: &[Event]) -> Vec<String> {
    events.iter().map(Event::brief).collect()
}
