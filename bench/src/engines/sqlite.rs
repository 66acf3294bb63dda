//! SQLite by itself: prepared inserts through the store's driver, into a table like the store's.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};
use tokio::sync::Mutex;

use super::folder::Folder;
use super::{Connection, Engine, Raw, Scan};
use crate::messages::Messages;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS events (
    stream INTEGER NOT NULL, seq INTEGER NOT NULL, tag INTEGER NOT NULL,
    stored_at INTEGER NOT NULL, running_bytes INTEGER NOT NULL, retry_ms INTEGER, message TEXT);
    CREATE UNIQUE INDEX IF NOT EXISTS events_place ON events (stream, seq)";
const INSERT: &str = "INSERT INTO events VALUES (?,?,?,?,?,?,?)";
const SCAN: &str = "SELECT seq, tag, stored_at, running_bytes, retry_ms, message FROM events
    WHERE stream = ? AND seq >= 0 ORDER BY seq";

/// Inserts go to these in turn, as from as many appenders.
const STREAMS: i64 = 64;

pub(super) struct Sqlite {
    folder: Folder,
    description: String,
    inserted: Arc<AtomicI64>,
    /// The connection of all lanes that insert row by row: SQLite has one writer, and taking turns
    /// is kinder to them than waiting for the file's lock.
    shared: Arc<Mutex<SqliteConnection>>,
}

impl Sqlite {
    pub(super) async fn open(url: &str) -> anyhow::Result<Self> {
        let folder = Folder::beside(url)?;
        let mut connection = connect(folder.path("raw.db")).await?;
        let version: String =
            sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut connection).await?;
        Ok(Self {
            folder,
            description: format!("SQLite {version} through sqlx, WAL, synchronous=FULL"),
            inserted: Arc::default(),
            shared: Arc::new(Mutex::new(connection)),
        })
    }
}

async fn connect(path: PathBuf) -> anyhow::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(std::time::Duration::from_secs(30))
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    sqlx::raw_sql(TABLE).execute(&mut connection).await?;
    Ok(connection)
}

#[async_trait]
impl Engine for Sqlite {
    fn description(&self) -> &str {
        &self.description
    }

    fn store_url(&self, name: &str) -> String {
        self.folder.url("sqlite", &format!("{name}.db"))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn raw(&self) -> Option<&dyn Raw> {
        Some(self)
    }

    async fn stored_bytes(&self) -> anyhow::Result<u64> {
        // What is still in the log moves into the file, and is not counted twice.
        let mut connection = self.shared.lock().await;
        sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut *connection).await?;
        self.folder.bytes()
    }

    async fn clean(&self) -> anyhow::Result<()> {
        self.folder.clear()?;
        *self.shared.lock().await = connect(self.folder.path("raw.db")).await?;
        Ok(())
    }
}

#[async_trait]
impl Raw for Sqlite {
    fn connections(&self) -> &'static [usize] {
        &[1]
    }

    fn naive_connections(&self) -> &'static [usize] {
        &[1, 64]
    }

    async fn connection(&self, messages: Messages) -> anyhow::Result<Box<dyn Connection>> {
        let (connection, inserted) = (self.shared.clone(), self.inserted.clone());
        Ok(Box::new(Inserts { connection, inserted, messages }))
    }

    async fn stream(&self, events: u64, mut messages: Messages) -> anyhow::Result<Box<dyn Scan>> {
        // Beside those that lanes insert into.
        let stream = STREAMS + i64::try_from(events)?;
        let mut connection = connect(self.folder.path("raw.db")).await?;
        let mut transaction = connection.begin().await?;
        for seq in 0..i64::try_from(events)? {
            insert(&mut transaction, stream, seq, &mut messages).await?;
        }
        transaction.commit().await?;
        Ok(Box::new(Stream { connection, stream }))
    }
}

struct Inserts {
    connection: Arc<Mutex<SqliteConnection>>,
    inserted: Arc<AtomicI64>,
    messages: Messages,
}

#[async_trait]
impl Connection for Inserts {
    async fn commit(&mut self, rows: usize) -> anyhow::Result<()> {
        let mut connection = self.connection.lock().await;
        let place = || {
            let number = self.inserted.fetch_add(1, Ordering::Relaxed);
            (number % STREAMS, number / STREAMS)
        };
        if rows == 1 {
            let (stream, seq) = place();
            insert(&mut connection, stream, seq, &mut self.messages).await?;
            return Ok(());
        }
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        for _ in 0..rows {
            let (stream, seq) = place();
            insert(&mut transaction, stream, seq, &mut self.messages).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    stream: i64,
    seq: i64,
    messages: &mut Messages,
) -> anyhow::Result<()> {
    let query = sqlx::query(INSERT).bind(stream).bind(seq).bind(7_i64).bind(seq).bind(seq);
    query.bind(None::<i64>).bind(messages.next().get().to_owned()).execute(connection).await?;
    Ok(())
}

struct Stream {
    connection: SqliteConnection,
    stream: i64,
}

#[async_trait]
impl Scan for Stream {
    async fn scan(&mut self) -> anyhow::Result<(u64, u64)> {
        let mut rows = sqlx::query(SCAN).bind(self.stream).fetch(&mut self.connection);
        let (mut events, mut bytes) = (0, 0);
        while let Some(row) = rows.try_next().await? {
            let message: &str = row.try_get(5)?;
            events += 1;
            bytes += message.len() as u64;
        }
        Ok((events, bytes))
    }
}
