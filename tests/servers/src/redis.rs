//! Redis and Valkey servers.

use std::net::SocketAddr;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use url::Url;

use crate::environment::{Flavour, Image, REDIS_IMAGE, REDIS_URL, users_url};
use crate::error::Error;
use crate::recipe::Recipe;
use crate::resp::Ping;
use crate::runtime;
use crate::server::{Probe, Server};
use crate::source::{Source, resolve};

const BASICS: [&str; 6] = ["--bind", "127.0.0.1", "--port", "{port}", "--dir", "{dir}"];
/// Durable: each write is synced before it is answered.
const DURABLE: [&str; 6] = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""];
const SENTINEL_CONF: &str = "sentinel.conf";

const REMEDIES: &str = "  - run the tests with tests/run.sh, which installs what is missing
  - start docker and build the images with tests/images.sh, or name one in MCP_EVENT_STORE_TEST_REDIS_IMAGE
  - install Redis or Valkey, such as with: apt-get install redis-server
  - name a server of yours: MCP_EVENT_STORE_TEST_REDIS_URL=redis://USER:PASSWORD@HOST:PORT";

/// A Redis or Valkey server for tests.
pub struct Redis {
    url: String,
    source: Source,
}

/// How a server of a test's own differs from the shared one.
///
/// In arguments and files `{dir}` stands for the server's directory, `{port}` for its port, and
/// `{port1}`, `{port2}` … for more of them.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    /// Arguments after the defaults, which they override, such as `--cluster-enabled`, `yes`.
    pub args: Vec<String>,
    /// Names and contents of files in its directory, such as certificates or an ACL file. They
    /// belong to the server's user and nobody else can read them.
    pub files: Vec<(String, Vec<u8>)>,
    /// Redis or Valkey; if absent, what the environment says, or whichever is there.
    pub flavour: Option<Flavour>,
    /// How many ports it gets besides its first: for TLS (`--tls-port`, `{port1}`), or for a
    /// cluster's bus (`--cluster-port`, `{port1}`).
    pub more_ports: usize,
    /// The text of a configuration that makes it a Sentinel. Defaults are then only its port,
    /// address and directory.
    pub sentinel: Option<String>,
    /// A user and password with which it is asked whether it is ready. Without them "wants a
    /// password" counts as an answer, even if it is still loading its data.
    pub auth: Option<(String, String)>,
}

