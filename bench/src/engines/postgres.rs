//! PostgreSQL by itself: inserts through the store's driver, into a table like the store's.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::ensure;
use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use super::{Connection, Engine, Raw, Reader, STREAMS, Scan, StreamKey, Turns, unique, with_query};
use crate::messages::Messages;

/// What a keeper has to know of the rows that it inserts.
const RETURNING: &str = "RETURNING stream, seq, stored_at AS at, running_bytes AS bytes";

pub(super) struct Postgres {
    url: String,
    options: PgConnectOptions,
    /// What the names of this run's schemas begin with.
    prefix: String,
    description: String,
    turns: Turns,
    /// How many connections to a store's own tables there were.
    at_the_store: AtomicU64,
}

impl Postgres {
    pub(super) async fn open(url: &str) -> anyhow::Result<Self> {
        // The store's own settings are in the query too, and none of the driver's business.
        let address = url.split('?').next().unwrap_or(url);
        let options = PgConnectOptions::from_str(address)?.disable_statement_logging();
        // The store says best what is wrong with a server; it makes nothing that stays.
        let prefix = unique()?;
        let mut engine = Self {
            url: url.to_owned(),
            options,
            prefix,
            description: String::new(),
            turns: Turns::shared(),
            at_the_store: AtomicU64::new(0),
        };
        let probe = mcp_event_store::open(&engine.store_url("probe")).await?;
        probe.maintenance().close().await?;
        let mut connection = engine.connect().await?;
        let settings = "SELECT concat('PostgreSQL ', current_setting('server_version'), \
            ' through sqlx, synchronous_commit=', current_setting('synchronous_commit'), \
            ', fsync=', current_setting('fsync'), \
            ', shared_buffers=', current_setting('shared_buffers'))";
        engine.description = sqlx::query_scalar(settings).fetch_one(&mut connection).await?;
        engine.prepare(&mut connection).await?;
        Ok(engine)
    }

    /// The schema of the store of that name.
    fn schema(&self, store: &str) -> String {
        format!("{}_{store}", self.prefix)
    }

    async fn connect(&self) -> anyhow::Result<PgConnection> {
        Ok(self.options.connect().await?)
    }

    async fn prepare(&self, connection: &mut PgConnection) -> anyhow::Result<()> {
        // Compressed as the store's, where the server can.
        let table = format!(
            "DO $$ BEGIN
                IF to_regclass('{0}_raw.events') IS NOT NULL THEN
                    RETURN;
                END IF;
                CREATE SCHEMA {0}_raw;
                CREATE TABLE {0}_raw.events (
                    stream bigint NOT NULL, seq bigint NOT NULL, tag bigint NOT NULL,
                    stored_at bigint NOT NULL, running_bytes bigint NOT NULL, retry_ms bigint,
                    message text, PRIMARY KEY (stream, seq));
                CREATE TABLE {0}_raw.streams (
                    stream bigint PRIMARY KEY, last_seq bigint NOT NULL, newest_at bigint NOT NULL,
                    total_bytes bigint NOT NULL) WITH (fillfactor = 70);
                IF current_setting('server_version_num')::int >= 140000 THEN
                    BEGIN
                        EXECUTE 'ALTER TABLE {0}_raw.events ALTER message SET COMPRESSION lz4';
                    EXCEPTION WHEN feature_not_supported OR invalid_parameter_value THEN
                        NULL;
                    END;
                END IF;
            END $$",
            self.prefix
        );
        sqlx::raw_sql(AssertSqlSafe(table)).execute(connection).await?;
        Ok(())
    }

    async fn inserts(&self, messages: Messages, turns: Turns) -> anyhow::Result<Inserts> {
        let mut connection = self.connect().await?;
        self.prepare(&mut connection).await?;
        let table = format!("{}_raw.events", self.prefix);
        let one = format!("INSERT INTO {table} VALUES ($1,$2,$3,$4,$5,$6,$7)");
        let many = format!(
            "INSERT INTO {table} SELECT * FROM unnest($1::bigint[], $2::bigint[], \
             $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[])"
        );
        Ok(Inserts { connection, one, many, turns, messages })
    }

