//! Servers that are programs of the machine, on every machine: a program that stands in for
//! redis-server shows that all of it ends, and what it gets to run with.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::until;
use mcp_event_store_test_servers::{Redis, RedisOptions};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

const ROLE: &str = "MCP_EVENT_STORE_TEST_ROLE";
const TEST: &str = "a_program_ends_with_all_its_processes_and_its_directory";

/// Named redis-server, first in `PATH`: leaves a process in a session of its own behind, as
/// PostgreSQL's are, and then is this test binary once more.
const STAND_IN: &str = r#"#!/bin/sh
[ -z "$MUTE" ] || exec sleep 1000
setsid sleep 1000 &
echo $! >"$DIR/other"
while [ "$1" != --port ]; do shift; done
MCP_EVENT_STORE_TEST_ROLE=server:$2 exec "$STAND_IN" "$TEST" --exact --nocapture
"#;

#[test]
fn a_program_ends_with_all_its_processes_and_its_directory() {
    part(check());
}

/// Its keeper is then in the middle of an answer, and must not die of having no reader.
#[test]
fn a_program_ends_when_the_test_process_is_killed_while_it_starts() {
    part(check_while_it_starts());
}

/// Plays the part that the environment names: the check, or what it starts.
fn part(check: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match env::var(ROLE).as_deref().map(|role| role.split_once(':')) {
            Ok(Some(("server", port))) => serve(port.parse().unwrap()).await,
            Ok(_) => hold().await,
            Err(_) => check.await,
        }
    });
}

/// A directory with the program in it, and room for temporary files.
fn programs() -> TempDir {
    let programs = tempfile::tempdir().unwrap();
    fs::set_permissions(programs.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let stand_in = programs.path().join("redis-server");
    fs::write(&stand_in, STAND_IN).unwrap();
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
    // Where the server's user can run it, who may not be the one who built it.
    let binary = programs.path().join("stand-in");
    fs::copy(env::current_exe().unwrap(), &binary).unwrap();
    let temporary = programs.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777)).unwrap();
    programs
}

/// A process that starts such a server and holds it.
fn holder(programs: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([TEST, "--exact", "--nocapture"])
        .env(ROLE, "holder")
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
        .env("TMPDIR", programs.join("tmp"))
        .env("STAND_IN", programs.join("stand-in"))
        .env("TEST", TEST)
        .env_remove("MCP_EVENT_STORE_TEST_REDIS_IMAGE")
        .env_remove("MCP_EVENT_STORE_TEST_REDIS_SERVER")
        .stdout(Stdio::piped());
    command
}

async fn check_while_it_starts() {
    let programs = programs();
    let temporary = programs.path().join("tmp");
    let base = || fs::read_dir(&temporary).unwrap().next().map(|entry| entry.unwrap().path());
    let mut child = holder(programs.path()).env("MUTE", "yes").spawn().unwrap();
    until("a keeper", async || base().is_some_and(|base| keeper(&base).is_some())).await;
    let keeper = keeper(&base().unwrap()).unwrap();
    // An order waits for it that nobody will hear the answer to.
    signal(&keeper, "STOP").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    child.kill().await.unwrap();
    signal(&keeper, "CONT").await;
    until("its directory has gone", async || base().is_none()).await;
}

/// The process that keeps the server in this directory.
fn keeper(base: &Path) -> Option<String> {
    let base = format!("keeper\0{}\0", base.display());
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let mut keepers = processes.filter(|process| {
        let command = fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&base)
    });
    let name = keepers.next()?.file_name()?.to_str()?.to_owned();
    Some(name)
}

async fn signal(process: &str, signal: &str) {
    let sent = Command::new("kill").args(["-s", signal, process]).status().await;
    assert!(sent.unwrap().success(), "{signal} to {process}");
}

async fn check() {
    let programs = programs();
    let mut child = holder(programs.path()).spawn().unwrap();
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
    std::future::pending::<()>().await;
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
