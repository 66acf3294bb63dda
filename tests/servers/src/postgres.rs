//! PostgreSQL servers.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{Connection, PgConnection, Row};
use tokio::sync::OnceCell;
use url::Url;

use crate::environment::{Image, POSTGRES_IMAGE, POSTGRES_URL, users_url};
use crate::error::Error;
use crate::recipe::Recipe;
use crate::runtime;
use crate::server::{Probe, Server};
use crate::source::{Source, at, resolve};

/// Durable settings, so far as these are not the defaults, which a test may change while the server
/// runs; and enough connections for all tests at once.
const SETTINGS: [(&str, &str); 6] = [
    ("listen_addresses", "127.0.0.1"),
    ("port", "{port}"),
    ("unix_socket_directories", ""),
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("max_connections", "300"),
];

const REMEDIES: &str = "  - run the tests with tests/run.sh, which installs what is missing
  - start docker and build the images with tests/images.sh, or name one in MCP_EVENT_STORE_TEST_POSTGRES_IMAGE
  - install PostgreSQL, such as with: apt-get install postgresql
  - name a server of yours: MCP_EVENT_STORE_TEST_POSTGRES_URL=postgres://USER:PASSWORD@HOST:PORT/DATABASE";

/// A PostgreSQL server for tests.
pub struct Postgres {
    url: Url,
    source: Source,
}

/// How a server of a test's own differs from the shared one.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// Settings as in `postgresql.conf`; `{dir}` is the directory of [`files`](Self::files).
    pub settings: Vec<(String, String)>,
    /// Names and contents of files for it, such as `server.crt`. They belong to the server's user
    /// and nobody else can read them.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Postgres {
    /// The server that all tests of this process share; started by the first one that asks.
    ///
    /// # Errors
    /// There is none, or it does not start. Said again to each that asks.
    pub async fn shared() -> Result<&'static Self, Error> {
        static SHARED: OnceCell<Result<Postgres, Error>> = OnceCell::const_new();
        let shared = SHARED.get_or_init(|| runtime::run(Self::find())).await;
        shared.as_ref().map_err(Clone::clone)
    }

    /// A server of the caller's own, with more settings than the shared one; never the user's. It
    /// ends, and its data goes, when the value is dropped.
    ///
    /// # Errors
    /// There is none, or it does not start.
    pub async fn own(settings: &[(&str, &str)]) -> Result<Self, Error> {
        let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Self::own_with(PostgresOptions { settings: settings.collect(), files: Vec::new() }).await
    }

    /// Like [`own`](Self::own), with files for the server.
    ///
    /// # Errors
    /// As there.
    pub async fn own_with(options: PostgresOptions) -> Result<Self, Error> {
        let launched = runtime::run(Self::launch(options)).await;
        let not_used = format!("{POSTGRES_URL} is not for this test, which needs its own");
        launched.map_err(|error| error.after_looking(&not_used))
    }

    /// Where the superuser connects: `postgres://postgres:PASSWORD@127.0.0.1:PORT/postgres`, or the
    /// user's own URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.source.address()
    }

    /// Sends SIGKILL to all its processes; returns when it no longer accepts connections.
    ///
    /// # Errors
    /// It cannot be killed, or is the user's.
    pub async fn kill(&self) -> Result<(), Error> {
        self.source.kill().await
    }

    /// Starts it again after [`kill`](Self::kill), on the same port and data; returns when it
    /// answers queries.
    ///
    /// # Errors
    /// It does not start, or is the user's.
    pub async fn start(&self) -> Result<(), Error> {
        self.source.start().await
    }

    /// What it is and where it runs: `PostgreSQL 17.5, container mcp-event-store-test:trixie`.
    #[must_use]
    pub fn description(&self) -> String {
        self.source.description()
    }

    pub(crate) fn parsed_url(&self) -> &Url {
        &self.url
    }

    async fn find() -> Result<Self, Error> {
        if let Some(url) = users_url(POSTGRES_URL, &["postgres", "postgresql"], 5432)? {
            return Self::users(url).await;
        }
        let launched = Self::launch(PostgresOptions::default()).await;
        launched.map_err(|error| error.after_looking(&format!("{POSTGRES_URL} is not set")))
    }

    async fn users(url: Url) -> Result<Self, Error> {
        let refused = |problem| Error::Variable { variable: POSTGRES_URL, problem };
        let version = version(url.as_str()).await.map_err(refused)?;
        let address = resolve(&url).await.map_err(refused)?;
        let description = format!("{version}, the server of {POSTGRES_URL}");
        Ok(Self { url, source: Source::Users { address, description } })
    }

    async fn launch(options: PostgresOptions) -> Result<Self, Error> {
        let password = password()?;
        let url = format!("postgres://postgres:{password}@127.0.0.1/postgres");
        let url = Url::parse(&url).map_err(|error| Error::here("a URL", error))?;
        let own = SETTINGS.iter().map(|(name, value)| format!("{name}={value}"));
        let more = options.settings.iter().map(|(name, value)| format!("{name}={value}"));
        let recipe = Recipe {
            what: "PostgreSQL",
            programs: vec!["postgres", "initdb"],
            any_program: false,
            image: Image::wanted(POSTGRES_IMAGE)?,
            user: Some("postgres"),
            script: include_str!("scripts/postgres.sh"),
            variables: vec![("PASSWORD", password)],
            arguments: own.chain(more).flat_map(|setting| ["-c".to_owned(), setting]).collect(),
            files: options.files,
            ports: 1,
            probe: Arc::new(Query { url: url.clone() }),
            remedies: REMEDIES,
        };
        let server = Server::new(recipe).await?;
        Ok(Self { url: at(&url, server.address()), source: Source::Own(Arc::new(server)) })
    }
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Postgres({}, {})", self.description(), self.address())
    }
}

/// Ready when it answers a query.
pub(crate) struct Query {
    /// User, password and database; the address is put in.
    pub(crate) url: Url,
}

#[async_trait]
impl Probe for Query {
    async fn answers(&self, address: SocketAddr) -> Result<String, String> {
        version(at(&self.url, address).as_str()).await
    }
}

/// `PostgreSQL 17.5`.
async fn version(url: &str) -> Result<String, String> {
    let ask = async {
        let mut connection = PgConnection::connect(url).await?;
        let row = sqlx::raw_sql("SHOW server_version").fetch_one(&mut connection).await?;
        let version: String = row.try_get(0)?;
        connection.close().await?;
        Ok(version)
    };
    let version = ask.await.map_err(|error: sqlx::Error| error.to_string())?;
    // What follows names the distribution.
    Ok(format!("PostgreSQL {}", version.split(' ').next().unwrap_or_default()))
}

fn password() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::here("a password", error))?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
