//! Servers that are programs of the machine, on every machine: a program that stands in for
//! redis-server shows that all of it ends, and what it gets to run with.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use common::until;
use mcp_event_store_test_servers::{Redis, RedisOptions};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

const ROLE: &str = "MCP_EVENT_STORE_TEST_ROLE";
const TEST: &str = "a_program_ends_with_all_its_processes_and_its_directory";

/// Named redis-server, first in `PATH`: leaves a process in a session of its own behind, as
/// PostgreSQL's are, and then is this test binary once more.
const STAND_IN: &str = r#"#!/bin/sh
setsid sleep 1000 &
echo $! >"$DIR/other"
while [ "$1" != --port ]; do shift; done
MCP_EVENT_STORE_TEST_ROLE=server:$2 exec "$STAND_IN" "$TEST" --exact --nocapture
"#;

#[test]
fn a_program_ends_with_all_its_processes_and_its_directory() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match env::var(ROLE).as_deref().map(|role| role.split_once(':')) {
            Ok(Some(("server", port))) => serve(port.parse().unwrap()).await,
            Ok(_) => hold().await,
            Err(_) => check().await,
        }
    });
}

async fn check() {
    let programs = tempfile::tempdir().unwrap();
    fs::set_permissions(programs.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let stand_in = programs.path().join("redis-server");
    fs::write(&stand_in, STAND_IN).unwrap();
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
    // Where the server's user can run it, who may not be the one who built it.
    let binary = programs.path().join("stand-in");
    fs::copy(env::current_exe().unwrap(), &binary).unwrap();

    let mut child = Command::new(env::current_exe().unwrap())
        .args([TEST, "--exact", "--nocapture"])
        .env(ROLE, "holder")
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .env("PATH", format!("{}:/usr/bin:/bin", programs.path().display()))
        .env("STAND_IN", &binary)
        .env("TEST", TEST)
        .env_remove("MCP_EVENT_STORE_TEST_REDIS_IMAGE")
        .env_remove("MCP_EVENT_STORE_TEST_REDIS_SERVER")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        told.extend(line.strip_prefix("@@ ").map(str::to_owned));
        if told.len() == 3 {
            break;
        }
    }
    let [dir, port, other] = told.try_into().expect("a server of the child's");
    assert!(is_alive(&other), "the server's other process must run until then");
    child.kill().await.unwrap();
    until("the program, its other process and its directory have gone", async || {
        let base = Path::new(&dir).parent().unwrap();
        let port: u16 = port.parse().unwrap();
        let listens = TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        !listens && !is_alive(&other) && !base.exists()
    })
    .await;
}

/// The part of the test process that is killed.
async fn hold() {
    let files = vec![("greeting".to_owned(), b"hello from {port}".to_vec())];
    let options = RedisOptions { files, ..RedisOptions::default() };
    let server = Redis::own_with(options).await.unwrap();
    assert!(server.description().contains("local"), "{}", server.description());
    let dir = server.dir().unwrap();
    let greeting = fs::read_to_string(Path::new(dir).join("greeting")).unwrap();
    assert_eq!(greeting, format!("hello from {}", server.address().port()));

    let other = fs::read_to_string(Path::new(dir).join("other")).unwrap();
    server.kill().await.unwrap();
    // All of it has gone by now.
    assert!(!is_alive(other.trim()), "SIGKILL must reach all its processes");
    server.start().await.unwrap();
    let other = fs::read_to_string(Path::new(dir).join("other")).unwrap();
    println!("\n@@ {dir}\n@@ {}\n@@ {}", server.address().port(), other.trim());
    std::future::pending().await
}

/// The part of the server: answers everything as if it were PING.
async fn serve(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    while let Ok((mut client, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while client.read(&mut buffer).await.is_ok_and(|length| length > 0) {
                if client.write_all(b"+PONG\r\n").await.is_err() {
                    break;
                }
            }
        });
    }
}

fn is_alive(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