impl Redis {
    /// The server that all tests of this process share; started by the first one that asks.
    ///
    /// # Errors
    /// There is none, or it does not start. Said again to each that asks.
    pub async fn shared() -> Result<&'static Self, Error> {
        static SHARED: OnceCell<Result<Redis, Error>> = OnceCell::const_new();
        let shared = SHARED.get_or_init(|| runtime::run(Self::find())).await;
        shared.as_ref().map_err(Clone::clone)
    }

    /// A server of the caller's own, with arguments after the defaults; never the user's. It ends,
    /// and its data goes, when the value is dropped.
    ///
    /// # Errors
    /// There is none, or it does not start.
    pub async fn own(args: &[&str]) -> Result<Self, Error> {
        let args = args.iter().map(|argument| (*argument).to_owned()).collect();
        Self::own_with(RedisOptions { args, ..RedisOptions::default() }).await
    }

    /// Like [`own`](Self::own), with all that can be chosen.
    ///
    /// # Errors
    /// As there.
    pub async fn own_with(options: RedisOptions) -> Result<Self, Error> {
        let launched = runtime::run(Self::launch(options)).await;
        let not_used = format!("{REDIS_URL} is not for this test, which needs its own");
        launched.map_err(|error| error.after_looking(&not_used))
    }

    /// `redis://127.0.0.1:PORT`, or the user's own URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.source.address()
    }

    /// Its ports: the first, then those that [`RedisOptions::more_ports`] asked for.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        match &self.source {
            Source::Own(server) => server.ports().to_vec(),
            Source::Users { address, .. } => vec![address.port()],
        }
    }

    /// The directory of its data and files, as the server sees it; `None` for the user's server.
    #[must_use]
    pub fn dir(&self) -> Option<&str> {
        match &self.source {
            Source::Own(server) => Some(server.dir()),
            Source::Users { .. } => None,
        }
    }

    /// Sends SIGKILL to all its processes; returns when it no longer accepts connections.
    ///
    /// # Errors
    /// It cannot be killed, or is the user's.
    pub async fn kill(&self) -> Result<(), Error> {
        self.source.kill().await
    }

    /// Starts it again after [`kill`](Self::kill), on the same ports and data; returns when it
    /// answers PING.
    ///
    /// # Errors
    /// It does not start, or is the user's.
    pub async fn start(&self) -> Result<(), Error> {
        self.source.start().await
    }

    /// What it is and where it runs: `Redis 8.0.2, container mcp-event-store-test:trixie`.
    #[must_use]
    pub fn description(&self) -> String {
        self.source.description()
    }

    async fn find() -> Result<Self, Error> {
        if let Some(url) = users_url(REDIS_URL, &["redis", "rediss"], 6379)? {
            return Self::users(url).await;
        }
        let launched = Self::launch(RedisOptions::default()).await;
        launched.map_err(|error| error.after_looking(&format!("{REDIS_URL} is not set")))
    }

    async fn users(url: Url) -> Result<Self, Error> {
        let refused = |problem| Error::Variable { variable: REDIS_URL, problem };
        let address = resolve(&url).await.map_err(refused)?;
        let version = if url.scheme() == "rediss" {
            // TLS is for the store under test to speak; here it must only be there.
            let connected = TcpStream::connect(address).await;
            connected.map(|_| "Redis".to_owned()).map_err(|error| error.to_string())
        } else {
            ping_of(&url).answers(address).await
        };
        let description = format!("{}, the server of {REDIS_URL}", version.map_err(refused)?);
        Ok(Self { url: url.into(), source: Source::Users { address, description } })
    }

    async fn launch(options: RedisOptions) -> Result<Self, Error> {
        let server = Server::new(options.recipe()?).await?;
        let url = format!("redis://{}", server.address());
        Ok(Self { url, source: Source::Own(Arc::new(server)) })
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redis({}, {})", self.description(), self.address())
    }
}

impl RedisOptions {
    fn recipe(self) -> Result<Recipe, Error> {
        let programs = match self.flavour.or(Flavour::wanted()?) {
            Some(flavour) => vec![flavour.program()],
            None => vec![Flavour::Redis.program(), Flavour::Valkey.program()],
        };
        let mut files = self.files;
        let mut arguments = Vec::new();
        let defaults = match self.sentinel {
            Some(configuration) => {
                files.push((SENTINEL_CONF.to_owned(), configuration.into_bytes()));
                arguments.extend([format!("{{dir}}/{SENTINEL_CONF}"), "--sentinel".to_owned()]);
                &[][..]
            }
            None => &DURABLE[..],
        };
        arguments.extend(BASICS.iter().chain(defaults).map(|argument| (*argument).to_owned()));
        arguments.extend(self.args);
        let (user, password) = self.auth.unzip();
        Ok(Recipe {
            what: "Redis",
            any_program: true,
            image: Image::wanted(REDIS_IMAGE)?,
            user: None,
            script: include_str!("scripts/redis.sh"),
            variables: vec![("SERVERS", programs.join(","))],
            programs,
            arguments,
            files,
            ports: 1 + self.more_ports,
            probe: Arc::new(Ping { user, password }),
            remedies: REMEDIES,
        })
    }
}

/// Asks with the user and password of the URL.
fn ping_of(url: &Url) -> Ping {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Ping {
        user: Some(url.username()).filter(|user| !user.is_empty()).map(decoded),
        password: url.password().map(decoded),
    }
}
