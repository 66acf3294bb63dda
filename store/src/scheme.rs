//! Which backend a URL asks for, and what to say if it is not here.

use mcp_event_store_core::{BackendFields, Error, Result};

/// The fields that the backends compiled in add to the configuration.
pub const BACKENDS: &[BackendFields] = &[
    #[cfg(feature = "sqlite")]
    mcp_event_store_sqlite::FIELDS,
    #[cfg(feature = "postgres")]
    mcp_event_store_postgres::FIELDS,
    #[cfg(feature = "redis")]
    mcp_event_store_redis::FIELDS,
    #[cfg(feature = "rocksdb")]
    mcp_event_store_rocksdb::FIELDS,
];

/// A backend, compiled in or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Memory,
    Sqlite,
    Postgres,
    Redis,
    RocksDb,
}

/// What can stand before `:` in a URL, and what it means.
const SCHEMES: &[(&str, Backend)] = &[
    ("memory", Backend::Memory),
    ("sqlite", Backend::Sqlite),
    ("postgres", Backend::Postgres),
    ("postgresql", Backend::Postgres),
    ("redis", Backend::Redis),
    ("rediss", Backend::Redis),
    ("redis+cluster", Backend::Redis),
    ("rediss+cluster", Backend::Redis),
    ("redis+sentinel", Backend::Redis),
    ("rediss+sentinel", Backend::Redis),
    ("rocksdb", Backend::RocksDb),
];

impl Backend {
    /// The feature that compiles it in, and whether it is on.
    fn feature(self) -> (&'static str, bool) {
        match self {
            Self::Memory => ("", true),
            Self::Sqlite => ("sqlite", cfg!(feature = "sqlite")),
            Self::Postgres => ("postgres", cfg!(feature = "postgres")),
            Self::Redis => ("redis", cfg!(feature = "redis")),
            Self::RocksDb => ("rocksdb", cfg!(feature = "rocksdb")),
        }
    }

    /// The backend that `url` asks for. Errors name nothing of `url` but its scheme, since the
    /// rest may hold a password.
    pub(crate) fn of(url: &str) -> Result<Self> {
        let Some((scheme, _)) = url.split_once(':') else {
            let reason = format!("has no scheme; write one of {}", known());
            return Err(Error::invalid("store URL", reason));
        };
        let scheme = scheme.to_ascii_lowercase();
        match SCHEMES.iter().find(|(known, _)| *known == scheme) {
            Some((_, backend)) if backend.feature().1 => Ok(*backend),
            Some((_, backend)) => Err(backend.is_missing()),
            None => Err(Error::invalid("store URL", unknown(&scheme))),
        }
    }

    /// What to say if the backend is not compiled in.
    pub(crate) fn is_missing(self) -> Error {
        let reason = format!(
            "needs a backend that is not compiled in: enable the feature `{}` of mcp-event-store",
            self.feature().0
        );
        Error::invalid("store URL", reason)
    }
}

fn unknown(scheme: &str) -> String {
    let is_scheme = scheme.len() <= 20
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let shown = if is_scheme { format!(" `{scheme}`") } else { String::new() };
    format!("has the unknown scheme{shown}; write one of {}", known())
}

fn known() -> String {
    let schemes: Vec<_> = SCHEMES.iter().map(|(scheme, _)| format!("{scheme}://…")).collect();
    schemes.join(", ")
}
