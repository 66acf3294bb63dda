//! What can be tuned of SQLite, and the path in its URL.

use std::path::PathBuf;
use std::time::Duration;

use mcp_event_store_core::{BackendFields, Config, Error, Field, Kind, Off, Result, Value};
use percent_encoding::percent_decode_str;

const SECTION: &str = "sqlite";

static BUSY_TIMEOUT: Field = Field {
    section: SECTION,
    key: "busy_timeout",
    kind: Kind::Duration,
    default: Value::Duration(Duration::from_secs(5)),
    off: Off::Refused("another process's commit has to be waited for; use a short time"),
    doc: "How long an operation waits for another process's lock.",
};

static READERS: Field = Field {
    section: SECTION,
    key: "readers",
    kind: Kind::Count,
    default: Value::Integer(4),
    off: Off::Refused("at least one connection has to read"),
    doc: "Connections that read, beside the one that writes.",
};

static PAGE_CACHE: Field = Field {
    section: SECTION,
    key: "page_cache",
    kind: Kind::Size,
    default: Value::Integer(8 * 1024 * 1024),
    off: Off::Refused("each page would be read again and again; use a small size"),
    doc: "Bytes of pages that each connection keeps in memory, at most.",
};

static MAX_FILE_SIZE: Field = Field {
    section: SECTION,
    key: "max_file_size",
    kind: Kind::Size,
    default: Value::Off,
    off: Off::Allowed,
    doc: "Bytes that the file may grow to; appends beyond it fail until a sweep frees some.",
};

/// The fields of `[sqlite]`.
pub const FIELDS: BackendFields = BackendFields {
    section: SECTION,
    schemes: &[SECTION],
    fields: &[BUSY_TIMEOUT, READERS, PAGE_CACHE, MAX_FILE_SIZE],
};

/// What can be tuned of SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// How long an operation waits for another process's lock.
    pub busy_timeout: Duration,
    /// Connections that read, beside the one that writes.
    pub readers: u32,
    /// Bytes of pages that each connection keeps in memory, at most.
    pub page_cache: u64,
    /// Bytes that the file may grow to.
    pub max_file_size: Option<u64>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self::from(&Config::default())
    }
}

impl From<&Config> for SqliteOptions {
    fn from(config: &Config) -> Self {
        let readers = config.get(&READERS).integer().and_then(|n| u32::try_from(n).ok());
        Self {
            busy_timeout: config.get(&BUSY_TIMEOUT).duration().unwrap_or_default(),
            readers: readers.unwrap_or(u32::MAX),
            page_cache: config.get(&PAGE_CACHE).integer().unwrap_or_default(),
            max_file_size: config.get(&MAX_FILE_SIZE).integer(),
        }
    }
}

/// The path in `sqlite://PATH`, with `%` escapes resolved; a query is left out.
pub(crate) fn path_of(url: &str) -> Result<PathBuf> {
    let rest = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:"));
    let rest = rest.ok_or_else(|| Error::invalid("URL", "must start with sqlite://"))?;
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    if path.is_empty() {
        let reason = "names no file: write sqlite://events.db or sqlite:///var/lib/mcp/events.db; \
                      for a store in memory use memory://";
        return Err(Error::invalid("sqlite URL", reason));
    }
    let path = percent_decode_str(path).decode_utf8();
    let path = path.map_err(|_| Error::invalid("sqlite URL", "has a path that is not UTF-8"))?;
    Ok(PathBuf::from(&*path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_or_absolute() {
        for (url, path) in [
            ("sqlite://events.db", "events.db"),
            ("sqlite:///var/lib/a%20b.db?readers=2", "/var/lib/a b.db"),
            ("sqlite:events.db", "events.db"),
        ] {
            assert_eq!(path_of(url).unwrap(), PathBuf::from(path));
        }
        assert!(path_of("sqlite://").unwrap_err().to_string().contains("memory://"));
    }

    #[test]
    fn defaults_come_from_the_fields() {
        let options = SqliteOptions::default();
        assert_eq!((options.readers, options.max_file_size), (4, None));
        assert_eq!(options.page_cache, 8 * 1024 * 1024);
        assert_eq!(options.busy_timeout, Duration::from_secs(5));
    }
}
