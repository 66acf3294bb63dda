//! The connections that read, kept open and lent out.
//!
//! The driver's own pool asks a connection after each use whether it still works, which costs
//! another change of threads for each page, and lends the one that rested longest, whose cache is
//! the coldest. A file does not hang up, so this one asks nothing, and lends the one that was used
//! last. A connection that is not given back, because its statement failed or was dropped half-way,
//! is closed.

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
    /// Guards the connections that no one uses; nothing awaits under it.
    idle: Mutex<Vec<SqliteConnection>>,
}

/// A connection in use.
pub(crate) struct Lent<'a> {
    readers: &'a Readers,
    connection: SqliteConnection,
    _room: SemaphorePermit<'a>,
}

impl Readers {
    /// Opens one connection, to see that it can be done; `size` is the most that there will be.
    pub(crate) async fn open(connect: SqliteConnectOptions, size: u32) -> Result<Self> {
        let first = connect.connect().await.map_err(classify)?;
        let room = Semaphore::new(usize::try_from(size).unwrap_or(Semaphore::MAX_PERMITS));
        Ok(Self { connect, size, room, idle: Mutex::new(vec![first]) })
    }

    /// Waits for a connection that is free, or opens one.
    pub(crate) async fn lend(&self) -> Result<Lent<'_>> {
        let room = match timeout(PATIENCE, self.room.acquire()).await {
            Ok(Ok(room)) => room,
            Ok(Err(_closed)) => return Err(Error::Closed),
            Err(elapsed) => {
                let message = "no SQLite connection came free in time: raise readers, or ask for less at once";
                return Err(Error::unavailable(message, elapsed));
            }
        };
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect.connect().await.map_err(classify)?,
        };
        Ok(Lent { readers: self, connection, _room: room })
    }

    /// All rows that `statement` finds.
    pub(crate) async fn all(&self, statement: Statement) -> Result<Vec<SqliteRow>> {
        let mut lent = self.lend().await?;
        let rows = statement.fetch_all(lent.connection()).await.map_err(classify)?;
        lent.give_back();
        Ok(rows)
    }

    /// The one row that `statement` finds.
    pub(crate) async fn one(&self, statement: Statement) -> Result<SqliteRow> {
        let row = self.optional(statement).await?;
        row.ok_or_else(|| classify(sqlx::Error::RowNotFound))
    }

    /// The row that `statement` finds, if there is one.
    pub(crate) async fn optional(&self, statement: Statement) -> Result<Option<SqliteRow>> {
        let mut lent = self.lend().await?;
        let row = statement.fetch_optional(lent.connection()).await.map_err(classify)?;
        lent.give_back();
        Ok(row)
    }

    /// Waits until every connection is given back, closes them, and lends no more.
    pub(crate) async fn close(&self) {
        // It fails if all are closed already.
        let all = self.room.acquire_many(self.size).await;
        self.room.close();
        let idle = std::mem::take(&mut *self.idle());
        for connection in idle {
            if let Err(error) = connection.close().await {
                tracing::debug!(%error, "a SQLite connection was not closed in good order");
            }
        }
        drop(all);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent<'_> {
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Gives a connection back that has answered everything it was asked.
    pub(crate) fn give_back(self) {
        self.readers.idle().push(self.connection);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tempfile::TempDir;

    use super::*;

    async fn open(size: u32) -> (TempDir, Readers) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("readers.db");
        let connect = SqliteConnectOptions::new().filename(file).create_if_missing(true);
        (folder, Readers::open(connect, size).await.unwrap())
    }

    /// Leaves something that only this connection sees.
    async fn mark(lent: &mut Lent<'_>) {
        sqlx::query("CREATE TEMP TABLE mark (x)").execute(lent.connection()).await.unwrap();
    }

    async fn is_marked(readers: &Readers) -> bool {
        let mark = sqlx::query("SELECT 1 FROM sqlite_temp_master WHERE name = 'mark'");
        readers.optional(mark).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn the_connection_that_was_used_last_is_lent_again() {
        let (_folder, readers) = open(2).await;
        let (mut first, second) = (readers.lend().await.unwrap(), readers.lend().await.unwrap());
        mark(&mut first).await;
        second.give_back();
        first.give_back();
        assert!(is_marked(&readers).await);
        assert!(is_marked(&readers).await);
    }

    #[tokio::test]
    async fn a_connection_that_is_not_given_back_makes_room_for_another() {
        let (_folder, readers) = open(1).await;
        let mut only = readers.lend().await.unwrap();
        mark(&mut only).await;
        assert!(readers.lend().now_or_never().is_none());
        drop(only);
        assert!(!is_marked(&readers).await);
    }

    #[tokio::test]
    async fn closing_waits_for_what_is_lent_and_lends_no_more() {
        let (_folder, readers) = open(2).await;
        let lent = readers.lend().await.unwrap();
        let mut closing = Box::pin(readers.close());
        assert!(closing.as_mut().now_or_never().is_none());
        let refused = readers.lend();
        lent.give_back();
        closing.await;
        assert!(matches!(refused.await, Err(Error::Closed)));
        assert!(readers.idle().is_empty());
        readers.close().await;
    }
}
