//! Opening a directory: clear words for what can be wrong with it, the lock, then RocksDB.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use mcp_event_store_core::{Durability, Error, Result};
use rocksdb::{Cache, DB, DBRecoveryMode, Options};

use crate::config::RocksOptions;
use crate::database::Database;
use crate::error::classify;
use crate::lock::{self, Lock};
use crate::schema::{self, Table};
use crate::tail;

/// Names the newest manifest: there is a database where it is.
const CURRENT: &str = "CURRENT";

/// The log is kept for tables that have not been written out; this many write buffers of it at
/// most, so that opening after a crash takes seconds.
const LOG_BUFFERS: u64 = 4;

/// Open files are kept from growing without end in RocksDB's own log of what it does.
const MAX_LOG_FILE_BYTES: usize = 4 * 1024 * 1024;
const LOG_FILES: usize = 4;

/// Opens or creates the database at `path`. Blocks.
pub(crate) fn connect(
    path: &Path,
    options: &RocksOptions,
    durability: Durability,
) -> Result<Database> {
    check_path(path)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(unusable(path, error));
        }
        _ => {}
    }
    check_contents(path)?;
    let lock = Lock::take(path, options.lock_timeout)?;
    let database = database_options(options, durability);
    check_tables(path, &database)?;
    let db = open(path, options, &database).or_else(|error| {
        if error.kind() != rocksdb::ErrorKind::Corruption || !tail::is_torn(path).unwrap_or(false) {
            return Err(error);
        }
        tracing::warn!(%error, "the last record of the RocksDB log is torn: it is dropped");
        open(path, options, &database_options(options, Durability::Relaxed))
    });
    let db = db.map_err(classify)?;
    schema::prepare(&db)?;
    Ok(Database::new(db, lock, durability))
}

fn open(path: &Path, options: &RocksOptions, database: &Options) -> Result<DB, rocksdb::Error> {
    let cache = Cache::new_lru_cache(bytes(options.block_cache));
    let tables = Table::ALL.map(|table| table.describe(options, &cache));
    DB::open_cf_descriptors(database, path, tables)
}

fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

fn database_options(options: &RocksOptions, durability: Durability) -> Options {
    let mut database = Options::default();
    database.create_if_missing(true);
    database.create_missing_column_families(true);
    database.set_max_open_files(i32::try_from(options.max_open_files).unwrap_or(i32::MAX));
    database.set_db_write_buffer_size(bytes(options.write_buffer));
    database.set_max_total_wal_size(options.write_buffer.saturating_mul(LOG_BUFFERS));
    database.set_max_background_jobs(2);
    // Large writes reach the disk as they come, and not all at once at the end.
    database.set_bytes_per_sync(1024 * 1024);
    database.set_keep_log_file_num(LOG_FILES);
    database.set_max_log_file_size(MAX_LOG_FILE_BYTES);
    database.set_stats_dump_period_sec(0);
    database.set_stats_persist_period_sec(0);
    database.set_wal_recovery_mode(match durability {
        // Every acknowledged commit was synced, so only the last can be torn; damage before it
        // is damage to what was acknowledged, and must not be cut away in silence. It tolerates
        // less of a torn record than it might: `tail` looks at what it refuses.
        Durability::Committed => DBRecoveryMode::TolerateCorruptedTailRecords,
        // A loss of power leaves any mixture of what was not synced: keep what precedes the gap.
        Durability::Relaxed => DBRecoveryMode::PointInTime,
    });
    database
}

/// Finds what RocksDB would report as a mere I/O error.
fn check_path(path: &Path) -> Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    };
    if !parent.is_dir() {
        let reason = format!("lies in {}, which is no directory: create it", parent.display());
        return Err(refuse(path, &reason));
    }
    let Ok(metadata) = path.metadata() else { return Ok(()) };
    if !metadata.is_dir() {
        return Err(refuse(path, "is no directory: give the path of a directory"));
    }
    if metadata.permissions().readonly() {
        return Err(refuse(path, "is read-only: make it writable, as with `chmod u+w`"));
    }
    Ok(())
}

/// Refuses a directory with other files in it: RocksDB would put its own among them, and delete
/// what has such a name.
fn check_contents(path: &Path) -> Result<()> {
    if path.join(CURRENT).exists() {
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(|error| unusable(path, error))? {
        let name = entry.map_err(|error| unusable(path, error))?.file_name();
        let name = name.to_string_lossy();
        if !is_beginning(&name) {
            let reason = format!(
                "holds {name} and no RocksDB database: choose an empty or a new directory, or \
                 restore a backup of the whole directory"
            );
            return Err(refuse(path, &reason));
        }
    }
    Ok(())
}

/// Whether a creation that was cut short can have left a file of this name.
fn is_beginning(name: &str) -> bool {
    const NAMES: [&str; 4] = [lock::FILE, "LOCK", "IDENTITY", "lost+found"];
    NAMES.contains(&name)
        || ["LOG", "MANIFEST-"].iter().any(|begin| name.starts_with(begin))
        || Path::new(name).extension().is_some_and(|extension| extension == "dbtmp")
}

/// Refuses a database with other tables, as it is.
fn check_tables(path: &Path, options: &Options) -> Result<()> {
    if !path.join(CURRENT).exists() {
        return Ok(());
    }
    let tables = DB::list_cf(options, path).map_err(classify)?;
    if schema::are_ours(&tables) {
        return Ok(());
    }
    let db = DB::open_cf_for_read_only(&Options::default(), path, &tables, false);
    schema::check_foreign(&db.map_err(classify)?, &tables)
}

fn refuse(path: &Path, reason: &str) -> Error {
    Error::invalid("rocksdb path", format!("{} {reason}", path.display()))
}

fn unusable(path: &Path, error: std::io::Error) -> Error {
    let message = format!("{} cannot be read and written by this user", path.display());
    Error::backend(message, error)
}
