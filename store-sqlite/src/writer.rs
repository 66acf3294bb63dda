//! The one connection that writes, behind a lock, with a latch.
//!
//! After an I/O error nobody knows what the disk holds, so the connection takes no more writes
//! until the store is opened again. A full disk or another process's lock does not latch.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};

use mcp_event_store_core::{Error, Result};
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard};

use crate::connect::{pages_in_use, set_max_pages};
use crate::error::{classify, classify_commit};

/// More than a file can have.
const UNLIMITED_PAGES: u64 = 0xffff_fffe;

/// The writing connection.
#[derive(Debug)]
pub(crate) struct Writer {
    /// `None` once closed. Held across a whole transaction: SQLite has one writer anyway.
    connection: Mutex<Option<SqliteConnection>>,
    /// Whether a transaction may be open: one that its task left behind is rolled back.
    in_transaction: AtomicBool,
    failed: AtomicBool,
    /// Pages that appends may let the file grow to.
    max_pages: Option<u64>,
    /// Whether a removal has let the file grow further.
    is_beyond: AtomicBool,
}

/// The connection, while it is locked.
pub(crate) struct Locked<'a> {
    writer: &'a Writer,
    guard: MutexGuard<'a, Option<SqliteConnection>>,
    /// Whether [`Writer::max_pages`] is lifted.
    lifted: bool,
}

/// A transaction that writes; every way out of it is [`finish`](Transaction::finish).
pub(crate) struct Transaction<'a>(Locked<'a>);

impl Writer {
    pub(crate) fn new(connection: SqliteConnection, max_pages: Option<u64>) -> Self {
        Self {
            connection: Mutex::new(Some(connection)),
            in_transaction: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            max_pages,
            is_beyond: AtomicBool::new(false),
        }
    }

    /// Whether the connection takes writes.
    pub(crate) fn check(&self) -> Result<()> {
        if self.failed.load(Ordering::SeqCst) {
            let message = "the disk failed while SQLite used it, so nothing more is written: check \
                           the disk, then open the store again";
            return Err(Error::Backend { message: message.into(), cause: None });
        }
        Ok(())
    }

    /// Waits for the connection.
    pub(crate) async fn lock(&self) -> Result<Locked<'_>> {
        let guard = self.connection.lock().await;
        self.check()?;
        if guard.is_none() {
            return Err(Error::Closed);
        }
        let mut locked = Locked { writer: self, guard, lifted: false };
        if self.in_transaction.load(Ordering::SeqCst) {
            locked.roll_back().await;
        }
        Ok(locked)
    }

    /// Waits for the connection, for a transaction that begins and commits by itself.
    pub(crate) async fn lock_for_transaction(&self) -> Result<Locked<'_>> {
        let locked = self.lock().await?;
        self.in_transaction.store(true, Ordering::SeqCst);
        Ok(locked)
    }

    /// [`lock_for_transaction`](Self::lock_for_transaction), for what makes the file grow. Where a
    /// removal went beyond the limit, SQLite's own limit is the file's size, and what was freed
    /// then belongs to the next removal.
    pub(crate) async fn lock_for_append(&self) -> Result<Locked<'_>> {
        let mut locked = self.lock_for_transaction().await?;
        if let Some(max) = self.max_pages.filter(|_| self.is_beyond.load(Ordering::SeqCst))
            && pages_in_use(&mut locked).await? >= max
        {
            let full = "the SQLite file is full: free space, or raise max_file_size";
            let full = Error::Unavailable { message: full.into(), cause: None };
            return locked.settle(Err(full)).await;
        }
        Ok(locked)
    }

    /// Waits for the connection and for the file's lock.
    pub(crate) async fn begin(&self) -> Result<Transaction<'_>> {
        self.begin_in(self.lock_for_transaction().await?).await
    }

    /// [`begin`](Self::begin), for what makes room in the file. Before it frees a page it may need
    /// one, so it may go beyond the limit that keeps appends out of a full file.
    pub(crate) async fn begin_removal(&self) -> Result<Transaction<'_>> {
        let mut connection = self.lock_for_transaction().await?;
        if self.max_pages.is_some() {
            connection.lifted = true;
            set_max_pages(&mut connection, UNLIMITED_PAGES).await?;
        }
        self.begin_in(connection).await
    }

    async fn begin_in<'a>(&self, mut connection: Locked<'a>) -> Result<Transaction<'a>> {
        match sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await {
            Ok(_) => Ok(Transaction(connection)),
            Err(error) => connection.settle(Err(classify(error))).await,
        }
    }

    /// Closes the connection, which checkpoints the file if no one else has it open.
    pub(crate) async fn close(&self) -> Result<()> {
        match self.connection.lock().await.take() {
            Some(connection) => connection.close().await.map_err(classify),
            None => Ok(()),
        }
    }
}

impl Locked<'_> {
    /// Ends a transaction that carried its own `COMMIT`: rolls back what an error left open.
    pub(crate) async fn settle<T>(mut self, outcome: Result<T>) -> Result<T> {
        if let Err(error) = &outcome {
            self.latch_on(error);
            self.roll_back().await;
        }
        if let Some(pages) = self.writer.max_pages.filter(|_| self.lifted) {
            // Only an append would notice that this failed, and the next removal tries again.
            let set = set_max_pages(&mut self, pages).await;
            let is_beyond = set.map_or(true, |allowed| allowed > pages);
            self.writer.is_beyond.store(is_beyond, Ordering::SeqCst);
        }
        self.writer.in_transaction.store(false, Ordering::SeqCst);
        outcome
    }

    async fn roll_back(&mut self) {
        // Without a transaction this fails, and nothing is left open either.
        let _ = sqlx::raw_sql("ROLLBACK").execute(&mut **self).await;
        self.writer.in_transaction.store(false, Ordering::SeqCst);
    }

    fn latch_on(&self, error: &Error) {
        if is_io_error(error) {
            tracing::error!(%error, "the SQLite store takes no more writes until it is reopened");
            self.writer.failed.store(true, Ordering::SeqCst);
        }
    }
}

impl Transaction<'_> {
    /// Commits what went well, rolls back what did not.
    pub(crate) async fn finish<T>(mut self, outcome: Result<T>) -> Result<T> {
        let committed = match outcome {
            Ok(value) => {
                let commit = sqlx::raw_sql("COMMIT").execute(&mut *self).await;
                commit.map(|_| value).map_err(classify_commit)
            }
            Err(error) => Err(error),
        };
        self.0.settle(committed).await
    }
}

/// Whether the driver's error behind `error` leaves open what reached the disk.
fn is_io_error(error: &Error) -> bool {
    let cause = error.cause().and_then(|cause| cause.downcast_ref::<sqlx::Error>());
    cause.is_some_and(crate::error::is_io_error)
}

impl Deref for Locked<'_> {
    type Target = SqliteConnection;

    #[allow(clippy::expect_used, reason = "`lock` lets no one in once the connection is gone")]
    fn deref(&self) -> &SqliteConnection {
        self.guard.as_ref().expect("the connection is open while it is locked")
    }
}

impl DerefMut for Locked<'_> {
    #[allow(clippy::expect_used, reason = "`lock` lets no one in once the connection is gone")]
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.guard.as_mut().expect("the connection is open while it is locked")
    }
}

impl Deref for Transaction<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.0
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.0
    }
}
