//! A schema for each test, on the shared server or on one of the test's own.

use std::sync::Arc;
use std::time::Duration;

use mcp_event_store_core::{
    Clock, Durability, Engine, EventId, EventStore, Message, NewEvent, Retention, SessionId,
    Settings, StreamId, StreamRef,
};
use mcp_event_store_postgres::{PostgresBackend, PostgresOptions};
use mcp_event_store_test_servers::Postgres;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Row};

/// A schema that does not exist yet.
pub(crate) struct Scope {
    pub(crate) url: String,
    pub(crate) options: PostgresOptions,
}

/// Something that no other test is called.
pub(crate) fn fresh(what: &str) -> String {
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    format!("{what}_{:016x}", u64::from_be_bytes(random))
}

impl Scope {
    pub(crate) async fn shared() -> Self {
        Self::on(Postgres::shared().await.unwrap().url())
    }

    pub(crate) fn on(url: &str) -> Self {
        let options = PostgresOptions { schema: fresh("crate"), ..PostgresOptions::default() };
        Self { url: url.to_owned(), options }
    }

    pub(crate) fn schema(&self) -> &str {
        &self.options.schema
    }

    pub(crate) async fn backend(
        &self,
        clock: &Clock,
    ) -> mcp_event_store_core::Result<PostgresBackend> {
        let durability = Durability::Committed;
        PostgresBackend::open(&self.url, &self.options, durability, clock.clone()).await
    }

    pub(crate) async fn engine(&self) -> Arc<Engine<PostgresBackend>> {
        self.engine_with(settings(), &Clock::system()).await
    }

    pub(crate) async fn engine_with(
        &self,
        settings: Settings,
        clock: &Clock,
    ) -> Arc<Engine<PostgresBackend>> {
        Engine::open(self.backend(clock).await.unwrap(), settings).unwrap()
    }

    /// Runs SQL as the superuser.
    pub(crate) async fn run(&self, sql: impl Into<String>) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    pub(crate) async fn rows(&self, sql: impl Into<String>) -> Vec<PgRow> {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let rows = sqlx::raw_sql(AssertSqlSafe(sql.into())).fetch_all(&mut connection).await;
        connection.close().await.unwrap();
        rows.unwrap()
    }

    /// The integers of a query; NULL reads as -1.
    pub(crate) async fn integers(&self, sql: impl Into<String>) -> Vec<Vec<i64>> {
        let integers = |row: &PgRow| {
            (0..row.len()).map(|at| row.get::<Option<i64>, _>(at).unwrap_or(-1)).collect()
        };
        self.rows(sql).await.iter().map(integers).collect()
    }

    /// How often `append`, which looks streams up, `extend`, `extend_one` and `start` were called, on a
    /// server that tracks functions and so far as connections have reported it. The statements inside
    /// `extend` and `extend_one` are mostly sent by themselves: then only others call `extend`.
    pub(crate) async fn calls(&self) -> [i64; 4] {
        let calls = ["append", "extend", "extend_one", "start"].map(|function| {
            format!(
                "(SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_user_functions
                  WHERE schemaname = '{}' AND funcname = '{function}')",
                self.schema()
            )
        });
        let counts = self.integers(format!("SELECT {}", calls.join(", "))).await;
        counts[0].as_slice().try_into().unwrap()
    }

    /// Removes the schema. A test that fails leaves it to be looked into.
    pub(crate) async fn tear_down(self) {
        self.run(format!("DROP SCHEMA IF EXISTS \"{}\" CASCADE", self.schema())).await;
    }
}

/// Keeps everything and sweeps only when asked.
pub(crate) fn settings() -> Settings {
    Settings { retention: Retention::keep_everything(), ..Settings::default() }
}

pub(crate) fn stream(session: &str, name: &str) -> StreamRef {
    StreamRef::in_session(SessionId::new(session).unwrap(), StreamId::new(name).unwrap())
}

pub(crate) fn event(text: &str) -> NewEvent {
    NewEvent::message(Message::from_value(text).unwrap())
}

pub(crate) async fn append(
    engine: &Engine<PostgresBackend>,
    stream: &StreamRef,
    text: &str,
) -> EventId {
    engine.store_event(stream, event(text)).await.unwrap()
}

/// Polls until `holds`, at most for `within`.
pub(crate) async fn eventually(within: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + within;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "{what} within {within:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
