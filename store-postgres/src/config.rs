//! What can be tuned of PostgreSQL, and where the server is.

use std::time::Duration;

use mcp_event_store_core::{BackendFields, Config, Error, Field, Kind, Off, Result, Value};
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

const SECTION: &str = "postgres";

/// A field of `[postgres]`.
const fn field(
    key: &'static str,
    kind: Kind,
    default: Value,
    off: Off,
    doc: &'static str,
) -> Field {
    Field { section: SECTION, key, kind, default, off, doc }
}

const NEEDED: Off = Off::Refused("there is nothing to do without it");

static SCHEMA: Field = field(
    "schema",
    Kind::Text("mcp_event_store"),
    Value::Text("mcp_event_store"),
    Off::Refused("write the name of a schema, such as public"),
    "The schema of all tables; it is created if it is missing.",
);

static TABLE_PREFIX: Field = field(
    "table_prefix",
    Kind::Text("events_"),
    Value::Off,
    Off::Allowed,
    "What the names of all tables and functions begin with, for a schema that others use too.",
);

static WRITERS: Field = field(
    "writers",
    Kind::Count,
    Value::Integer(2),
    NEEDED,
    "Batches that are committed at the same time, each on a connection of its own.",
);

static POOL_SIZE: Field = field(
    "pool_size",
    Kind::Count,
    Value::Integer(8),
    NEEDED,
    "Connections for everything but appends.",
);

static CONNECT_TIMEOUT: Field = field(
    "connect_timeout",
    Kind::Duration,
    Value::Duration(Duration::from_secs(10)),
    Off::Refused("a server that does not answer would be waited for without end"),
    "How long a new connection, or a free one of the pool, is waited for.",
);

static REQUEST_TIMEOUT: Field = field(
    "request_timeout",
    Kind::Duration,
    Value::Duration(Duration::from_secs(30)),
    Off::Refused("a server that went away silently would be waited for without end"),
    "How long an answer is waited for before the connection counts as lost.",
);

static NOTIFY: Field = field(
    "notify",
    Kind::Choice(&["on", "off"]),
    Value::Choice("on"),
    Off::Allowed,
    "Whether instances wake each other with LISTEN and NOTIFY and prepare statements; off for \
     poolers in transaction mode, such as PgBouncer.",
);

static POLL_INTERVAL: Field = field(
    "poll_interval",
    Kind::Duration,
    Value::Duration(Duration::from_millis(100)),
    Off::Refused("followers would miss other instances' events"),
    "How often the server is asked for other instances' events while someone follows, if notify \
     is off.",
);

static SERVER_FSYNC: Field = field(
    "server_fsync",
    Kind::Choice(&["required", "external"]),
    Value::Choice("required"),
    Off::Refused("write external for a server that keeps its log safe in another way"),
    "Whether a server with fsync = off is refused for the durability committed; external for \
     services that keep the log safe elsewhere.",
);

static HOST: Field = field(
    "host",
    Kind::Text("/var/run/postgresql"),
    Value::Off,
    Off::Allowed,
    "The server or the directory of its socket, for a URL without one.",
);

static SSLMODE: Field = field(
    "sslmode",
    Kind::Choice(&["disable", "prefer", "require", "verify-ca", "verify-full"]),
    Value::Off,
    Off::Allowed,
    "How TLS is used, as libpq names it; off leaves it to PGSSLMODE, else prefer.",
);

static SSLROOTCERT: Field = field(
    "sslrootcert",
    Kind::Text("/etc/ssl/postgres-ca.pem"),
    Value::Off,
    Off::Allowed,
    "File of the certificate authorities that the server is checked against; off for the system's.",
);

static SSLCERT: Field = field(
    "sslcert",
    Kind::Text("/etc/ssl/client.pem"),
    Value::Off,
    Off::Allowed,
    "File of the client's certificate.",
);

static SSLKEY: Field = field(
    "sslkey",
    Kind::Text("/etc/ssl/client.key"),
    Value::Off,
    Off::Allowed,
    "File of the client's key.",
);

static APPLICATION_NAME: Field = field(
    "application_name",
    Kind::Text("mcp-event-store"),
    Value::Text("mcp-event-store"),
    Off::Allowed,
    "What the server's pg_stat_activity calls the connections.",
);

/// The fields of `[postgres]`.
pub const FIELDS: BackendFields = BackendFields {
    section: SECTION,
    schemes: &[SECTION, "postgresql"],
    fields: &[
        SCHEMA,
        TABLE_PREFIX,
        WRITERS,
        POOL_SIZE,
        CONNECT_TIMEOUT,
        REQUEST_TIMEOUT,
        NOTIFY,
        POLL_INTERVAL,
        SERVER_FSYNC,
        HOST,
        SSLMODE,
        SSLROOTCERT,
        SSLCERT,
        SSLKEY,
        APPLICATION_NAME,
    ],
};

/// What can be tuned of PostgreSQL. Each field is documented in [`FIELDS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresOptions {
    /// The schema of all tables.
    pub schema: String,
    /// What the names of all tables and functions begin with.
    pub table_prefix: String,
    /// Batches that are committed at the same time.
    pub writers: usize,
    /// Connections for everything but appends.
    pub pool_size: usize,
    /// How long a connection is waited for.
    pub connect_timeout: Duration,
    /// How long an answer is waited for.
    pub request_timeout: Duration,
    /// Whether LISTEN, NOTIFY and prepared statements are used.
    pub notify: bool,
    /// How often the server is asked for changes without `notify`.
    pub poll_interval: Duration,
    /// Whether a server with `fsync = off` is taken at its word.
    pub external_fsync: bool,
    /// The server, or the directory of its socket.
    pub host: Option<String>,
    /// How TLS is used, as libpq names it.
    pub sslmode: Option<String>,
    /// File of certificate authorities.
    pub sslrootcert: Option<String>,
    /// File of the client's certificate.
    pub sslcert: Option<String>,
    /// File of the client's key.
    pub sslkey: Option<String>,
    /// What the server calls the connections.
    pub application_name: Option<String>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self::from(&Config::default())
    }
}

