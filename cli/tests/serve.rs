//! `serve`, as a process among others.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HOST, ORIGIN};
use serde_json::{Value, json};
use support::{Client, Server, brief, command, fails};

fn briefs(events: &[sse_stream::Sse]) -> Vec<String> {
    events.iter().map(brief).collect()
}

fn file() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("events.db").display());
    (directory, url)
}

#[tokio::test]
async fn the_tools_answer_and_the_server_is_healthy() {
    let server = Server::start("memory://", &["--retry", "250ms"]);
    let client = Client::open(&server.url).await;
    let events = client.call("echo", &json!({ "text": "héllo" })).await.rest().await;
    assert_eq!(briefs(&events), ["-", "\"héllo\""]);
    assert_eq!(events[0].retry, Some(250));
    let events = client.call("count", &json!({ "to": 2, "every_ms": 1 })).await.rest().await;
    assert_eq!(briefs(&events), ["-", "1.0", "2.0", "\"counted to 2\""]);
    let events = client.call("count", &json!({ "to": "two" })).await.rest().await;
    assert!(brief(&events[1]).contains("to"), "{events:?}");
    let health = client.http.get(server.url.replace("/mcp", "/healthz")).send().await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
    let report: Value = health.json().await.unwrap();
    assert_eq!(report, json!({ "store": "ok", "sessions": 1, "running": 0 }));
}

#[tokio::test]
async fn a_tool_hangs_up_and_its_client_comes_back_for_the_answer() {
    let server = Server::start("memory://", &["--retry", "50ms"]);
    let client = Client::open(&server.url).await;
    let events = client.call("test_reconnection", &json!({})).await.rest().await;
    assert_eq!(briefs(&events), ["-", "-"]);
    assert_eq!(events[1].retry, Some(50));
    let rest = client.resume(events[1].id.as_deref().unwrap()).await.rest().await;
    assert_eq!(rest.len(), 2);
    assert!(brief(&rest[1]).contains("closed"), "{rest:?}");
}

#[tokio::test]
async fn a_terminated_server_finishes_a_call_that_is_followed_elsewhere() {
    let (_directory, store) = file();
    let (first, second) = (Server::start(&store, &[]), Server::start(&store, &[]));
    let mut client = Client::open(&first.url).await;
    let mut call = client.call("count", &json!({ "to": 20, "every_ms": 50 })).await;
    call.next().await.unwrap();
    let stopping = tokio::task::spawn_blocking(move || first.terminate());
    let farewell = call.rest().await.pop().unwrap();
    assert_eq!(farewell.retry, Some(3000));
    client.url.clone_from(&second.url);
    let rest = client.resume(farewell.id.as_deref().unwrap()).await.rest().await;
    assert_eq!(brief(rest.last().unwrap()), "\"counted to 20\"");
    assert!(stopping.await.unwrap().success());
}

#[tokio::test]
async fn a_killed_servers_stream_resumes_on_another_process() {
    let (_directory, store) = file();
    let first = Server::start(&store, &[]);
    let mut client = Client::open(&first.url).await;
    let mut call = client.call("count", &json!({ "to": 5, "every_ms": 1 })).await;
    let seen = call.next().await.unwrap();
    let all = call.rest().await;
    first.kill();
    let second = Server::start(&store, &[]);
    client.url.clone_from(&second.url);
    let resumed = client.resume(seen.id.as_deref().unwrap()).await.rest().await;
    assert_eq!(resumed[0].id, seen.id);
    assert_eq!(resumed[1..], all[..]);
    assert_eq!(briefs(&all), ["1.0", "2.0", "3.0", "4.0", "5.0", "\"counted to 5\""]);
}

#[tokio::test]
async fn two_processes_serve_one_session_at_the_same_time() {
    let (_directory, store) = file();
    let (first, second) = (Server::start(&store, &[]), Server::start(&store, &[]));
    let mut client = Client::open(&first.url).await;
    let mut call = client.call("count", &json!({ "to": 20, "every_ms": 20 })).await;
    let seen = call.next().await.unwrap();
    client.url.clone_from(&second.url);
    let resumed = client.resume(seen.id.as_deref().unwrap()).await.rest().await;
    assert_eq!(resumed.len(), 1 + 20 + 1);
    assert_eq!(brief(&resumed[21]), "\"counted to 20\"");
    assert!(call.rest().await.len() <= 21, "the first connection has ended");
}

#[tokio::test]
async fn a_terminated_server_ends_its_calls_and_exits_with_0() {
    let (_directory, store) = file();
    let first = Server::start(&store, &[]);
    let mut client = Client::open(&first.url).await;
    let mut call = client.call("count", &json!({ "to": 1000, "every_ms": 50 })).await;
    let seen = call.next().await.unwrap();
    assert!(first.terminate().success());
    let second = Server::start(&store, &[]);
    client.url.clone_from(&second.url);
    let resumed = client.resume(seen.id.as_deref().unwrap()).await.rest().await;
    assert!(brief(resumed.last().unwrap()).contains("cancelled"), "{resumed:?}");
}

