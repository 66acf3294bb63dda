//! SQLite by itself: prepared inserts through the store's driver, into a table like the store's.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection};
use tokio::sync::Mutex;

use super::folder::Folder;
use super::{Among, Connection, Engine, Raw, Reader, STREAMS, Scan, StreamKey, Turns};
use crate::messages::Messages;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS events (
    stream INTEGER NOT NULL, seq INTEGER NOT NULL, tag INTEGER NOT NULL,
    stored_at INTEGER NOT NULL, running_bytes INTEGER NOT NULL, retry_ms INTEGER, message TEXT);
    CREATE UNIQUE INDEX IF NOT EXISTS events_place ON events (stream, seq);
    CREATE TABLE IF NOT EXISTS streams (
    stream INTEGER PRIMARY KEY, last_seq INTEGER NOT NULL, newest_at INTEGER NOT NULL,
    total_bytes INTEGER NOT NULL)";
const INSERT: &str = "INSERT INTO events VALUES (?,?,?,?,?,?,?)";
const KEEP: &str = "INSERT INTO streams VALUES (?1,?2,?2,?2) ON CONFLICT (stream)
    DO UPDATE SET last_seq = ?2, newest_at = ?2, total_bytes = ?2";
/// Fills `streams` and `events` with as many streams, of two events each, with texts from here.
const TEXTS: &str = "CREATE TEMP TABLE texts (id INTEGER PRIMARY KEY, text TEXT)";
const FILL: [&str; 2] = [
    "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < 2 * ?1)
     INSERT INTO events SELECT n / 2, n % 2, 7, n, n, NULL, t.text
     FROM numbers CROSS JOIN texts t ON t.id = 1 + n % 256",
    "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?1)
     INSERT INTO streams SELECT n, 1, n, 1000 FROM numbers",
];
const SCAN: &str = "SELECT seq, tag, stored_at, running_bytes, retry_ms, message FROM events
    WHERE stream = ? AND seq >= 0 ORDER BY seq";

pub(super) struct Sqlite {
    folder: Folder,
    description: String,
    turns: Turns,
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
            turns: Turns::shared(),
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
        let (connection, turns) = (self.shared.clone(), self.turns.clone());
        Ok(Box::new(Inserts { connection, turns, keeps_streams: false, messages }))
    }

    async fn keeper(
        &self,
        messages: Messages,
        streams: u64,
    ) -> anyhow::Result<Box<dyn Connection>> {
        let (connection, turns) = (self.shared.clone(), Turns::of_its_own(streams));
        Ok(Box::new(Inserts { connection, turns, keeps_streams: true, messages }))
    }

    async fn stream(&self, events: u64, mut messages: Messages) -> anyhow::Result<Box<dyn Scan>> {
        // Beside those that lanes insert into.
        let stream = STREAMS + events;
        let mut connection = connect(self.folder.path("raw.db")).await?;
        let mut transaction = connection.begin().await?;
        for seq in 0..events {
            insert(&mut transaction, stream, seq, &mut messages).await?;
        }
        transaction.commit().await?;
        Ok(Box::new(Stream { connection, stream: stream.cast_signed() }))
    }

    async fn reader(&self, store: &str) -> anyhow::Result<Option<Box<dyn Reader>>> {
        let path = self.folder.path(&format!("{store}.db"));
        let options = SqliteConnectOptions::new().filename(path).disable_statement_logging();
        // As large as the store's, and as many rows may wait as there are events in its pages.
        let options = options.pragma("cache_size", "-8192").row_buffer_size(1001);
        Ok(Some(Box::new(Events { connection: options.connect().await? })))
    }

    async fn keeper_among(
        &self,
        mut messages: Messages,
        among: Among,
    ) -> anyhow::Result<Option<Box<dyn Connection>>> {
        let streams = among.streams;
        let mut connection = connect(self.folder.path(&format!("raw_{streams}.db"))).await?;
        let is_filled = "SELECT EXISTS (SELECT 1 FROM streams)";
        if sqlx::query_scalar(is_filled).fetch_one(&mut connection).await? {
            return Ok(Some(Box::new(Few { connection, among, messages })));
        }
        let texts: Vec<_> = (0..256).map(|_| messages.next().get().to_owned()).collect();
        let mut transaction = connection.begin().await?;
        sqlx::raw_sql(TEXTS).execute(&mut *transaction).await?;
        for text in texts {
            let text = sqlx::query("INSERT INTO texts (text) VALUES (?)").bind(text);
            text.execute(&mut *transaction).await?;
        }
        for fill in FILL {
            sqlx::query(fill).bind(streams.cast_signed()).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(Some(Box::new(Few { connection, among, messages })))
    }
}