impl From<&Config> for PostgresOptions {
    fn from(config: &Config) -> Self {
        let text = |field| config.get(field).text().map(str::to_owned);
        let word = |field| config.get(field).choice();
        let duration = |field| config.get(field).duration().unwrap_or_default();
        let count = |field| {
            let count = config.get(field).integer().and_then(|n| usize::try_from(n).ok());
            count.unwrap_or(usize::MAX)
        };
        Self {
            schema: text(&SCHEMA).unwrap_or_default(),
            table_prefix: text(&TABLE_PREFIX).unwrap_or_default(),
            writers: count(&WRITERS),
            pool_size: count(&POOL_SIZE),
            connect_timeout: duration(&CONNECT_TIMEOUT),
            request_timeout: duration(&REQUEST_TIMEOUT),
            notify: word(&NOTIFY) == Some("on"),
            poll_interval: duration(&POLL_INTERVAL),
            external_fsync: word(&SERVER_FSYNC) == Some("external"),
            host: text(&HOST),
            sslmode: word(&SSLMODE).map(str::to_owned),
            sslrootcert: text(&SSLROOTCERT),
            sslcert: text(&SSLCERT),
            sslkey: text(&SSLKEY),
            application_name: text(&APPLICATION_NAME),
        }
    }
}

/// Where the server is and how to get in: the URL without its query, and the options.
///
/// # Errors
/// `InvalidInput`. None shows anything of the URL but its scheme: the rest may hold a password.
pub(crate) fn connect_options(url: &str, options: &PostgresOptions) -> Result<PgConnectOptions> {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(Error::invalid("postgres URL", "must start with postgres://"));
    }
    let connect: PgConnectOptions = url.parse().map_err(|_| {
        let reason = "is no URL: write postgres://USER:PASSWORD@HOST:PORT/DATABASE, with special \
                      characters of the password escaped, such as %40 for @";
        Error::invalid("postgres URL", reason)
    })?;
    let connect = match &options.host {
        Some(directory) if directory.starts_with('/') => connect.socket(directory),
        Some(host) => connect.host(host),
        None => connect,
    };
    let connect = match &options.application_name {
        Some(name) => connect.application_name(name),
        None => connect,
    };
    with_tls(connect.disable_statement_logging(), options)
}

fn with_tls(mut connect: PgConnectOptions, options: &PostgresOptions) -> Result<PgConnectOptions> {
    let files = [
        ("sslrootcert", &options.sslrootcert),
        ("sslcert", &options.sslcert),
        ("sslkey", &options.sslkey),
    ];
    for (key, file) in files {
        let Some(file) = file else { continue };
        if let Err(error) = std::fs::File::open(file) {
            let reason = format!("cannot be read: {error}; check the path and its permissions");
            return Err(Error::invalid(key, reason));
        }
        connect = match key {
            "sslrootcert" => connect.ssl_root_cert(file),
            "sslcert" => connect.ssl_client_cert(file),
            _ => connect.ssl_client_key(file),
        };
    }
    let Some(mode) = &options.sslmode else { return Ok(connect) };
    let mode = match &**mode {
        "disable" => PgSslMode::Disable,
        "prefer" => PgSslMode::Prefer,
        // As libpq: a file of authorities is there to be used.
        "require" if options.sslrootcert.is_some() => PgSslMode::VerifyCa,
        "require" => PgSslMode::Require,
        "verify-ca" => PgSslMode::VerifyCa,
        "verify-full" => PgSslMode::VerifyFull,
        _ => {
            let reason = "is unknown: write disable, prefer, require, verify-ca or verify-full";
            return Err(Error::invalid("sslmode", reason));
        }
    };
    Ok(connect.ssl_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> PostgresOptions {
        let config = Config::builder().backend(FIELDS).url(url).load().unwrap();
        PostgresOptions::from(&config)
    }

    #[test]
    fn defaults_come_from_the_fields() {
        let options = PostgresOptions::default();
        assert_eq!((options.writers, options.pool_size, options.notify), (2, 8, true));
        assert_eq!((&*options.schema, &*options.table_prefix), ("mcp_event_store", ""));
        assert_eq!(options.sslmode, None);
    }

    #[test]
    fn a_query_sets_fields() {
        let url = "postgresql:///db?host=/tmp&schema=a&table_prefix=b_&notify=off&sslmode=require";
        let options = options(url);
        assert_eq!((&*options.schema, &*options.table_prefix, options.notify), ("a", "b_", false));
        let connect = connect_options(url, &options).unwrap();
        assert_eq!(connect.get_socket().unwrap().to_str(), Some("/tmp"));
        assert!(matches!(connect.get_ssl_mode(), PgSslMode::Require));
        assert_eq!(connect.get_database(), Some("db"));
    }

    #[test]
    fn refusals_show_no_password() {
        let url = "postgres://me:sec ret@[host/db";
        let error = connect_options(url, &PostgresOptions::default()).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("%40") && !shown.contains("sec"), "{shown}");
        let options = PostgresOptions { sslmode: Some("maybe".into()), ..Default::default() };
        let error = connect_options("postgres://h", &options).unwrap_err();
        assert!(error.to_string().contains("verify-full"), "{error}");
    }
}
