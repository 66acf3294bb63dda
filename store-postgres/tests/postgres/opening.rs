//! What is refused at start, and in which words.

use std::time::Duration;

use mcp_event_store_core::{Clock, Durability, Error, Maintenance};
use mcp_event_store_postgres::{PostgresBackend, PostgresOptions};
use mcp_event_store_test_servers::Postgres;
use url::Url;

use crate::scope::{Scope, append, eventually, fresh, stream};

fn refusal(opened: mcp_event_store_core::Result<PostgresBackend>) -> Error {
    opened.unwrap_err()
}

fn says(error: &Error, words: &str) {
    assert!(error.to_string().contains(words), "{words:?} is not in {error}");
}

#[tokio::test]
async fn an_unreachable_server_is_unavailable() {
    // A port on which nothing listens, since it was bound and freed just now.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let scope = Scope::on(&format!("postgres://me:secret@127.0.0.1:{port}/db"));
    let error = refusal(scope.backend(&Clock::system()).await);
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    says(&error, &format!("127.0.0.1:{port} cannot be reached"));
    assert!(!format!("{error:?}").contains("secret"));
}

#[tokio::test]
async fn a_wrong_password_is_not_shown() {
    let server = Postgres::own(&[]).await.unwrap();
    let mut url = Url::parse(server.url()).unwrap();
    url.set_password(Some("hidden-and-wrong")).unwrap();
    let error = refusal(Scope::on(url.as_str()).backend(&Clock::system()).await);
    says(&error, "does not let `postgres` in");
    let shown = format!("{error} {error:?} {:?}", std::error::Error::source(&error));
    assert!(!shown.contains("hidden"), "{shown}");
}