struct Inserts {
    connection: Arc<Mutex<SqliteConnection>>,
    turns: Turns,
    keeps_streams: bool,
    messages: Messages,
}

#[async_trait]
impl Connection for Inserts {
    async fn commit(&mut self, rows: usize) -> anyhow::Result<()> {
        let mut connection = self.connection.lock().await;
        if rows == 1 && !self.keeps_streams {
            let (stream, seq) = self.turns.next();
            return insert(&mut connection, stream, seq, &mut self.messages).await;
        }
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        for _ in 0..rows {
            let (stream, seq) = self.turns.next();
            insert(&mut transaction, stream, seq, &mut self.messages).await?;
            if self.keeps_streams {
                let keep = sqlx::query(KEEP).bind(stream.cast_signed()).bind(seq.cast_signed());
                keep.execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    stream: u64,
    seq: u64,
    messages: &mut Messages,
) -> anyhow::Result<()> {
    let (stream, seq) = (stream.cast_signed(), seq.cast_signed());
    let query = sqlx::query(INSERT).bind(stream).bind(seq).bind(7_i64).bind(seq).bind(seq);
    query.bind(None::<i64>).bind(messages.next().get().to_owned()).execute(connection).await?;
    Ok(())
}

/// Commits of a few of many streams, in two statements, as the store's are few.
struct Few {
    connection: SqliteConnection,
    among: Among,
    messages: Messages,
}

#[async_trait]
impl Connection for Few {
    async fn commit(&mut self, rows: usize) -> anyhow::Result<()> {
        let insert = vec!["(?,?,7,?,?,NULL,?)"; rows].join(",");
        let insert = format!("INSERT INTO events VALUES {insert}");
        let mut insert = sqlx::query(AssertSqlSafe(insert));
        let among = vec!["?"; rows].join(",");
        let keep = format!(
            "UPDATE streams SET last_seq = last_seq + 1, newest_at = newest_at + 1,
             total_bytes = total_bytes + 500 WHERE stream IN ({among})"
        );
        let mut keep = sqlx::query(AssertSqlSafe(keep));
        for (stream, seq) in self.among.by_ref().take(rows) {
            let (stream, seq) = (stream.cast_signed(), seq.cast_signed());
            insert = insert.bind(stream).bind(seq).bind(seq).bind(seq);
            insert = insert.bind(self.messages.next().get().to_owned());
            keep = keep.bind(stream);
        }
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        insert.execute(&mut *transaction).await?;
        keep.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Reads the store's own tables.
struct Events {
    connection: SqliteConnection,
}

#[async_trait]
impl Reader for Events {
    async fn read(&mut self, key: StreamKey, from: u64, most: u64) -> anyhow::Result<u64> {
        // The key's index has the stream's ID, too: `complete` is only in its row.
        let events = sqlx::query(
            "SELECT s.complete, e.seq, e.tag, e.stored_at, e.running_bytes, e.retry_ms, e.message
             FROM streams s CROSS JOIN events e ON e.stream = s.id AND e.seq >= ?
             WHERE s.key = ? ORDER BY e.seq LIMIT ?",
        );
        let events = events.bind(from.cast_signed()).bind(&key[..]).bind(most.cast_signed());
        Ok(events.fetch_all(&mut self.connection).await?.len() as u64)
    }
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
