//! No server outlives its test process or its value, however they end.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::env;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::until;
use mcp_event_store_test_servers::{PgBouncer, Postgres, Redis};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const ROLE: &str = "MCP_EVENT_STORE_TEST_ROLE";
const RUN: &str = "MCP_EVENT_STORE_TEST_RUN";

#[test]
fn nothing_is_left_of_a_killed_process() {
    ends_with("nothing_is_left_of_a_killed_process", End::Signal("KILL"));
}

#[test]
fn nothing_is_left_after_ctrl_c() {
    ends_with("nothing_is_left_after_ctrl_c", End::Signal("INT"));
}

#[test]
fn nothing_is_left_after_an_ordinary_end() {
    ends_with("nothing_is_left_after_an_ordinary_end", End::Ordinary);
}

#[tokio::test]
async fn a_dropped_server_ends() {
    let server = Redis::own(&[]).await.unwrap();
    let address = server.address();
    drop(server);
    until("the dropped server has gone", async || is_gone(address).await).await;
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// Sent to the whole process group, as a terminal does.
    Signal(&'static str),
    Ordinary,
}

/// Runs this test in a process of its own, which starts servers and is ended.
#[tokio::main(flavor = "current_thread")]
async fn ends_with(test: &str, end: End) {
    if env::var(ROLE).is_ok() {
        return hold_servers(end).await;
    }
    let run = format!("lifetime-{}-{test}", std::process::id());
    let mut child = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, "holder")
        .env(RUN, &run)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let held = what_it_holds(&mut child).await;
    assert_eq!(held.len(), 4, "{held:?}");
    if let End::Signal(signal) = end {
        for server in &held {
            assert!(!is_gone(server.address).await, "{server:?} must run until then");
        }
        let group = format!("-{}", child.id().unwrap());
        let sent = Command::new("kill").args(["-s", signal, "--", &group]).status().await;
        assert!(sent.unwrap().success());
    }
    let ended = child.wait().await.unwrap();
    assert_eq!(ended.success(), matches!(end, End::Ordinary), "{ended}");
    until("all servers, containers and directories have gone", async || {
        for server in &held {
            let directory = server.directory.as_deref().is_some_and(|dir| Path::new(dir).exists());
            if directory || !is_gone(server.address).await {
                return false;
            }
        }
        containers(&run).await.is_empty()
    })
    .await;
}

/// A server of the child, as it told.
#[derive(Debug)]
struct Held {
    address: SocketAddr,
    directory: Option<String>,
}

/// The child's part.
async fn hold_servers(end: End) {
    let shared = Redis::shared().await.unwrap();
    let (postgres, redis) = tokio::join!(Postgres::own(&[]), Redis::own(&[]));
    let (postgres, redis) = (postgres.unwrap(), redis.unwrap());
    let bouncer = PgBouncer::own(&postgres, "session").await.unwrap();
    let local = |server: &Redis| {
        let is_local = server.description().contains("local");
        server.dir().filter(|_| is_local).unwrap_or("-").to_owned()
    };
    let port_of_bouncer = bouncer.url().rsplit([':', '/']).nth(1).unwrap();
    println!();
    println!("@@ {} {}", shared.address(), local(shared));
    println!("@@ {} {}", redis.address(), local(&redis));
    println!("@@ {} -", postgres.address());
    println!("@@ 127.0.0.1:{port_of_bouncer} -");
    println!("@@ all");
    if let End::Signal(_) = end {
        std::future::pending::<()>().await;
    }
}

async fn what_it_holds(child: &mut Child) -> Vec<Held> {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut held = Vec::new();
    let read = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            match line.strip_prefix("@@ ").map(|line| line.split_once(' ')) {
                Some(Some((address, directory))) => held.push(Held {
                    address: address.parse().unwrap(),
                    directory: Some(directory.to_owned()).filter(|directory| directory != "-"),
                }),
                Some(None) => break,
                None => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(5), read).await.expect("servers in time");
    // It may have more to say, and must not die of that.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    held
}

async fn is_gone(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_err()
}

/// The containers of a run; none where there is no docker.
async fn containers(run: &str) -> String {
    let label = format!("label=mcp-event-store.run={run}");
    let list = Command::new("docker").args(["ps", "-aq", "--filter", &label]).output().await;
    list.map_or_else(|_| String::new(), |list| String::from_utf8_lossy(&list.stdout).into_owned())
}
