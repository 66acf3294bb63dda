//! What can be tuned of RocksDB, and the path in its URL.

use std::path::PathBuf;
use std::time::Duration;

use mcp_event_store_core::{BackendFields, Config, Error, Field, Kind, Off, Result, Value};
use percent_encoding::percent_decode_str;

const SECTION: &str = "rocksdb";
const MIB: u64 = 1024 * 1024;

static BLOCK_CACHE: Field = Field {
    section: SECTION,
    key: "block_cache",
    kind: Kind::Size,
    default: Value::Integer(32 * MIB),
    off: Off::Refused("every read would go to the disk; use a small size"),
    doc: "Memory for blocks, indexes and filters of files that were read.",
};

static WRITE_BUFFER: Field = Field {
    section: SECTION,
    key: "write_buffer",
    kind: Kind::Size,
    default: Value::Integer(32 * MIB),
    off: Off::Refused("commits are gathered in memory before they become files; use a small size"),
    doc: "Memory for what was written and is not yet in a sorted file.",
};

static COMPRESSION: Field = Field {
    section: SECTION,
    key: "compression",
    kind: Kind::Choice(&["none", "lz4", "zstd"]),
    default: Value::Choice("lz4"),
    off: Off::Refused(r#"write "none""#),
    doc: "How files are compressed: lz4 costs little time, zstd makes smaller files.",
};

static MAX_OPEN_FILES: Field = Field {
    section: SECTION,
    key: "max_open_files",
    kind: Kind::Count,
    default: Value::Integer(512),
    off: Off::Refused("memory would grow with the number of files; use a large number"),
    doc: "Files that are kept open.",
};

static READERS: Field = Field {
    section: SECTION,
    key: "readers",
    kind: Kind::Count,
    default: Value::Integer(8),
    off: Off::Refused("at least one thread has to read"),
    doc: "Reads at a time. Those that need the disk run on threads of their own.",
};

static LOCK_TIMEOUT: Field = Field {
    section: SECTION,
    key: "lock_timeout",
    kind: Kind::Duration,
    default: Value::Duration(Duration::from_secs(5)),
    off: Off::Refused("a process that is just ending has to be waited for; use a short time"),
    doc: "How long opening waits for another process to leave the directory.",
};

/// The fields of `[rocksdb]`.
pub const FIELDS: BackendFields = BackendFields {
    section: SECTION,
    schemes: &[SECTION],
    fields: &[BLOCK_CACHE, WRITE_BUFFER, COMPRESSION, MAX_OPEN_FILES, READERS, LOCK_TIMEOUT],
};

/// How files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Fast.
    Lz4,
    /// Small.
    Zstd,
}

/// What can be tuned of RocksDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RocksOptions {
    /// Bytes of memory for blocks, indexes and filters of files that were read.
    pub block_cache: u64,
    /// Bytes of memory for what was written and is not yet in a sorted file.
    pub write_buffer: u64,
    /// How files are compressed.
    pub compression: Compression,
    /// Files that are kept open.
    pub max_open_files: u32,
    /// Reads at a time.
    pub readers: u32,
    /// How long opening waits for another process to leave the directory.
    pub lock_timeout: Duration,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self::from(&Config::default())
    }
}

impl From<&Config> for RocksOptions {
    fn from(config: &Config) -> Self {
        let size = |field| config.get(field).integer().unwrap_or(u64::MAX);
        let count = |field| u32::try_from(size(field)).unwrap_or(u32::MAX);
        Self {
            block_cache: size(&BLOCK_CACHE),
            write_buffer: size(&WRITE_BUFFER),
            compression: match config.get(&COMPRESSION).choice() {
                Some("none") => Compression::None,
                Some("zstd") => Compression::Zstd,
                _ => Compression::Lz4,
            },
            max_open_files: count(&MAX_OPEN_FILES),
            readers: count(&READERS),
            lock_timeout: config.get(&LOCK_TIMEOUT).duration().unwrap_or_default(),
        }
    }
}

/// The path in `rocksdb://PATH`, with `%` escapes resolved; a query is left out.
pub(crate) fn path_of(url: &str) -> Result<PathBuf> {
    let rest = url.strip_prefix("rocksdb://").or_else(|| url.strip_prefix("rocksdb:"));
    let rest = rest.ok_or_else(|| Error::invalid("URL", "must start with rocksdb://"))?;
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    if path.is_empty() {
        let reason = "names no directory: write rocksdb://events or rocksdb:///var/lib/mcp/events; \
                      for a store in memory use memory://";
        return Err(Error::invalid("rocksdb URL", reason));
    }
    let path = percent_decode_str(path).decode_utf8();
    let path = path.map_err(|_| Error::invalid("rocksdb URL", "has a path that is not UTF-8"))?;
    Ok(PathBuf::from(&*path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_or_absolute() {
        for (url, path) in [
            ("rocksdb://events", "events"),
            ("rocksdb:///var/lib/a%20b?readers=2", "/var/lib/a b"),
            ("rocksdb:events", "events"),
        ] {
            assert_eq!(path_of(url).unwrap(), PathBuf::from(path));
        }
        assert!(path_of("rocksdb://").unwrap_err().to_string().contains("memory://"));
    }

    #[test]
    fn defaults_come_from_the_fields() {
        let options = RocksOptions::default();
        assert_eq!((options.block_cache, options.write_buffer), (32 * MIB, 32 * MIB));
        assert_eq!((options.compression, options.max_open_files), (Compression::Lz4, 512));
        assert_eq!((options.readers, options.lock_timeout), (8, Duration::from_secs(5)));
    }

    #[test]
    fn a_query_sets_the_fields() {
        let url = "rocksdb://events?compression=zstd&block_cache=1MiB&lock_timeout=10ms";
        let config = Config::builder().backend(FIELDS).url(url).load().unwrap();
        let options = RocksOptions::from(&config);
        assert_eq!((options.compression, options.block_cache), (Compression::Zstd, MIB));
        assert_eq!(options.lock_timeout, Duration::from_millis(10));
    }
}