#[tokio::test]
async fn an_open_store_does_not_show_its_password() {
    let server = Postgres::own(&[]).await.unwrap();
    let backend = Scope::on(server.url()).backend(&Clock::system()).await.unwrap();
    let url = Url::parse(server.url()).unwrap();
    let shown = format!("{backend:?}");
    assert!(!shown.contains(url.password().unwrap()), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_last_whatever_the_server_is_told_meanwhile() {
    let server = Postgres::own(&[]).await.unwrap();
    let set = async |scope: &Scope, level: &str| {
        scope.run(format!("ALTER SYSTEM SET synchronous_commit = {level}")).await;
        scope.run("SELECT pg_reload_conf()").await;
        eventually(Duration::from_secs(10), "the server has heard", async || {
            let level =
                format!("SELECT (current_setting('synchronous_commit') = '{level}')::int::int8");
            scope.integers(level).await == [[1]]
        })
        .await;
    };
    for notify in [true, false] {
        let mut scope = Scope::on(server.url());
        scope.options.notify = notify;
        let engine = scope.engine().await;
        // Each insertion notes how far its commit will wait.
        let note = scope.sql(
            "CREATE TABLE @seen (level text);
             CREATE FUNCTION @see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO @seen VALUES (current_setting('synchronous_commit')); RETURN NULL;
             END $$;
             CREATE TRIGGER see AFTER INSERT ON @events EXECUTE FUNCTION @see()",
        );
        scope.run(note).await;
        let one = stream("s", "a");
        for level in ["on", "off"] {
            set(&scope, level).await;
            for _ in 0..3 {
                append(&engine, &one, "an event").await;
            }
        }
        engine.close().await.unwrap();
        set(&scope, "remote_apply").await;
        let engine = scope.engine().await;
        append(&engine, &one, "first").await;
        append(&engine, &one, "second").await;
        engine.close().await.unwrap();
        let seen = "SELECT count(*) FILTER (WHERE level = 'on'),
            count(*) FILTER (WHERE level = 'remote_apply'), count(*) FROM @seen";
        assert_eq!(scope.integers(scope.sql(seen)).await, [[6, 2, 8]]);
        scope.tear_down().await;
    }
}

#[tokio::test]
async fn a_missing_database_is_named_as_such() {
    let mut url = Url::parse(Postgres::shared().await.unwrap().url()).unwrap();
    url.set_path("/no_such_database");
    says(&refusal(Scope::on(url.as_str()).backend(&Clock::system()).await), "no such database");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let scope = Scope::shared().await;
    scope.backend(&Clock::system()).await.unwrap();
    scope.run(format!("UPDATE \"{}\".meta SET version = 99", scope.schema())).await;
    let error = refusal(scope.backend(&Clock::system()).await);
    assert!(matches!(error, Error::InvalidInput { .. }), "{error:?}");
    says(&error, "has version 99");
    let version = format!("SELECT version FROM \"{}\".meta", scope.schema());
    assert_eq!(scope.integers(version).await, [[99]]);
    scope.tear_down().await;
}

#[tokio::test]
async fn a_read_only_server_is_refused() {
    let (mut scope, role) = with_role("").await;
    let admin = Scope::shared().await;
    admin.run(format!("ALTER ROLE {role} SET default_transaction_read_only = on")).await;
    scope.options.schema = fresh("never");
    says(&refusal(scope.backend(&Clock::system()).await), "is read-only, as a standby is");
    admin.run(format!("DROP ROLE {role}")).await;
}

#[tokio::test]
async fn behind_a_pooler_another_isolation_level_is_refused() {
    let (mut scope, role) = with_role("").await;
    let admin = Scope::shared().await;
    let level = "'repeatable read'";
    admin.run(format!("ALTER ROLE {role} SET default_transaction_isolation = {level}")).await;
    scope.options.schema = fresh("never");
    scope.options.notify = false;
    says(&refusal(scope.backend(&Clock::system()).await), "ALTER ROLE");
    // Without a pooler each connection is told.
    scope.options.notify = true;
    says(&refusal(scope.backend(&Clock::system()).await), "CREATE SCHEMA");
    admin.run(format!("DROP ROLE {role}")).await;
}

/// A scope whose URL is that of a new role.
async fn with_role(rights: &str) -> (Scope, String) {
    let admin = Scope::shared().await;
    let role = fresh("role");
    admin.run(format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'; {rights}")).await;
    let mut url = Url::parse(&admin.url).unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("secret")).unwrap();
    (Scope::on(url.as_str()), role)
}

#[tokio::test]
async fn a_database_that_is_not_utf8_is_refused() {
    let admin = Scope::shared().await;
    let database = fresh("latin");
    let create =
        format!("CREATE DATABASE {database} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    admin.run(create).await;
    let mut url = Url::parse(&admin.url).unwrap();
    url.set_path(&database);
    says(&refusal(Scope::on(url.as_str()).backend(&Clock::system()).await), "ENCODING 'UTF8'");
    admin.run(format!("DROP DATABASE {database}")).await;
}

#[tokio::test]
async fn a_server_without_fsync_is_not_called_durable() {
    let server = Postgres::own(&[("fsync", "off")]).await.unwrap();
    let scope = Scope::on(server.url());
    says(&refusal(scope.backend(&Clock::system()).await), "fsync = off");
    let open = |options: PostgresOptions, durability| {
        let url = scope.url.clone();
        async move { PostgresBackend::open(&url, &options, durability, Clock::system()).await }
    };
    open(scope.options.clone(), Durability::Relaxed).await.unwrap();
    let external = PostgresOptions { external_fsync: true, ..scope.options.clone() };
    open(external, Durability::Committed).await.unwrap();
}

#[tokio::test]
async fn ten_instances_start_at_once_on_an_empty_database() {
    let scope = Scope::shared().await;
    let starts = (0..10).map(|_| async {
        let engine = scope.engine().await;
        append(&engine, &stream("s", "a"), "hello").await;
        engine
    });
    let engines = futures_util::future::join_all(starts).await;
    assert_eq!(engines[0].usage().await.unwrap().events, 10);
    for engine in engines {
        engine.close().await.unwrap();
    }
    scope.tear_down().await;
}

#[tokio::test]
async fn prefixes_keep_stores_in_one_schema_apart() {
    let scope = Scope::shared().await;
    let options = PostgresOptions { table_prefix: "other-".into(), ..scope.options.clone() };
    let other = Scope { url: scope.url.clone(), options };
    let (one, two) = (scope.engine().await, other.engine().await);
    append(&one, &stream("s", "a"), "one").await;
    append(&one, &stream("s", "a"), "two").await;
    append(&two, &stream("s", "a"), "one").await;
    assert_eq!(one.usage().await.unwrap().events, 2);
    assert_eq!(two.usage().await.unwrap().events, 1);
    one.close().await.unwrap();
    two.close().await.unwrap();
    scope.tear_down().await;
}
