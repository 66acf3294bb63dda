//! Opening the file: one connection that writes, some that read, and clear words for what can
//! be wrong with a path.

use std::path::Path;
use std::time::Duration;

use mcp_event_store_core::backend::PageLimit;
use mcp_event_store_core::{Durability, Error, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, RawSql, Row, SqliteConnection};
use tokio::time::{Instant, sleep};

use crate::config::SqliteOptions;
use crate::error::{classify, is_locked};
use crate::readers::Readers;
use crate::schema;

/// Statements that a connection keeps prepared: all that this crate has.
const STATEMENTS: usize = 128;

/// The connections of an open file.
pub(crate) struct Connections {
    pub(crate) writer: SqliteConnection,
    /// Pages that appends may let the file grow to.
    pub(crate) max_pages: Option<u64>,
    pub(crate) readers: Readers,
}

/// Opens or creates the database at `path`.
pub(crate) async fn connect(
    path: &Path,
    options: &SqliteOptions,
    durability: Durability,
) -> Result<Connections> {
    check_path(path)?;
    let connect = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(match durability {
            Durability::Committed => SqliteSynchronous::Full,
            Durability::Relaxed => SqliteSynchronous::Normal,
        })
        .busy_timeout(options.busy_timeout)
        // After a burst the write-ahead log shrinks to this when it starts over.
        .pragma("journal_size_limit", "67108864")
        .pragma("cache_size", cache_size(options.page_cache))
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging();
    let mut writer = connect_patiently(&connect, options.busy_timeout).await.map_err(classify)?;
    let max_pages = limit_size(&mut writer, options.max_file_size).await?;
    schema::migrate(&mut writer).await?;
    let reader = connect.create_if_missing(false).pragma("query_only", "on");
    let readers = Readers::open(reader.row_buffer_size(page_rows()), options.readers).await?;
    Ok(Connections { writer, max_pages, readers })
}

/// Rows of a page and its stream. So many may wait for whoever asked for them, so that the thread
/// that reads need not stop in the middle of a page until some are taken.
fn page_rows() -> usize {
    usize::try_from(PageLimit::PAGE.events).unwrap_or_default() + 1
}

/// A size as SQLite takes it: in KiB, and negative to tell it from a number of pages.
fn cache_size(bytes: u64) -> String {
    format!("-{}", (bytes / 1024).max(1))
}

/// Connects, for `at_most` again and again: SQLite itself does not wait for a lock that is in the
/// way of a new file's write-ahead log.
async fn connect_patiently(
    connect: &SqliteConnectOptions,
    at_most: Duration,
) -> sqlx::Result<SqliteConnection> {
    const PAUSE: Duration = Duration::from_millis(5);
    let give_up = Instant::now() + at_most;
    loop {
        match connect.connect().await {
            Err(error) if is_locked(&error) && Instant::now() < give_up => sleep(PAUSE).await,
            connected => return connected,
        }
    }
}

/// Finds what SQLite would report as a mere "unable to open database file".
fn check_path(path: &Path) -> Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(refuse(path, "is no file: give the path of a file")),
    };
    if !directory.is_dir() {
        let reason = format!("lies in {}, which is no directory: create it", directory.display());
        return Err(refuse(path, &reason));
    }
    let Ok(metadata) = path.metadata() else { return Ok(()) };
    if metadata.is_dir() {
        return Err(refuse(path, "is a directory: give the path of a file in it"));
    }
    if !metadata.is_file() {
        return Err(refuse(path, "is a pipe or a device: give the path of a file"));
    }
    if metadata.permissions().readonly() {
        return Err(refuse(path, "is read-only: make it writable, as with `chmod u+w`"));
    }
    Ok(())
}

fn refuse(path: &Path, reason: &str) -> Error {
    Error::invalid("sqlite path", format!("{} {reason}", path.display()))
}

/// Lets SQLite answer "full" before the disk is; answers the limit in pages.
async fn limit_size(writer: &mut SqliteConnection, max: Option<u64>) -> Result<Option<u64>> {
    let Some(max) = max else { return Ok(None) };
    let page = number(writer, sqlx::raw_sql("PRAGMA page_size")).await?;
    let pages = (max / page.max(1)).max(1);
    set_max_pages(writer, pages).await?;
    Ok(Some(pages))
}

/// Sets how many pages the file may have, and answers how many it then may: SQLite never sets
/// less than it has.
pub(crate) async fn set_max_pages(writer: &mut SqliteConnection, pages: u64) -> Result<u64> {
    let limit = AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
    number(writer, sqlx::raw_sql(limit)).await
}

/// Pages that hold something.
pub(crate) async fn pages_in_use(writer: &mut SqliteConnection) -> Result<u64> {
    let sql = "SELECT page_count - freelist_count FROM pragma_page_count, pragma_freelist_count";
    number(writer, sqlx::raw_sql(sql)).await
}

async fn number(writer: &mut SqliteConnection, query: RawSql) -> Result<u64> {
    let row = query.fetch_one(writer).await.map_err(classify)?;
    row.try_get(0).map(i64::cast_unsigned).map_err(classify)
}
