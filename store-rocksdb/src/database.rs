//! The open database: reads of single values and of ranges, and the one way to write.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mcp_event_store_core::backend::{Known, StreamKey};
use mcp_event_store_core::{Durability, Error, Result, SessionId, StreamRef};
use rocksdb::{
    ColumnFamily, DB, DBPinnableSlice, DBRawIterator, ReadOptions, ReadTier, WriteBatch,
    WriteOptions,
};

use crate::error::{classify, classify_commit, damaged, is_io_error};
use crate::lock::Lock;
use crate::marks::Marks;
use crate::rows::{SessionRow, StreamRow, name_key, stream_key};
use crate::schema::Table;

/// An open directory. Dropping the last handle closes it, which can take a moment.
pub(crate) struct Database {
    // Closed before the lock is given back.
    tables: Tables,
    /// The same tables, of which only what is in memory is read: anything else is an error that
    /// [is not in memory](crate::error::is_not_in_memory).
    pub(crate) in_memory: Tables,
    _lock: Lock,
    durability: Durability,
    pub(crate) marks: Marks,
    /// Open streams, and sessions, as they are stored: one process has the directory open, and one
    /// thread of it writes.
    pub(crate) known: Known<StreamRef, StreamRow>,
    pub(crate) known_sessions: Known<SessionId, SessionRow>,
    /// Set when a write failed so that nobody knows what the disk holds.
    failed: AtomicBool,
}

/// The tables, to be read.
pub(crate) struct Tables {
    db: Arc<DB>,
    tier: ReadTier,
}

/// Bytes that are read at once of a range that passes by, but for what lies behind its end: RocksDB by
/// itself begins with two blocks, anew for each page.
const READ_AHEAD: usize = 128 * 1024;

/// Whether what is read is worth keeping in the block cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cache {
    Fill,
    Leave,
    /// It is not, and all of the range will be asked for.
    Pass,
}

/// A range of a table, row by row.
pub(crate) struct Rows<'a> {
    rows: DBRawIterator<'a>,
    is_started: bool,
}

impl Database {
    pub(crate) fn new(db: DB, lock: Lock, durability: Durability) -> Self {
        let db = Arc::new(db);
        Self {
            tables: Tables { db: db.clone(), tier: ReadTier::All },
            in_memory: Tables { db, tier: ReadTier::BlockCache },
            _lock: lock,
            durability,
            marks: Marks::default(),
            known: Known::default(),
            known_sessions: Known::default(),
            failed: AtomicBool::new(false),
        }
    }

    /// Whether writes are taken.
    pub(crate) fn check(&self) -> Result<()> {
        if self.failed.load(Ordering::SeqCst) {
            let message = "the disk failed while RocksDB used it, so nothing more is written: check \
                           the disk, then open the store again";
            return Err(Error::Backend { message: message.into(), cause: None });
        }
        Ok(())
    }

    /// Commits `batch`, durably if so configured. After an I/O error nothing more is written.
    pub(crate) fn write(&self, batch: WriteBatch) -> Result<()> {
        self.check()?;
        let mut options = WriteOptions::default();
        options.set_sync(self.durability == Durability::Committed);
        self.db.write_opt(batch, &options).map_err(|error| {
            if is_io_error(&error) {
                tracing::error!(%error, "the RocksDB store takes no more writes until it is reopened");
                self.failed.store(true, Ordering::SeqCst);
            }
            classify_commit(error)
        })
    }
}

impl Deref for Database {
    type Target = Tables;

    fn deref(&self) -> &Tables {
        &self.tables
    }
}

impl Tables {
    pub(crate) fn table(&self, table: Table) -> Result<&ColumnFamily> {
        self.db.cf_handle(table.name()).ok_or_else(|| damaged("table of tables"))
    }

    /// RocksDB itself, for what concerns files rather than rows.
    pub(crate) fn db(&self) -> &DB {
        &self.db
    }

    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_read_tier(self.tier);
        options
    }

    /// The value of `key`.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<DBPinnableSlice<'_>>> {
        self.db.get_pinned_cf_opt(self.table(table)?, key, &self.options()).map_err(classify)
    }

    /// The rows from `from` to before `below`, as they are now. Of events that is a range of one
    /// stream, which is a prefix: files are passed over whose filters do not know it.
    ///
    /// No read takes a snapshot of RocksDB's: each that is released has it rewrite its lowest files.
    pub(crate) fn rows(
        &self,
        table: Table,
        from: Vec<u8>,
        below: Vec<u8>,
        cache: Cache,
    ) -> Result<Rows<'_>> {
        let mut options = self.options();
        options.set_iterate_lower_bound(from);
        options.set_iterate_upper_bound(below);
        options.fill_cache(cache == Cache::Fill);
        if cache == Cache::Pass {
            options.set_readahead_size(READ_AHEAD);
        }
        let rows = self.db.raw_iterator_cf_opt(self.table(table)?, options);
        Ok(Rows { rows, is_started: false })
    }

    /// The key of a stream with this name.
    pub(crate) fn key_of(&self, stream: &StreamRef) -> Result<Option<StreamKey>> {
        let key = self.get(Table::Names, &name_key(stream))?;
        key.map(|key| stream_key(&key)).transpose()
    }

    /// A stream by its key.
    pub(crate) fn stream(&self, key: &StreamKey) -> Result<Option<StreamRow>> {
        let row = self.get(Table::Streams, &key.0)?;
        row.map(|row| StreamRow::unpack(*key, &row)).transpose()
    }

    /// A stream by its name.
    pub(crate) fn stream_named(&self, stream: &StreamRef) -> Result<Option<StreamRow>> {
        let mut key = self.key_of(stream)?;
        while let Some(found) = key {
            if let Some(row) = self.stream(&found)? {
                return Ok(Some(row));
            }
            // Deleted since, and perhaps created again; or damaged.
            key = self.key_of(stream)?;
            if key == Some(found) {
                return Err(damaged("stream name"));
            }
        }
        Ok(None)
    }

    /// A session.
    pub(crate) fn session(&self, session: &SessionId) -> Result<Option<SessionRow>> {
        let row = self.get(Table::Sessions, session.as_str().as_bytes())?;
        row.map(|row| SessionRow::unpack(&row)).transpose()
    }
}

impl Rows<'_> {
    /// The next row.
    pub(crate) fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if self.is_started {
            self.rows.next();
        } else {
            self.rows.seek_to_first();
            self.is_started = true;
        }
        if !self.rows.valid() {
            self.rows.status().map_err(classify)?;
        }
        Ok(self.rows.item())
    }
}
