//! The connections that read, kept open and lent out.
//!
//! The driver's own pool asks a connection after each use whether it still works, which costs
//! another change of threads for each page, and lends the one that rested longest, whose cache is
//! the coldest. A file does not hang up, so this one asks nothing, and lends the one that was used
//! last. A statement that is dropped half-way is reset by its connection's thread before the next;
//! a connection that fails is closed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mcp_event_store_core::{Error, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::error::classify;
use crate::rows::Statement;

/// How long a read waits for a connection to come free.
const PATIENCE: Duration = Duration::from_secs(30);

/// A bounded number of connections.
#[derive(Debug)]
pub(crate) struct Readers {
    connect: SqliteConnectOptions,
    size: u32,
    room: Semaphore,
    is_closed: AtomicBool,
    /// Guards the connections that no one uses; nothing awaits under it. The last is lent first.
    idle: Mutex<Vec<SqliteConnection>>,
}

/// A connection in use. Dropping it gives it back.
pub(crate) struct Lent<'a> {
    readers: &'a Readers,
    /// `None` once it has failed.
    connection: Option<SqliteConnection>,
    /// Whether its statement has ended.
    is_done: bool,
    _room: SemaphorePermit<'a>,
}

impl Readers {
    /// Opens one connection, to see that it can be done; `size` is the most that there will be.
    pub(crate) async fn open(connect: SqliteConnectOptions, size: u32) -> Result<Self> {
        let first = connect.connect().await.map_err(classify)?;
        let size = size.clamp(1, u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        let (room, idle) = (Semaphore::new(size as usize), Mutex::new(vec![first]));
        Ok(Self { connect, size, room, is_closed: AtomicBool::new(false), idle })
    }

    /// Waits for a connection that is free, or opens one.
    pub(crate) async fn lend(&self) -> Result<Lent<'_>> {
        self.check_open()?;
        let room = timeout(PATIENCE, self.room.acquire()).await.map_err(|elapsed| {
            let message = "no SQLite connection came free in time: raise readers, or ask for less \
                           at once";
            Error::unavailable(message, elapsed)
        })?;
        let room = room.map_err(|_| Error::Closed)?;
        // It may have been closed meanwhile.
        self.check_open()?;
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect.connect().await.map_err(classify)?,
        };
        Ok(Lent { readers: self, connection: Some(connection), is_done: false, _room: room })
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closed.load(Ordering::SeqCst) { Err(Error::Closed) } else { Ok(()) }
    }

    /// All rows that `statement` finds.
    pub(crate) async fn all(&self, statement: Statement<'_>) -> Result<Vec<SqliteRow>> {
        let mut lent = self.lend().await?;
        let rows = statement.fetch_all(lent.connection()?).await;
        lent.end(rows)
    }

    /// The one row that `statement` finds.
    pub(crate) async fn one(&self, statement: Statement<'_>) -> Result<SqliteRow> {
        let row = self.optional(statement).await?;
        row.ok_or_else(|| classify(sqlx::Error::RowNotFound))
    }

    /// The row that `statement` finds, if there is one.
    pub(crate) async fn optional(&self, statement: Statement<'_>) -> Result<Option<SqliteRow>> {
        let mut lent = self.lend().await?;
        let row = statement.fetch_optional(lent.connection()?).await;
        lent.end(row)
    }

    /// Lends no more, waits until every connection is given back, and closes all.
    pub(crate) async fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        let _all = self.room.acquire_many(self.size).await;
        loop {
            let next = self.idle().pop();
            let Some(connection) = next else { break };
            if let Err(error) = connection.close().await {
                tracing::debug!(%error, "a SQLite connection was not closed in good order");
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent<'_> {
    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection> {
        self.connection.as_mut().ok_or(Error::Closed)
    }

    /// Gives the connection back after its statement, with what came of that. One that failed is
    /// closed: its thread may be gone.
    pub(crate) fn end<T>(mut self, outcome: sqlx::Result<T>) -> Result<T> {
        self.is_done = true;
        if outcome.is_err() {
            self.connection = None;
        }
        outcome.map_err(classify)
    }
}

impl Drop for Lent<'_> {
    /// Before its place comes free, so that whoever has all places finds all connections. One whose
    /// statement was dropped may be busy with it for a moment, and is lent last.
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let mut idle = self.readers.idle();
        let place = if self.is_done { idle.len() } else { 0 };
        idle.insert(place, connection);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, TryStreamExt};
    use tempfile::TempDir;

    use super::*;

    const DEADLINE: Duration = Duration::from_mins(1);

    async fn open(size: u32) -> (TempDir, Readers) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("readers.db");
        let connect = SqliteConnectOptions::new().filename(file).create_if_missing(true);
        (folder, Readers::open(connect, size).await.unwrap())
    }

    /// Lends a connection that is told from others by what only it sees.
    async fn lend_marked(readers: &Readers) -> Lent<'_> {
        let mut lent = readers.lend().await.unwrap();
        let connection = lent.connection().unwrap();
        sqlx::query("CREATE TEMP TABLE mark (x)").execute(connection).await.unwrap();
        lent
    }

    async fn is_marked(readers: &Readers) -> bool {
        let mark = sqlx::query("SELECT 1 FROM sqlite_temp_master WHERE name = 'mark'");
        let found = timeout(DEADLINE, readers.optional(mark)).await;
        found.expect("the connection is busy").unwrap().is_some()
    }

    #[tokio::test]
    async fn the_connection_that_was_used_last_is_lent_first() {
        let (_folder, readers) = open(2).await;
        let (first, second) = (lend_marked(&readers).await, readers.lend().await.unwrap());
        second.end(Ok(())).unwrap();
        first.end(Ok(())).unwrap();
        assert!(is_marked(&readers).await);
        assert!(is_marked(&readers).await);
    }

    #[tokio::test]
    async fn a_connection_whose_read_was_dropped_is_lent_last_and_reads_again() {
        const ENDLESS: &str =
            "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n";
        let (_folder, readers) = open(2).await;
        let (mut dropped, other) = (lend_marked(&readers).await, readers.lend().await.unwrap());
        let mut rows = sqlx::query(ENDLESS).fetch(dropped.connection().unwrap());
        assert!(rows.try_next().await.unwrap().is_some());
        assert!(readers.lend().now_or_never().is_none());
        drop(rows);
        other.end(Ok(())).unwrap();
        drop(dropped);
        assert!(!is_marked(&readers).await);
        let _other = readers.lend().await.unwrap();
        assert!(is_marked(&readers).await);
    }

    #[tokio::test]
    async fn a_connection_that_failed_makes_room_for_another() {
        let (_folder, readers) = open(1).await;
        lend_marked(&readers).await.end(Ok(())).unwrap();
        assert!(is_marked(&readers).await);
        assert!(readers.all(sqlx::query("SELECT * FROM nothing")).await.is_err());
        assert!(!is_marked(&readers).await);
    }

    #[tokio::test]
    async fn closing_waits_for_what_is_lent_and_lends_no_more() {
        let (_folder, readers) = open(2).await;
        let (lent, other) = (readers.lend().await.unwrap(), readers.lend().await.unwrap());
        let mut waiting = Box::pin(readers.lend());
        assert!(waiting.as_mut().now_or_never().is_none());
        let (mut closing, mut again) = (Box::pin(readers.close()), Box::pin(readers.close()));
        assert!(closing.as_mut().now_or_never().is_none());
        assert!(again.as_mut().now_or_never().is_none());
        assert!(matches!(readers.lend().await, Err(Error::Closed)));
        drop(other);
        assert!(matches!(waiting.await, Err(Error::Closed)));
        assert!(closing.as_mut().now_or_never().is_none());
        drop(lent);
        tokio::join!(closing, again);
        assert!(readers.idle().is_empty());
        readers.close().await;
    }
}
