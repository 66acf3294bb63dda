//! What is said about a server that cannot be used.

use std::time::Duration;

use mcp_event_store_core::{Config, Durability, Error, EventStore, EventStoreExt};
use mcp_event_store_redis::{AppendFsync, FIELDS, RedisOptions};
use mcp_event_store_test_servers::{Redis, RedisOptions as ServerOptions};

use crate::common::{command, event, open, open_with, options, stream, words};

async fn refusal(url: &str, options: &RedisOptions) -> Error {
    open_with(url, options, Durability::Committed).await.map(drop).unwrap_err()
}

#[tokio::test]
async fn a_url_and_its_query_are_all_it_takes() {
    let server = Redis::own(&[]).await.unwrap();
    let url = format!("{}?key_prefix=a:&sweep_every=off", server.url());
    let config = Config::builder().backend(FIELDS).url(&url).load().unwrap();
    let store = mcp_event_store_redis::open(&url, &config).await.unwrap();
    let one = stream("s", "a");
    store.events().store_event(&one, event("first")).await.unwrap();
    assert_eq!(store.events().read_to_vec(&one).await.unwrap().len(), 1);
}

#[tokio::test]
async fn committed_wants_a_server_that_syncs() {
    for (args, said) in [
        (["--appendfsync", "everysec"], "appendfsync everysec"),
        (["--appendonly", "no"], "appendonly no"),
    ] {
        let server = Redis::own(&args).await.unwrap();
        let error = refusal(server.url(), &options()).await;
        assert!(matches!(error, Error::InvalidInput { .. }), "{error:?}");
        let text = words(&error);
        assert!(text.contains(said) && text.contains("relaxed"), "{text}");
        open_with(server.url(), &options(), Durability::Relaxed).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_server_promises_is_checked_again() {
    let server = Redis::own(&[]).await.unwrap();
    let store = open(server.url(), &options()).await;
    let one = stream("s", "a");
    store.store_event(&one, event("first")).await.unwrap();
    command(server.url(), &["CONFIG", "SET", "appendfsync", "no"]).await;
    // A restart, like a failover, brings a server with settings of its own.
    command(server.url(), &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    crate::common::eventually("refused", || async {
        matches!(store.store_event(&one, event("x")).await, Err(Error::InvalidInput { .. }))
    })
    .await;
    command(server.url(), &["CONFIG", "SET", "appendfsync", "always"]).await;
    store.store_event(&one, event("second")).await.unwrap();
}

#[tokio::test]
async fn where_config_is_forbidden_a_setting_says_what_holds() {
    let server = Redis::own(&["--rename-command", "CONFIG", ""]).await.unwrap();
    let error = refusal(server.url(), &options()).await;
    assert!(words(&error).contains("assume_appendfsync"), "{error}");
    let assumed = |fsync| RedisOptions { assume_appendfsync: Some(fsync), ..options() };
    open(server.url(), &assumed(AppendFsync::Always)).await;
    let error = refusal(server.url(), &assumed(AppendFsync::EverySec)).await;
    assert!(words(&error).contains("everysec"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there() {
    let error = refusal("redis://127.0.0.1:1", &options()).await;
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(words(&error).contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn a_password_that_is_missing_or_wrong() {
    let server = Redis::own_with(ServerOptions {
        args: ["--requirepass", "right"].map(str::to_owned).to_vec(),
        auth: Some(("default".into(), "right".into())),
        ..ServerOptions::default()
    });
    let server = server.await.unwrap();
    let at = server.address();
    for (url, said) in [
        (format!("redis://{at}"), "wants a password"),
        (format!("redis://:wr0ng@{at}"), "refuses the user or password"),
        (format!("redis://me:wr0ng@{at}"), "refuses the user or password"),
    ] {
        let error = refusal(&url, &options()).await;
        assert!(words(&error).contains(said), "{}", words(&error));
        assert!(!format!("{error:?}").contains("wr0ng"), "{error:?}");
    }
    open(&format!("redis://:right@{at}"), &options()).await;
}

#[tokio::test]
async fn a_replica_is_no_place_to_append() {
    let master = Redis::own(&[]).await.unwrap();
    let of = format!("127.0.0.1 {}", master.address().port());
    let replica = Redis::own(&["--replicaof", &of]).await.unwrap();
    let error = refusal(replica.url(), &options()).await;
    assert!(words(&error).contains("is a replica: give the URL of the master"), "{error}");
}

#[tokio::test]
async fn keys_of_a_newer_version_are_refused_and_left_alone() {
    let server = Redis::own(&[]).await.unwrap();
    let (options, one) = (options(), stream("s", "a"));
    open(server.url(), &options).await.store_event(&one, event("first")).await.unwrap();
    let mark = format!("{}{{0}}:v", options.key_prefix);
    let marked = command(server.url(), &["GET", &mark]).await;
    assert_eq!(marked, redis::Value::BulkString(b"1".to_vec()));
    command(server.url(), &["SET", &mark, "2"]).await;
    let error = refusal(server.url(), &options).await;
    assert!(matches!(error, Error::InvalidInput { .. }), "{error:?}");
    let text = words(&error);
    assert!(text.contains("version 2") && text.contains("newer program"), "{text}");
    command(server.url(), &["DEL", &mark]).await;
    command(server.url(), &["SADD", &mark, "another program's"]).await;
    assert!(words(&refusal(server.url(), &options).await).contains("choose another prefix"));
    command(server.url(), &["SET", &mark, "1"]).await;
    let store = open(server.url(), &options).await;
    assert_eq!(store.read_to_vec(&one).await.unwrap().len(), 1);
}

#[tokio::test]
async fn options_that_cannot_be() {
    let server = Redis::own(&[]).await.unwrap();
    let prefix = RedisOptions { key_prefix: "{a}".into(), ..options() };
    assert!(words(&refusal(server.url(), &prefix).await).contains("key_prefix"));
    let wait =
        RedisOptions { wait_replicas: Some(1), wait_timeout: Duration::from_mins(1), ..options() };
    assert!(words(&refusal(server.url(), &wait).await).contains("wait_timeout"));
    let error = refusal("redis://a,b", &options()).await;
    assert!(matches!(error, Error::InvalidInput { .. }), "{error:?}");
}