fn address(server: &Server) -> &str {
    server.url.strip_prefix("http://").unwrap().strip_suffix("/mcp").unwrap()
}

#[tokio::test]
async fn a_request_that_is_never_finished_does_not_keep_a_server_from_stopping() {
    let (_directory, store) = file();
    let server = Server::start(&store, &[]);
    let mut stalled = TcpStream::connect(address(&server)).unwrap();
    let half = "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
                Accept: application/json, text/event-stream\r\nContent-Length: 99\r\n\r\n{";
    stalled.write_all(half.as_bytes()).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(server.terminate().success());
}

#[tokio::test]
async fn logs_hold_no_credentials() {
    let (_directory, store) = file();
    let log = ["rmcp", "core", "sqlite"].map(|part| format!("mcp_event_store_{part}=trace"));
    let server = Server::start_logging(&store, &log.join(","));
    let client = Client::open(&server.url).await;
    let events = client.call("echo", &json!({ "text": "quiet" })).await.rest().await;
    let last = events.last().unwrap().id.clone().unwrap();
    client.resume(&last).await.rest().await;
    client.resume("an-id-that-nobody-knows").await.rest().await;
    let session = client.session().to_owned();
    let log = server.stop_and_read_log();
    assert!(log.contains("resumed"), "{log}");
    for credential in [&session, &last, "an-id-that-nobody-knows"] {
        assert!(!log.contains(credential), "{log}");
    }
}

#[tokio::test]
async fn only_known_hosts_and_origins_are_served() {
    let server = Server::start("memory://", &["--allow-origin", "https://app.example.com:443"]);
    let client = Client::open(&server.url).await;
    let status = |name, value: &'static str| {
        let ping = client.post("ping", &json!({})).header(name, value);
        async { ping.send().await.unwrap().status() }
    };
    assert_eq!(status(ORIGIN, "https://evil.example").await, StatusCode::FORBIDDEN);
    assert_eq!(status(ORIGIN, "https://app.example.com").await, StatusCode::OK);
    assert_eq!(status(ORIGIN, "http://localhost:3000").await, StatusCode::OK);
    assert_eq!(status(HOST, "evil.example").await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn without_a_store_the_same_tools_answer_the_same_clients() {
    let mut command = command(&["serve", "--listen", "127.0.0.1:0", "--without-store"]);
    command.args(["--retry", "250ms", "--allow-origin", "https://app.example.com:443"]);
    let server = Server::spawn(command);
    let client = Client::open(&server.url).await;
    let events = client.call("count", &json!({ "to": 1, "every_ms": 1 })).await.rest().await;
    assert_eq!(briefs(&events), ["-", "1.0", "\"counted to 1\""]);
    assert_eq!(events[0].retry, Some(250));
    for (origin, status) in [
        ("https://evil.example", StatusCode::FORBIDDEN),
        ("https://app.example.com", StatusCode::OK),
    ] {
        let ping = client.post("ping", &json!({})).header(ORIGIN, origin).send().await.unwrap();
        assert_eq!(ping.status(), status, "{origin}");
    }
    assert!(server.terminate().success());
}

#[test]
fn a_server_without_a_store_takes_none() {
    let mut command = command(&["serve", "--without-store"]);
    let output = command.env("MCP_EVENT_STORE_URL", "memory://").output().unwrap();
    fails(&output, 2, &["--without-store", "--store"]);
}

#[test]
fn a_port_in_use_is_said_with_a_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output =
        command(&["serve", "--store", "memory://", "--listen", &address]).output().unwrap();
    fails(&output, 1, &[&address, "--listen", "in use"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
}

#[test]
fn bad_input_is_said_and_exits_with_2() {
    for (args, words) in [
        (["--store", "nope://x"], ["nope", "sqlite://"]),
        (["--store", "sqlite:///nowhere/at/all.db"], ["/nowhere/at", "create"]),
        (["--listen", "hello"], ["hello", "HOST:PORT"]),
        (["--listen", ":80"], [":80", "HOST:PORT"]),
        (["--retry", "soon"], ["soon", "500ms"]),
        (["--retry", "0s"], ["0s", "1ms"]),
        (["--retry", "9999y"], ["9999y", "at most 1h"]),
        (["--config", "nowhere.toml"], ["nowhere.toml", "cannot"]),
    ] {
        let memory = if args[0] == "--store" { &[][..] } else { &["--store", "memory://"] };
        let output = command(&["serve"]).args(args).args(memory).output().unwrap();
        fails(&output, 2, &words);
    }
}
