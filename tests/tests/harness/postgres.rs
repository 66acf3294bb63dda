//! The PostgreSQL store: a schema for each scope, behind a proxy that can cut its connections, and
//! for some behind a PgBouncer too.

use std::net::SocketAddr;
use std::time::Duration;

use mcp_event_store_compliance::{Cut, Harness, HarnessError, Opened, async_trait};
use mcp_event_store_core::{Clock, Engine, Settings, Store};
use mcp_event_store_postgres::{PostgresBackend, PostgresOptions};
use mcp_event_store_test_servers::{Cut as ProxyCut, PgBouncer, Postgres as Server, Proxy};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use tokio::sync::OnceCell;
use url::Url;

use super::postgres_wire::Spotter;

/// A schema of the shared server, with connections straight to it.
pub(crate) type Direct = Postgres<false>;

/// A schema of the shared server, with connections through a PgBouncer in transaction mode.
pub(crate) type Pooled = Postgres<true>;

pub(crate) struct Postgres<const POOLED: bool> {
    schema: String,
    /// Where the stores connect, by way of the proxy if there is one.
    url: String,
    /// Absent in a process that only attached.
    proxy: Option<Proxy>,
}

/// The URL of the server, or of the pooler in front of it.
async fn url(by_pooler: bool) -> Result<Url, HarnessError> {
    static POOLER: OnceCell<PgBouncer> = OnceCell::const_new();
    let server = Server::shared().await?;
    if !by_pooler {
        return Ok(server.url().parse()?);
    }
    let pooler = POOLER.get_or_try_init(|| PgBouncer::own(server, "transaction")).await?;
    Ok(pooler.url().parse()?)
}

fn is_deadlock(error: &HarnessError) -> bool {
    let error = error.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
    error.is_some_and(|error| error.code().as_deref() == Some("40P01"))
}

impl<const POOLED: bool> Postgres<POOLED> {
    fn options(&self) -> PostgresOptions {
        PostgresOptions {
            schema: self.schema.clone(),
            notify: !POOLED,
            // The proxy has to see what is said.
            sslmode: Some("disable".to_owned()),
            ..PostgresOptions::default()
        }
    }

    /// An empty schema, by way of a proxy, of the server at `url`.
    async fn create_at(mut url: Url) -> Result<Self, HarnessError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let schema = format!("check_{:016x}", u64::from_be_bytes(random));
        let server = url.socket_addrs(|| Some(5432))?;
        let server: SocketAddr = *server.first().ok_or("the server's URL has no address")?;
        let proxy = Proxy::to(server, || {
            let mut spotter = Spotter::default();
            Box::new(move |piece| spotter.hear(piece))
        });
        let proxy = proxy.await?;
        url.set_ip_host(proxy.address().ip()).map_err(|()| "the URL takes no other host")?;
        url.set_port(Some(proxy.address().port())).map_err(|()| "the URL takes no port")?;
        Ok(Self { schema, url: url.into(), proxy: Some(proxy) })
    }

    /// Runs `sql` straight on the server.
    async fn run(&self, sql: String) -> Result<(), HarnessError> {
        let mut connection = PgConnection::connect(Server::shared().await?.url()).await?;
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
impl<const POOLED: bool> Harness for Postgres<POOLED> {
    async fn create() -> Result<Self, HarnessError> {
        Self::create_at(self::url(POOLED).await?).await
    }

    async fn attach(address: &str) -> Result<Self, HarnessError> {
        let (schema, url) = address.split_once(' ').ok_or("an address is a schema and a URL")?;
        Ok(Self { schema: schema.to_owned(), url: url.to_owned(), proxy: None })
    }

    async fn open(&self, settings: &Settings, clock: &Clock) -> Result<Opened, HarnessError> {
        let durability = settings.durability;
        let backend =
            PostgresBackend::open(&self.url, &self.options(), durability, clock.clone()).await?;
        Ok(Store::new(Engine::open(backend, settings.clone())?).into())
    }

    fn address(&self) -> String {
        format!("{} {}", self.schema, self.url)
    }

    async fn tear_down(self: Box<Self>) -> Result<(), HarnessError> {
        let schema = &self.schema;
        let drop = format!(
            "DROP SCHEMA IF EXISTS {schema} CASCADE; DROP SCHEMA IF EXISTS {schema}_backup CASCADE"
        );
        while let Err(error) = self.run(drop.clone()).await {
            // A call that was given up may still run in the server, and wait for a table that this has
            // locked while this waits for one of its own. Then PostgreSQL ends one of the two.
            if !is_deadlock(&error) {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn cut(&self, cut: Cut) -> Result<(), HarnessError> {
        self.proxy.as_ref().ok_or("only the scope's own process can cut")?.cut(match cut {
            Cut::Request => ProxyCut::Request,
            Cut::Answer => ProxyCut::Answer,
            Cut::Down => ProxyCut::Down,
        });
        Ok(())
    }

    async fn mend(&self) -> Result<(), HarnessError> {
        self.proxy.as_ref().ok_or("only the scope's own process can mend")?.mend();
        Ok(())
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
        // Documented as 20 ms, or 100 ms without notifications, on a machine with nothing else to
        // do.
        Duration::from_millis(500)
    }
}

/// A schema of a server that no other test uses, so that it can be killed.
pub(crate) struct OwnServer {
    scope: Direct,
    server: Server,
}

#[async_trait]
impl Harness for OwnServer {
    async fn create() -> Result<Self, HarnessError> {
        let server = Server::own(&[]).await?;
        Ok(Self { scope: Direct::create_at(server.url().parse()?).await?, server })
    }

    async fn open(&self, settings: &Settings, clock: &Clock) -> Result<Opened, HarnessError> {
        self.scope.open(settings, clock).await
    }

    fn address(&self) -> String {
        self.scope.address()
    }

    /// The server goes with this value.
    async fn tear_down(self: Box<Self>) -> Result<(), HarnessError> {
        Ok(())
    }

    async fn kill_server(&self) -> Result<(), HarnessError> {
        self.server.kill().await?;
        Ok(self.server.start().await?)
    }
}
