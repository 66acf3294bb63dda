//! Servers answer, keep their data when they are killed, and run where they say.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{ask, count, insert, resp};
use mcp_event_store_test_servers::{PgBouncer, Postgres, PostgresOptions, Redis, RedisOptions};

#[tokio::test]
async fn the_shared_postgres_answers() {
    let server = Postgres::shared().await.unwrap();
    assert_eq!(ask(server.url(), "SELECT 1 + 1").await, "2");
    assert!(server.description().starts_with("PostgreSQL 1"), "{}", server.description());
}

#[tokio::test]
async fn all_tests_of_a_process_share_one_server() {
    let one = Postgres::shared().await.unwrap().address();
    // A runtime of its own, which ends: the server must not end with it.
    let on_another_runtime = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { Postgres::shared().await.unwrap().address() })
    };
    let other = std::thread::spawn(on_another_runtime).join().unwrap();
    assert_eq!(one, other);
}

#[tokio::test]
async fn postgres_is_durable_and_asks_for_a_password() {
    let server = Postgres::own(&[]).await.unwrap();
    for (setting, value) in
        [("fsync", "on"), ("synchronous_commit", "on"), ("password_encryption", "scram-sha-256")]
    {
        assert_eq!(ask(server.url(), &format!("SHOW {setting}")).await, value);
    }
    let without = format!("postgres://postgres:wrong@{}/postgres", server.address());
    let refused = <sqlx::PgConnection as sqlx::Connection>::connect(&without).await;
    assert!(refused.is_err(), "a wrong password must be refused");
}

#[tokio::test]
async fn an_own_postgres_takes_settings_and_files() {
    let files = vec![("greeting.txt".to_owned(), b"hello".to_vec())];
    let settings = vec![("max_connections".to_owned(), "17".to_owned())];
    let server = Postgres::own_with(PostgresOptions { settings, files }).await.unwrap();
    assert_eq!(ask(server.url(), "SHOW max_connections").await, "17");
    assert_eq!(ask(server.url(), "SELECT pg_read_file('../greeting.txt')").await, "hello");
}

#[tokio::test]
async fn a_killed_postgres_keeps_what_it_committed() {
    let server = Postgres::own(&[]).await.unwrap();
    ask(server.url(), "CREATE TABLE kept (id integer)").await;
    for round in 1..=3 {
        insert(server.url(), round).await;
        let before = server.address();
        server.kill().await.unwrap();
        assert!(tokio::net::TcpStream::connect(before).await.is_err(), "it still accepts");
        server.start().await.unwrap();
        assert_eq!(server.address(), before);
        assert_eq!(count(server.url()).await, round);
    }
}

#[tokio::test]
async fn pgbouncer_passes_queries_on() {
    let server = Postgres::own(&[]).await.unwrap();
    let bouncer = PgBouncer::own(&server, "transaction").await.unwrap();
    assert_ne!(bouncer.url(), server.url());
    assert_eq!(ask(bouncer.url(), "SELECT 1 + 1").await, "2");
    let port = server.address().port().to_string();
    assert_eq!(ask(bouncer.url(), "SHOW port").await, port);
    assert!(bouncer.description().starts_with("PgBouncer"), "{}", bouncer.description());
}

#[tokio::test]
async fn the_shared_redis_answers_and_is_durable() {
    let server = Redis::shared().await.unwrap();
    assert_eq!(resp(server.address(), &["PING"]).await, "+PONG");
    let policy = resp(server.address(), &["CONFIG", "GET", "appendfsync"]).await;
    assert!(policy.ends_with("always"), "{policy}");
}

#[tokio::test]
async fn a_killed_redis_keeps_what_it_acknowledged() {
    let server = Redis::own(&[]).await.unwrap();
    for round in 1..=3 {
        let answer = resp(server.address(), &["INCR", "kept"]).await;
        assert_eq!(answer, format!(":{round}"));
        server.kill().await.unwrap();
        assert!(tokio::net::TcpStream::connect(server.address()).await.is_err());
        server.start().await.unwrap();
    }
    assert_eq!(resp(server.address(), &["INCR", "kept"]).await, ":4");
}

#[tokio::test]
async fn an_own_redis_takes_arguments_files_and_ports() {
    let options = RedisOptions {
        args: [
            "--aclfile",
            "{dir}/users.acl",
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            "{port1}",
        ]
        .map(str::to_owned)
        .into(),
        files: vec![("users.acl".to_owned(), b"user default on >secret ~* &* +@all\n".to_vec())],
        more_ports: 1,
        auth: Some(("default".to_owned(), "secret".to_owned())),
        ..RedisOptions::default()
    };
    let server = Redis::own_with(options).await.unwrap();
    assert_eq!(server.ports().len(), 2);
    assert!(resp(server.address(), &["PING"]).await.starts_with("-NOAUTH"));
    let bus = (std::net::Ipv4Addr::LOCALHOST, server.ports()[1]);
    tokio::net::TcpStream::connect(bus).await.expect("the cluster's bus");
}

#[tokio::test]
async fn a_redis_can_be_a_sentinel() {
    let watched = Redis::own(&[]).await.unwrap();
    let sentinel = format!("sentinel monitor main 127.0.0.1 {} 1\n", watched.address().port());
    let options = RedisOptions { sentinel: Some(sentinel), ..RedisOptions::default() };
    let server = Redis::own_with(options).await.unwrap();
    let answer = resp(server.address(), &["SENTINEL", "get-master-addr-by-name", "main"]).await;
    assert!(answer.ends_with(&watched.address().port().to_string()), "{answer}");
    // It rewrites its configuration, and finds it again.
    server.kill().await.unwrap();
    server.start().await.unwrap();
    assert_eq!(resp(server.address(), &["PING"]).await, "+PONG");
}
