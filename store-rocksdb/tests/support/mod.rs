//! What the tests of a directory need: stores on it, and its files.

#![allow(dead_code)] // Each test binary uses some of it.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use mcp_event_store_core::{Config, Error, Message, NewEvent, Result, Store, StreamId, StreamRef};
use mcp_event_store_rocksdb::FIELDS;
use rocksdb::{DB, Options};

pub(crate) async fn open(path: &Path, query: &str) -> Result<Store> {
    let url = format!("rocksdb://{}?{query}", path.display());
    let config = Config::builder().backend(FIELDS).url(&url).load().unwrap();
    mcp_event_store_rocksdb::open(&url, &config).await
}

pub(crate) async fn close(store: Store) {
    store.maintenance().close().await.unwrap();
}

pub(crate) fn stream(name: &str) -> StreamRef {
    StreamRef::sessionless(StreamId::new(name).unwrap())
}

pub(crate) fn event(bytes: usize) -> NewEvent {
    NewEvent::message(Message::from_value(&"x".repeat(bytes)).unwrap())
}

/// The error's text and all its causes'.
pub(crate) fn words(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The files with this extension, oldest first.
pub(crate) fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let fits = |path: &PathBuf| path.extension().is_some_and(|found| found == extension);
    let mut files: Vec<_> = entries.filter(fits).collect();
    // RocksDB numbers its files.
    files.sort();
    files
}

/// The closed database, with all its tables, by RocksDB alone.
pub(crate) fn raw(path: &Path) -> DB {
    let options = Options::default();
    let tables = DB::list_cf(&options, path).unwrap();
    DB::open_cf(&options, path, tables).unwrap()
}

/// Writes everything in the log of a closed database into files.
pub(crate) fn flush(path: &Path) {
    let tables = DB::list_cf(&Options::default(), path).unwrap();
    let db = raw(path);
    for table in tables {
        db.flush_cf(db.cf_handle(&table).unwrap()).unwrap();
    }
}

/// Changes the byte at `place`.
pub(crate) fn flip(file: &Path, place: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[place] ^= 0xff;
    std::fs::write(file, bytes).unwrap();
}

/// Where `text` stands in `file`.
pub(crate) fn find(file: &Path, text: &str) -> Option<usize> {
    let bytes = std::fs::read(file).unwrap();
    bytes.windows(text.len()).position(|window| window == text.as_bytes())
}
