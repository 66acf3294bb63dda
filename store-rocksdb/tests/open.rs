//! What is said about a directory that cannot be used, and that nothing is lost by it.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mcp_event_store_core::{Clock, Durability, Error, EventStoreExt};
use mcp_event_store_rocksdb::{RocksBackend, RocksOptions};
use rocksdb::{DB, Options};
use support::{close, event, open, raw, stream, words};

#[tokio::test]
async fn a_directory_in_one_that_does_not_exist() {
    let folder = tempfile::tempdir().unwrap();
    let error = open(&folder.path().join("missing/events"), "").await.unwrap_err();
    assert!(matches!(error, Error::InvalidInput { .. }));
    assert!(words(&error).contains("missing, which is no directory: create it"), "{error}");
    assert!(!folder.path().join("missing").exists());
}

#[tokio::test]
async fn a_path_that_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    std::fs::write(&path, "notes").unwrap();
    let error = open(&path, "").await.unwrap_err();
    assert!(matches!(error, Error::InvalidInput { .. }));
    assert!(words(&error).contains("is no directory: give the path of a directory"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "notes");
}

#[tokio::test]
async fn a_directory_with_other_files() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes.txt"), "notes").unwrap();
    let error = open(folder.path(), "").await.unwrap_err();
    assert!(matches!(error, Error::InvalidInput { .. }));
    let text = words(&error);
    assert!(text.contains("holds notes.txt and no RocksDB database: choose an empty"), "{text}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// RocksDB would begin a new database and delete the files of the old one.
#[tokio::test]
async fn a_database_that_lost_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    close(open(folder.path(), "").await.unwrap()).await;
    support::flush(folder.path());
    let tables = support::files(folder.path(), "sst");
    std::fs::remove_file(folder.path().join("CURRENT")).unwrap();
    let error = open(folder.path(), "").await.unwrap_err();
    assert!(words(&error).contains("restore a backup of the whole directory"), "{error}");
    assert!(!tables.is_empty());
    assert_eq!(support::files(folder.path(), "sst"), tables);
}

#[tokio::test]
async fn an_empty_directory_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    close(open(folder.path(), "").await.unwrap()).await;
}

#[tokio::test]
async fn a_read_only_directory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    close(open(&path, "").await.unwrap()).await;
    let mut permissions = path.metadata().unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    let error = open(&path, "").await.unwrap_err();
    assert!(words(&error).contains("is read-only: make it writable"), "{error}");
}

/// Makes a database of another application.
fn make_other(path: &Path, table: &str) {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    let db = DB::open_cf(&options, path, ["default", table]).unwrap();
    db.put_cf(db.cf_handle(table).unwrap(), "theirs", "a").unwrap();
}

#[tokio::test]
async fn another_applications_database() {
    for table in ["default", "streams", "theirs"] {
        let folder = tempfile::tempdir().unwrap();
        make_other(folder.path(), table);
        let error = open(folder.path(), "").await.unwrap_err();
        assert!(words(&error).contains("database of another application: choose"), "{error}");
        let db = raw(folder.path());
        let theirs = db.get_cf(db.cf_handle(table).unwrap(), "theirs").unwrap();
        assert_eq!(theirs.unwrap(), b"a");
    }
}

#[tokio::test]
async fn a_creation_that_was_cut_short_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    drop(DB::open_cf(&options, folder.path(), ["default", "streams", "names"]).unwrap());
    let store = open(folder.path(), "").await.unwrap();
    store.events().store_event(&stream("a"), event(1)).await.unwrap();
    close(store).await;
}

#[tokio::test]
async fn a_newer_schema() {
    for table in [None, Some("newer")] {
        let folder = tempfile::tempdir().unwrap();
        close(open(folder.path(), "").await.unwrap()).await;
        let mut db = raw(folder.path());
        let mut mark = db.get("schema").unwrap().unwrap();
        mark[..8].copy_from_slice(&99_u64.to_be_bytes());
        db.put("schema", mark).unwrap();
        if let Some(table) = table {
            db.create_cf(table, &Options::default()).unwrap();
        }
        drop(db);
        let error = open(folder.path(), "").await.unwrap_err();
        let text = words(&error);
        assert!(text.contains("schema version 99") && text.contains("use the newer"), "{text}");
    }
}

#[tokio::test]
async fn a_directory_that_is_open_in_this_process() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path(), "").await.unwrap();
    let error = open(folder.path(), "lock_timeout=50ms").await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(words(&error).contains("is open in this process already: share that store"), "{error}");
    first.events().store_event(&stream("a"), event(1)).await.unwrap();
    close(first).await;
    close(open(folder.path(), "lock_timeout=50ms").await.unwrap()).await;
}

#[tokio::test]
async fn a_store_that_was_dropped_lets_its_directory_go() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..5 {
        let store = open(folder.path(), "").await.unwrap();
        assert_eq!(store.events().read_to_vec(&stream("a")).await.unwrap().len(), n);
        store.events().store_event(&stream("a"), event(1)).await.unwrap();
    }
}

const HOLD: &str = "MCP_EVENT_STORE_TEST_HOLD";

/// Not a test of its own: another process that has a directory open until it is killed.
#[tokio::test]
async fn hold_a_directory_open() {
    let Some(path) = std::env::var_os(HOLD) else { return };
    let store = open(Path::new(&path), "").await.unwrap();
    println!("\nopen");
    let _ = std::io::stdin().read(&mut [0]);
    drop(store);
}

/// Starts that process.
fn hold(path: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["hold_a_directory_open", "--exact", "--nocapture"]).env(HOLD, path);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "open"), "the other process opens the directory");
    child
}

#[tokio::test]
async fn a_directory_that_another_process_has_open() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = hold(folder.path());
    let error = open(folder.path(), "lock_timeout=50ms").await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let holder = format!("is open in process {}", other.id());
    assert!(words(&error).contains(&holder), "{error}");
    assert!(words(&error).contains(&folder.path().display().to_string()), "{error}");
    // It is waited for.
    let path = folder.path().to_owned();
    let waiting = tokio::spawn(async move { open(&path, "lock_timeout=60s").await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    other.kill().unwrap();
    other.wait().unwrap();
    close(waiting.await.unwrap().unwrap()).await;
}

#[tokio::test]
async fn of_several_opens_at_once_one_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let lock_timeout = Duration::from_millis(50);
    let options = RocksOptions { lock_timeout, ..RocksOptions::default() };
    let path = folder.path().join("events");
    let opens = (0..10)
        .map(|_| RocksBackend::open(&path, &options, Durability::Committed, Clock::system()));
    let opened = futures_util::future::join_all(opens).await;
    assert_eq!(opened.iter().filter(|opened| opened.is_ok()).count(), 1);
}
