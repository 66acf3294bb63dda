//! The PostgreSQL store: a schema for each scope.

use std::time::Duration;

use mcp_event_store_compliance::{Harness, HarnessError, Opened, async_trait};
use mcp_event_store_core::{Clock, Engine, Settings, Store};
use mcp_event_store_postgres::{PostgresBackend, PostgresOptions};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

/// A schema of the shared server.
pub(crate) struct Postgres {
    url: String,
    schema: String,
}

impl Postgres {
    async fn of_schema(schema: String) -> Result<Self, HarnessError> {
        let url = std::env::var("MCP_EVENT_STORE_TEST_POSTGRES_URL")?;
        Ok(Self { url, schema })
    }

    fn options(&self) -> PostgresOptions {
        PostgresOptions { schema: self.schema.clone(), ..PostgresOptions::default() }
    }

    async fn run(&self, sql: String) -> Result<(), HarnessError> {
        let mut connection = PgConnection::connect(&self.url).await?;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }

    /// Makes the tables of `to` hold what those of `from` do.
    fn copy(from: &str, to: &str) -> String {
        format!(
            "DO $$
             DECLARE
                 t text;
                 columns text;
             BEGIN
                 FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = '{from}' LOOP
                     EXECUTE format('TRUNCATE {to}.%I', t);
                     SELECT string_agg(quote_ident(attname), ', ') INTO columns FROM pg_attribute
                     WHERE attrelid = format('{from}.%I', t)::regclass
                         AND attnum > 0 AND attgenerated = '' AND NOT attisdropped;
                     EXECUTE format('INSERT INTO {to}.%I (%s) SELECT %2$s FROM {from}.%1$I',
                         t, columns);
                 END LOOP;
             END
             $$"
        )
    }
}

#[async_trait]
impl Harness for Postgres {
    async fn create() -> Result<Self, HarnessError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let scope = Self::of_schema(format!("check_{:016x}", u64::from_be_bytes(random))).await?;
        scope.run(format!("CREATE SCHEMA {}", scope.schema)).await?;
        Ok(scope)
    }

    async fn attach(address: &str) -> Result<Self, HarnessError> {
        Self::of_schema(address.to_owned()).await
    }

    async fn open(&self, settings: &Settings, clock: &Clock) -> Result<Opened, HarnessError> {
        let durability = settings.durability;
        let backend =
            PostgresBackend::open(&self.url, &self.options(), durability, clock.clone()).await?;
        Ok(Store::new(Engine::open(backend, settings.clone())?).into())
    }

    fn address(&self) -> String {
        self.schema.clone()
    }

    async fn tear_down(self: Box<Self>) -> Result<(), HarnessError> {
        let schema = &self.schema;
        let drop = format!(
            "DROP SCHEMA IF EXISTS {schema} CASCADE; DROP SCHEMA IF EXISTS {schema}_backup CASCADE"
        );
        self.run(drop).await
    }

    async fn back_up(&self) -> Result<(), HarnessError> {
        let schema = &self.schema;
        let backup = format!("{schema}_backup");
        self.run(format!(
            "DROP SCHEMA IF EXISTS {backup} CASCADE;
             CREATE SCHEMA {backup};
             DO $$
             DECLARE
                 t text;
             BEGIN
                 FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = '{schema}' LOOP
                     EXECUTE format('CREATE TABLE {backup}.%I (LIKE {schema}.%1$I
                         INCLUDING GENERATED)', t);
                 END LOOP;
             END
             $$;
             {}",
            Self::copy(schema, &backup)
        ))
        .await
    }

    async fn lose_tail(&self) -> Result<(), HarnessError> {
        self.run(Self::copy(&format!("{}_backup", self.schema), &self.schema)).await
    }

    fn wake_up_bound(&self) -> Duration {
        // Documented as 20 ms, on a machine with nothing else to do.
        Duration::from_millis(500)
    }
}
