//! PgBouncer in front of a PostgreSQL server.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use percent_encoding::percent_decode_str;
use url::Url;

use crate::environment::{Image, PGBOUNCER_IMAGE};
use crate::error::Error;
use crate::postgres::{Postgres, Query};
use crate::recipe::Recipe;
use crate::runtime;
use crate::server::{Probe, Server};
use crate::source::at;

const REMEDIES: &str = "  - run the tests with tests/run.sh, which installs what is missing
  - start docker and build the images with tests/images.sh, or name one in MCP_EVENT_STORE_TEST_PGBOUNCER_IMAGE
  - install PgBouncer, such as with: apt-get install pgbouncer";

/// A PgBouncer for tests.
pub struct PgBouncer {
    url: Url,
    server: Server,
}

impl PgBouncer {
    /// Starts one in front of the server, with the same user and password, and `pool_mode` as in
    /// its manual: `session`, `transaction` or `statement`. It ends when the value is dropped.
    ///
    /// # Errors
    /// There is none, or it does not start.
    pub async fn own(server: &Postgres, pool_mode: &str) -> Result<Self, Error> {
        let recipe = recipe(server, pool_mode)?;
        let url = server.parsed_url().clone();
        runtime::run(async move {
            let server = Server::new(recipe).await?;
            Ok(Self { url: at(&url, server.address()), server })
        })
        .await
    }

    /// Like the server's URL, but through the PgBouncer.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Where it runs: `PgBouncer for PostgreSQL 17.5, container mcp-event-store-test:trixie`.
    #[must_use]
    pub fn description(&self) -> String {
        self.server.description().to_owned()
    }
}

impl std::fmt::Debug for PgBouncer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PgBouncer({}, {})", self.description(), self.server.address())
    }
}

fn recipe(server: &Postgres, pool_mode: &str) -> Result<Recipe, Error> {
    Ok(Recipe {
        what: "PgBouncer",
        programs: vec!["pgbouncer"],
        any_program: false,
        image: Image::wanted(PGBOUNCER_IMAGE)?,
        // It refuses to run as root.
        user: Some("nobody"),
        script: include_str!("scripts/pgbouncer.sh"),
        variables: Vec::new(),
        arguments: Vec::new(),
        files: vec![
            ("pgbouncer.ini".to_owned(), configuration(server, pool_mode).into_bytes()),
            ("users.txt".to_owned(), users(server.parsed_url()).into_bytes()),
        ],
        ports: 1,
        probe: Arc::new(Through(Query { url: server.parsed_url().clone() })),
        remedies: REMEDIES,
    })
}

fn configuration(server: &Postgres, pool_mode: &str) -> String {
    let (host, port) = (server.address().ip(), server.address().port());
    format!(
        "[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {{port}}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {{dir}}/users.txt
pool_mode = {pool_mode}
max_client_conn = 1000
default_pool_size = 20
; What its manual advises for drivers that set it at start.
ignore_startup_parameters = extra_float_digits
"
    )
}

/// The user and password, with which it also logs in to the server.
fn users(url: &Url) -> String {
    let quoted = |text: &str| {
        let text = percent_decode_str(text).decode_utf8_lossy().replace('"', "\"\"");
        format!("\"{text}\"")
    };
    format!("{} {}\n", quoted(url.username()), quoted(url.password().unwrap_or_default()))
}

/// Ready when the server answers a query through it.
struct Through(Query);

#[async_trait]
impl Probe for Through {
    async fn answers(&self, address: SocketAddr) -> Result<String, String> {
        self.0.answers(address).await.map(|server| format!("PgBouncer for {server}"))
    }
}
