//! A user with no more rights than the guide lists, and TLS.

use std::process::Command;
use std::time::Duration;

use mcp_event_store_core::{Durability, EventStore, EventStoreExt, Maintenance, ReplayMode};
use mcp_event_store_redis::RedisOptions;
use mcp_event_store_test_servers::{Redis, RedisOptions as ServerOptions};

use crate::common::{command, event, open, open_with, options, stream, text, words};

/// The rules in the guide, which this test holds to it.
fn rules() -> Vec<String> {
    let guide = include_str!("../../../docs/redis.md");
    let line = guide.lines().find(|line| line.starts_with("ACL SETUSER mcp "));
    let start = line.expect("the guide's `ACL SETUSER mcp`");
    let block = guide[guide.find(start).unwrap()..].split("```").next().unwrap();
    let words = block.replace('\\', " ");
    words.split_whitespace().skip(3).map(str::to_owned).collect()
}

async fn server_with(rules: &[String]) -> Redis {
    let server = Redis::own(&[]).await.unwrap();
    let rules = rules.iter().map(|rule| if rule == ">PASSWORD" { ">secret" } else { rule });
    let words: Vec<&str> = ["ACL", "SETUSER", "mcp"].into_iter().chain(rules).collect();
    command(server.url(), &words).await;
    server
}

#[tokio::test]
async fn the_rules_of_the_guide_suffice() {
    let server = server_with(&rules()).await;
    let url = format!("redis://mcp:secret@{}", server.address());
    let options = RedisOptions { key_prefix: "mcp:".into(), ..options() };
    let (store, reader) = (open(&url, &options).await, open(&url, &options).await);
    let one = stream("s", "a");
    let first = store.store_event(&one, event("first")).await.unwrap();
    let mode = ReplayMode::follow();
    let mut follow = reader.replay_events_after(one.scope(), &first, mode).await.unwrap().events;
    store.store_event(&one, event("second")).await.unwrap();
    let next = futures_util::StreamExt::next(&mut follow);
    let next = tokio::time::timeout(Duration::from_secs(20), next).await.unwrap();
    assert_eq!(next.unwrap().unwrap().seq, 2);
    store.sweep().await.unwrap();
    store.delete_session(one.session.as_ref().unwrap()).await.unwrap();
    store.sweep().await.unwrap();
    assert_eq!(store.usage().await.unwrap().events, 0);
}

#[tokio::test]
async fn a_missing_right_is_told_when_opening() {
    let mut rules = rules();
    rules.push("-xadd".into());
    let server = server_with(&rules).await;
    let url = format!("redis://mcp:secret@{}", server.address());
    let options = RedisOptions { key_prefix: "mcp:".into(), ..options() };
    let error = open_with(&url, &options, Durability::Committed).await.map(drop).unwrap_err();
    assert!(words(&error).contains("may not do what the store needs"), "{}", words(&error));
    // Another store's keys.
    let foreign = RedisOptions { key_prefix: "other:".into(), ..options };
    let error = open_with(&url, &foreign, Durability::Committed).await.map(drop).unwrap_err();
    assert!(words(&error).contains("may not do what the store needs"), "{}", words(&error));
}

#[tokio::test]
async fn a_right_that_is_taken_away_destroys_nothing() {
    let server = server_with(&rules()).await;
    let url = format!("redis://mcp:secret@{}", server.address());
    let options = RedisOptions { key_prefix: "mcp:".into(), ..options() };
    let store = open(&url, &options).await;
    let one = stream("s", "a");
    store.store_event(&one, event("first")).await.unwrap();
    command(server.url(), &["ACL", "SETUSER", "mcp", "-xadd"]).await;
    store.store_event(&one, event("refused")).await.unwrap_err();
    command(server.url(), &["ACL", "SETUSER", "mcp", "+xadd"]).await;
    store.store_event(&one, event("second")).await.unwrap();
    let events = store.read_to_vec(&one).await.unwrap();
    assert_eq!(events.iter().map(text).collect::<Vec<_>>(), ["first", "second"]);
}

fn openssl(directory: &std::path::Path, arguments: &str) {
    let mut openssl = Command::new("openssl");
    openssl.args(arguments.split(' ')).current_dir(directory);
    let done = openssl.output().expect("openssl, to make certificates for the test");
    assert!(done.status.success(), "openssl: {}", String::from_utf8_lossy(&done.stderr));
}

/// A certificate for this machine, and the authority that signed it.
fn certificates() -> (tempfile::TempDir, Vec<(String, Vec<u8>)>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    std::fs::write(path.join("ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost").unwrap();
    openssl(path, "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca");
    openssl(path, "req -newkey rsa:2048 -nodes -keyout key.pem -out csr -subj /CN=localhost");
    openssl(
        path,
        "x509 -req -in csr -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -extfile ext",
    );
    let files = ["ca.pem", "cert.pem", "key.pem"];
    let read = |name: &str| (name.to_owned(), std::fs::read(path.join(name)).unwrap());
    let files = files.map(read).to_vec();
    (directory, files)
}

#[tokio::test]
async fn tls_with_an_authority_of_ones_own() {
    let (directory, files) = certificates();
    let args = [
        "--tls-port",
        "{port1}",
        "--tls-cert-file",
        "{dir}/cert.pem",
        "--tls-key-file",
        "{dir}/key.pem",
        "--tls-ca-cert-file",
        "{dir}/ca.pem",
        "--tls-auth-clients",
        "no",
    ];
    let args = args.map(str::to_owned).to_vec();
    let options_of_server =
        ServerOptions { args, files, more_ports: 1, ..ServerOptions::default() };
    let server = Redis::own_with(options_of_server).await.unwrap();
    let url = format!("rediss://127.0.0.1:{}", server.ports()[1]);
    let trusting = RedisOptions { ca_file: Some(directory.path().join("ca.pem")), ..options() };
    let store = open(&url, &trusting).await;
    let one = stream("s", "a");
    store.store_event(&one, event("first")).await.unwrap();
    assert_eq!(store.read_to_vec(&one).await.unwrap().len(), 1);
    let error = open_with(&url, &options(), Durability::Committed).await.map(drop).unwrap_err();
    assert!(words(&error).contains("ertificate"), "{}", words(&error));
    let missing = RedisOptions { ca_file: Some("/nowhere.pem".into()), ..options() };
    let error = open_with(&url, &missing, Durability::Committed).await.map(drop).unwrap_err();
    assert!(words(&error).contains("redis.ca_file: /nowhere.pem cannot be read"), "{error}");
}
