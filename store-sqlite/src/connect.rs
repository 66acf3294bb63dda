//! Opening the file: one connection that writes, a pool that reads, and clear words for what can
//! be wrong with a path.

use std::path::Path;

use mcp_event_store_core::{Durability, Error, Result};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection};

use crate::config::SqliteOptions;
use crate::error::classify;
use crate::schema;

/// Statements that a connection keeps prepared: all that this crate has.
const STATEMENTS: usize = 128;

/// The connections of an open file.
pub(crate) struct Connections {
    pub(crate) writer: SqliteConnection,
    pub(crate) readers: SqlitePool,
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
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging();
    let mut writer = connect.connect().await.map_err(classify)?;
    limit_size(&mut writer, options.max_file_size).await?;
    schema::migrate(&mut writer).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(options.readers)
        // A file does not hang up: asking before each read would cost as much as the read.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(connect.create_if_missing(false).pragma("query_only", "on"))
        .await
        .map_err(classify)?;
    Ok(Connections { writer, readers })
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
    if metadata.permissions().readonly() {
        return Err(refuse(path, "is read-only: make it writable, as with `chmod u+w`"));
    }
    Ok(())
}

fn refuse(path: &Path, reason: &str) -> Error {
    Error::invalid("sqlite path", format!("{} {reason}", path.display()))
}

/// Lets SQLite answer "full" before the disk is.
async fn limit_size(writer: &mut SqliteConnection, max: Option<u64>) -> Result<()> {
    let Some(max) = max else { return Ok(()) };
    let row = sqlx::query("PRAGMA page_size").fetch_one(&mut *writer).await.map_err(classify)?;
    let page: i64 = sqlx::Row::try_get(&row, 0).map_err(classify)?;
    let pages = max / u64::try_from(page).unwrap_or(1).max(1);
    let limit = format!("PRAGMA max_page_count = {}", pages.max(1));
    sqlx::raw_sql(AssertSqlSafe(limit)).execute(writer).await.map_err(classify)?;
    Ok(())
}
