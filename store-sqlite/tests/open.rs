//! What is said about a file that cannot be used, and that nothing is lost by it.

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::time::Duration;

use mcp_event_store_core::{
    Clock, Config, Durability, Error, EventStoreExt, Message, NewEvent, Result, Store, StreamId,
    StreamRef,
};
use mcp_event_store_sqlite::{FIELDS, SqliteBackend, SqliteOptions};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

async fn open_configured(path: &Path, query: &str) -> Result<Store> {
    let url = format!("sqlite://{}?{query}", path.display());
    let config = Config::builder().backend(FIELDS).url(&url).load().unwrap();
    mcp_event_store_sqlite::open(&url, &config).await
}

async fn raw(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    options.connect().await.unwrap()
}

fn stream(name: &str) -> StreamRef {
    StreamRef::sessionless(StreamId::new(name).unwrap())
}

fn event(bytes: usize) -> NewEvent {
    NewEvent::message(Message::from_value(&"x".repeat(bytes)).unwrap())
}

/// The error's text and all its causes'.
fn words(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn a_directory_that_does_not_exist() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/events.db");
    let error = open_configured(&path, "").await.unwrap_err();
    assert!(matches!(error, Error::InvalidInput { .. }));
    assert!(words(&error).contains("missing, which is no directory: create it"), "{error}");
    assert!(!folder.path().join("missing").exists());
}

#[tokio::test]
async fn a_path_that_is_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let error = open_configured(folder.path(), "").await.unwrap_err();
    assert!(words(&error).contains("is a directory: give the path of a file in it"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_path_that_is_a_device() {
    let error = open_configured(Path::new("/dev/null"), "").await.unwrap_err();
    assert!(matches!(error, Error::InvalidInput { .. }), "{error:?}");
    assert!(words(&error).contains("is a pipe or a device: give the path of a file"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "not a database, ".repeat(100)).unwrap();
    let error = open_configured(&path, "").await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert!(words(&error).contains("no SQLite database: choose another path"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "not a database, ".repeat(100));
}

#[tokio::test]
async fn a_read_only_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    open_configured(&path, "").await.unwrap().maintenance().close().await.unwrap();
    let mut permissions = path.metadata().unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    let error = open_configured(&path, "").await.unwrap_err();
    assert!(words(&error).contains("is read-only: make it writable"), "{error}");
}

#[tokio::test]
async fn another_applications_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    let mut other = raw(&path).await;
    sqlx::raw_sql("CREATE TABLE theirs (a)").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    let error = open_configured(&path, "").await.unwrap_err();
    assert!(words(&error).contains("database of another application: choose another"), "{error}");
}

#[tokio::test]
async fn a_newer_schema() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    open_configured(&path, "").await.unwrap().maintenance().close().await.unwrap();
    let mut newer = raw(&path).await;
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&mut newer).await.unwrap();
    newer.close().await.unwrap();
    let error = open_configured(&path, "").await.unwrap_err();
    let text = words(&error);
    assert!(text.contains("schema version 99") && text.contains("use the newer program"), "{text}");
}

#[tokio::test]
async fn a_locked_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let store = open_configured(&path, "busy_timeout=50ms").await.unwrap();
    let mut other = raw(&path).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let error = store.events().store_event(&stream("a"), event(1)).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(words(&error).contains("locked by another process"), "{error}");
    let refused = open_configured(&path, "busy_timeout=50ms").await.unwrap_err();
    assert!(words(&refused).contains("locked by another process"), "{refused}");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    store.events().store_event(&stream("a"), event(1)).await.unwrap();
    assert_eq!(store.events().read_to_vec(&stream("a")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_file_refuses_and_goes_on_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let store = open_configured(&path, "max_file_size=1MiB").await.unwrap();
    let mut stored = 0;
    let error = loop {
        match store.events().store_event(&stream("big"), event(20_000)).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 100, "1 MiB cannot hold 100 events of 20 kB");
    };
    assert!(error.is_retryable(), "a full disk is no reason to latch: {error:?}");
    assert!(words(&error).contains("full: free space, or raise max_file_size"), "{error}");
    assert_eq!(store.events().read_to_vec(&stream("big")).await.unwrap().len(), stored);
    store.events().delete_stream(&stream("big")).await.unwrap();
    store.events().store_event(&stream("b"), event(20_000)).await.unwrap();
}

#[tokio::test]
async fn several_processes_may_start_at_once_on_an_empty_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let options =
        SqliteOptions { busy_timeout: Duration::from_secs(30), ..SqliteOptions::default() };
    let opens = (0..10)
        .map(|_| SqliteBackend::open(&path, &options, Durability::Committed, Clock::system()));
    for opened in futures_util::future::join_all(opens).await {
        opened.unwrap();
    }
}