    /// A connection such as the store's, and a row of the totals that no other one works with at
    /// the same time.
    async fn at_the_store(&self) -> anyhow::Result<(PgConnection, u64)> {
        /// The store's own two take the first of them.
        const TOTALS: std::ops::Range<u64> = 32..64;
        let mut connection = self.connect().await?;
        // As the store's connections, whose tables may have no statistics yet.
        let planner = "SET enable_seqscan = off; SET enable_hashjoin = off; \
            SET enable_mergejoin = off; SET jit = off; SET plan_cache_mode = force_generic_plan";
        sqlx::raw_sql(planner).execute(&mut connection).await?;
        let turn = self.at_the_store.fetch_add(1, Ordering::Relaxed);
        Ok((connection, TOTALS.start + turn % (TOTALS.end - TOTALS.start)))
    }

    async fn schemas(&self, connection: &mut PgConnection) -> anyhow::Result<Vec<String>> {
        let schemas = "SELECT nspname::text FROM pg_namespace WHERE starts_with(nspname, $1)";
        Ok(sqlx::query_scalar(schemas).bind(&self.prefix).fetch_all(connection).await?)
    }
}

#[async_trait]
impl Engine for Postgres {
    fn description(&self) -> &str {
        &self.description
    }

    fn store_url(&self, name: &str) -> String {
        with_query(&self.url, "schema", &self.schema(name))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn raw(&self) -> Option<&dyn Raw> {
        Some(self)
    }

    async fn stored_bytes(&self) -> anyhow::Result<u64> {
        let bytes = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE starts_with(n.nspname, $1) AND c.relkind = 'r'";
        let bytes: i64 = sqlx::query_scalar(bytes)
            .bind(&self.prefix)
            .fetch_one(&mut self.connect().await?)
            .await?;
        Ok(bytes.cast_unsigned())
    }

    async fn clean(&self) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        for schema in self.schemas(&mut connection).await? {
            // One by one: all at once would need more locks than a server has.
            let drop = format!("DROP SCHEMA {schema} CASCADE");
            sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Raw for Postgres {
    fn connections(&self) -> &'static [usize] {
        &[1, 2, 4, 8]
    }

    fn naive_connections(&self) -> &'static [usize] {
        &[1, 8, 32, 64]
    }

    async fn connection(&self, messages: Messages) -> anyhow::Result<Box<dyn Connection>> {
        Ok(Box::new(self.inserts(messages, self.turns.clone()).await?))
    }

    async fn keeper(
        &self,
        messages: Messages,
        streams: u64,
    ) -> anyhow::Result<Box<dyn Connection>> {
        let table = format!("{}_raw.streams", self.prefix);
        let mut inserts = self.inserts(messages, Turns::of_its_own(streams)).await?;
        let rows =
            format!("INSERT INTO {table} SELECT n, 0, 0, 0 FROM generate_series($1, $2) AS n");
        let first = inserts.turns.first.cast_signed();
        let rows = sqlx::query(AssertSqlSafe(rows)).bind(first);
        rows.bind(first + streams.cast_signed() - 1).execute(&mut inserts.connection).await?;
        for insert in [&mut inserts.one, &mut inserts.many] {
            *insert = format!(
                "WITH stored AS ({insert} {RETURNING})
                 UPDATE {table} s SET last_seq = w.seq, newest_at = w.at, total_bytes = w.bytes
                 FROM stored w WHERE s.stream = w.stream"
            );
        }
        Ok(Box::new(inserts))
    }

    async fn writer(
        &self,
        store: &str,
        stream: StreamKey,
        messages: Messages,
    ) -> anyhow::Result<Option<Box<dyn Connection>>> {
        let (mut connection, totals) = self.at_the_store().await?;
        let schema = self.schema(store);
        let row = format!("SELECT id, last_seq, total_bytes FROM {schema}.streams WHERE key = $1");
        let row = sqlx::query(AssertSqlSafe(row)).bind(&stream[..]).fetch_one(&mut connection);
        let row = row.await?;
        let (id, seq, bytes) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let sql = writing(&schema, totals);
        Ok(Some(Box::new(Writer { connection, sql, id, seq, bytes, messages })))
    }

    async fn decider(
        &self,
        store: &str,
        streams: &[StreamKey],
        messages: Messages,
    ) -> anyhow::Result<Option<Box<dyn Connection>>> {
        let (mut connection, totals) = self.at_the_store().await?;
        let schema = self.schema(store);
        let rows = format!("SELECT id, key FROM {schema}.streams WHERE key = ANY ($1) ORDER BY id");
        let keys: Vec<_> = streams.iter().map(|key| &key[..]).collect();
        let rows = sqlx::query_as(AssertSqlSafe(rows)).bind(keys).fetch_all(&mut connection);
        let streams: Vec<(i64, Vec<u8>)> = rows.await?;
        let (one, many) = (deciding(&schema, totals), deciding_many(&schema, totals));
        Ok(Some(Box::new(Decider { connection, one, many, streams, next: 0, messages })))
    }

    async fn stream(&self, events: u64, messages: Messages) -> anyhow::Result<Box<dyn Scan>> {
        let mut connection = self.connect().await?;
        self.prepare(&mut connection).await?;
        let table = format!("{}_raw.events", self.prefix);
        // Beside those that lanes insert into.
        let stream = (STREAMS + events).cast_signed();
        let sql = format!(
            "INSERT INTO {table} SELECT $1, n, 7, n, n, NULL, $3[1 + n % 256]
             FROM generate_series(0, $2 - 1) AS n"
        );
        let mut messages = messages;
        let texts: Vec<String> = (0..256).map(|_| messages.next().get().to_owned()).collect();
        let insert = sqlx::query(AssertSqlSafe(sql)).bind(stream).bind(i64::try_from(events)?);
        insert.bind(texts).execute(&mut connection).await?;
        let sql = format!(
            "SELECT seq, tag, stored_at, running_bytes, retry_ms, message FROM {table}
             WHERE stream = $1 AND seq >= 0 ORDER BY seq"
        );
        Ok(Box::new(Stream { connection, sql, number: stream }))
    }

    async fn reader(&self, store: &str) -> anyhow::Result<Option<Box<dyn Reader>>> {
        let connection = self.connect().await?;
        Ok(Some(Box::new(Events { connection, schema: self.schema(store) })))
    }
}

struct Inserts {
    connection: PgConnection,
    /// Inserts one row.
    one: String,
    /// Inserts several.
    many: String,
    turns: Turns,
    messages: Messages,
}

#[async_trait]
impl Connection for Inserts {
    async fn commit(&mut self, rows: usize) -> anyhow::Result<()> {
        let places = (0..rows).map(|_| self.turns.next());
        let (streams, seqs): (Vec<i64>, Vec<i64>) =
            places.map(|(stream, seq)| (stream.cast_signed(), seq.cast_signed())).unzip();
        if let ([stream], [seq]) = (&streams[..], &seqs[..]) {
            let query = sqlx::query(AssertSqlSafe(self.one.clone()));
            let query = query.bind(stream).bind(seq).bind(7_i64).bind(seq).bind(seq);
            let query = query.bind(None::<i64>).bind(self.messages.next().get().to_owned());
            query.execute(&mut self.connection).await?;
        } else {
            let texts = (0..rows).map(|_| self.messages.next().get().to_owned());
            let query = sqlx::query(AssertSqlSafe(self.many.clone()));
            let query = query.bind(streams).bind(seqs.clone()).bind(vec![7_i64; rows]);
            let query = query.bind(seqs.clone()).bind(seqs);
            let query = query.bind(vec![None::<i64>; rows]).bind(texts.collect::<Vec<_>>());
            query.execute(&mut self.connection).await?;
        }
        Ok(())
    }
}

/// The statement that appends a message of so many bytes to a stream by its number, in the tables of
/// the store in `schema`, and is told where that ends. It counts in the row `totals` of the sums.
fn writing(schema: &str, totals: u64) -> Arc<str> {
    let kept = format!(
        "UPDATE {schema}.streams SET last_seq = $4, last_tag = 7, total_bytes = $5, newest_at = $4,
            active_at = $4, large = {schema}.large($5, 0), unbooked = true
        WHERE id = $1
        RETURNING id, last_seq, total_bytes, newest_at, reader_epoch"
    );
    let counted = "SELECT 1 AS events, $2 AS bytes";
    storing(schema, totals, [&kept, "$3", counted, LAST])
}

/// The same, which is told the stream's key, and decides.
fn deciding(schema: &str, totals: u64) -> Arc<str> {
    let kept = decided(schema, ["$1", "$4", "$2", "", ""]);
    let counted = "SELECT 1 AS events, $2 AS bytes WHERE EXISTS (SELECT FROM kept)";
    storing(schema, totals, [&kept, "$3", counted, LAST])
}

/// The same for several streams, in columns.
fn deciding_many(schema: &str, totals: u64) -> Arc<str> {
    let from = "CROSS JOIN unnest($1::bigint[], $2::bigint[], $4::bytea[]) WITH ORDINALITY
        AS w (id, bytes, key, place)";
    let kept = decided(schema, ["w.id", "w.key", "w.bytes", from, ", w.place, w.bytes"]);
    let counted = "SELECT count(*) AS events, sum(bytes)::bigint AS bytes FROM kept";
    let answer =
        "array_agg(id), array_agg(last_seq), array_agg(newest_at), array_agg(reader_epoch)";
    // Messages are asked for as the store asks.
    storing(schema, totals, [&kept, "($3::text[])[place]", counted, answer])
}

/// What is asked of the row of a stream: where its next event comes, whether it is the right one,
/// by its key, and may go on. No lease is wanted, and no stream expires.
fn decided(schema: &str, [id, key, bytes, from, returning]: [&str; 5]) -> String {
    format!(
        "UPDATE {schema}.streams s SET last_seq = s.last_seq + 1, last_tag = 7,
            total_bytes = s.total_bytes + {bytes}, newest_at = greatest(s.newest_at, t.now),
            active_at = greatest(s.active_at, t.now), unbooked = true,
            large = {schema}.large(s.total_bytes + {bytes}, s.removed_bytes)
        FROM (SELECT {schema}.now(0) AS now) t {from}
        WHERE s.id = {id} AND (s.key = {key}) IS TRUE AND NOT s.complete AND s.expired_at IS NULL
        RETURNING s.id, s.last_seq, s.total_bytes, s.newest_at, s.reader_epoch {returning}"
    )
}

/// What is answered of one event.
const LAST: &str = "last_seq, newest_at, reader_epoch";

/// Stores an event for each stream whose row is `kept`.
fn storing(schema: &str, totals: u64, [kept, message, counted, answer]: [&str; 4]) -> Arc<str> {
    let sql = format!(
        "WITH kept AS ({kept}),
        stored AS (
            INSERT INTO {schema}.events (
                stream, seq, tag, stored_at, running_bytes, retry_ms, message)
            SELECT id, last_seq, 7, newest_at, total_bytes, NULL, {message} FROM kept),
        counted AS (
            UPDATE {schema}.totals t SET
                changes = changes + 1, events = t.events + c.events, bytes = t.bytes + c.bytes
            FROM ({counted}) c WHERE t.shard = {totals} AND c.events > 0)
        SELECT {answer} FROM kept"
    );
    // As short as the store's, since the driver looks it up by its text.
    sql.split_whitespace().collect::<Vec<_>>().join(" ").into()
}

/// Writes the store's own tables, one event a commit.
struct Writer {
    connection: PgConnection,
    sql: Arc<str>,
    /// The stream's number.
    id: i64,
    /// Where the stream ends.
    seq: i64,
    bytes: i64,
    messages: Messages,
}

#[async_trait]
impl Connection for Writer {
    async fn commit(&mut self, rows: usize) -> anyhow::Result<()> {
        ensure!(rows == 1, "what is told where a stream ends commits one event");
        let message = self.messages.next().get().to_owned();
        let bytes = i64::try_from(message.len())?;
        (self.seq, self.bytes) = (self.seq + 1, self.bytes + bytes);
        let query = sqlx::query(AssertSqlSafe(self.sql.clone())).bind(self.id).bind(bytes);
        let query = query.bind(message).bind(self.seq).bind(self.bytes);
        let row = query.fetch_one(&mut self.connection).await?;
        let seq: i64 = row.try_get(0)?;
        ensure!(seq == self.seq, "the stream ends at {seq}");
        Ok(())
    }
}

/// Writes the store's own tables by statements that decide.
struct Decider {
    connection: PgConnection,
    one: Arc<str>,
    many: Arc<str>,
    /// Numbers and keys.
    streams: Vec<(i64, Vec<u8>)>,
    /// Whose turn it is.
    next: usize,
    messages: Messages,
}

#[async_trait]
impl Connection for Decider {
    async fn commit(&mut self, rows: usize) -> anyhow::Result<()> {
        ensure!(rows <= self.streams.len(), "a commit has one event of a stream");
        let turns = self.streams.iter().cycle().skip(self.next).take(rows);
        let (ids, keys): (Vec<_>, Vec<_>) = turns.map(|(id, key)| (*id, &key[..])).unzip();
        self.next = (self.next + rows) % self.streams.len();
        let texts: Vec<_> = (0..rows).map(|_| self.messages.next().get().to_owned()).collect();
        let bytes: Vec<_> = texts.iter().map(|text| text.len().cast_signed() as i64).collect();
        if let ([id], [key], [text], [bytes]) = (&ids[..], &keys[..], &texts[..], &bytes[..]) {
            let query = sqlx::query(AssertSqlSafe(self.one.clone()));
            let query = query.bind(id).bind(bytes).bind(text).bind(key);
            query.fetch_one(&mut self.connection).await?;
        } else {
            let query = sqlx::query(AssertSqlSafe(self.many.clone()));
            let query = query.bind(ids).bind(bytes).bind(texts).bind(keys);
            let row = query.fetch_one(&mut self.connection).await?;
            let stored: Option<Vec<i64>> = row.try_get(0)?;
            let stored = stored.map_or(0, |ids| ids.len());
            ensure!(stored == rows, "{stored} of {rows} events were stored");
        }
        Ok(())
    }
}

/// Reads the store's own tables.
struct Events {
    connection: PgConnection,
    schema: String,
}

#[async_trait]
impl Reader for Events {
    async fn read(&mut self, key: StreamKey, from: u64, most: u64) -> anyhow::Result<u64> {
        let events = format!(
            "SELECT seq, tag, stored_at, running_bytes, retry_ms, message FROM {0}.events
             WHERE stream = (SELECT id FROM {0}.streams WHERE key = $1) AND seq >= $2
             ORDER BY seq LIMIT $3",
            self.schema
        );
        let events = sqlx::query(AssertSqlSafe(events)).bind(&key[..]);
        let events = events.bind(from.cast_signed()).bind(most.cast_signed());
        Ok(events.fetch_all(&mut self.connection).await?.len() as u64)
    }
}

struct Stream {
    connection: PgConnection,
    sql: String,
    number: i64,
}

#[async_trait]
impl Scan for Stream {
    async fn scan(&mut self) -> anyhow::Result<(u64, u64)> {
        let query = sqlx::query(AssertSqlSafe(self.sql.clone())).bind(self.number);
        let mut rows = query.fetch(&mut self.connection);
        let (mut events, mut bytes) = (0, 0);
        while let Some(row) = rows.try_next().await? {
            let message: &str = row.try_get(5)?;
            events += 1;
            bytes += message.len() as u64;
        }
        Ok((events, bytes))
    }
}
