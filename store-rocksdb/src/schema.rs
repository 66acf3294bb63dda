//! The tables, and the version of what is in them.

use mcp_event_store_core::{Error, Result};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType,
    DataBlockIndexType, Options, SliceTransform, WriteOptions,
};

use crate::config::{Compression, RocksOptions};
use crate::error::{classify, damaged};
use crate::packed::{Packer, Unpacker};

/// What this version writes. A change of any key or value raises it.
const VERSION: u64 = 1;

/// Marks a directory as an event store's.
const MAGIC: &str = "mcp-event-store";

/// Where magic and version stand, in RocksDB's own `default` table.
const VERSION_KEY: &[u8] = b"schema";

/// Bloom filters of this size let one look-up of a hundred pass to a file in vain.
const BITS_PER_KEY: f64 = 10.0;

/// A block is what one read takes from the disk, and what one damaged byte costs.
const BLOCK_BYTES: usize = 4 * 1024;

/// Events are read one after the other.
const BLOCK_OF_EVENTS_BYTES: usize = 16 * 1024;

/// Of so many neighbouring entries, so many deleted ones make a file worth compacting: so lists
/// that sweeps empty from the front do not grow a front of deleted entries.
const DELETION_WINDOW: usize = 1024;
const DELETIONS: usize = 512;

/// Newly written files of a table that wait to be merged, before writes are slowed to 16 MiB a second.
/// RocksDB's own 20 are reached when one table's merge takes long, and hold up all tables. Filters let
/// look-ups pass most of these files.
const SLOWED_AT_FILES: i32 = 64;

/// Has a memtable remember where it put the last row of each stream.
const HINT_BY_STREAM: &str = "memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.16";

/// Deleted ranges that a memtable holds before it is written out: every read looks at them all.
const RANGES_IN_MEMORY: &str = "64";

/// The tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// Totals and version.
    Main,
    Streams,
    Names,
    Events,
    Sessions,
    Records,
    Lists,
}

impl Table {
    pub(crate) const ALL: [Self; 7] = [
        Self::Main,
        Self::Streams,
        Self::Names,
        Self::Events,
        Self::Sessions,
        Self::Records,
        Self::Lists,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Main => "default",
            Self::Streams => "streams",
            Self::Names => "names",
            Self::Events => "events",
            Self::Sessions => "sessions",
            Self::Records => "records",
            Self::Lists => "lists",
        }
    }

    /// How the table is kept in memory, before it is written to a file.
    fn memtable_options(self) -> Options {
        let mut defaults = Options::default();
        match self {
            // A stream's row, and its events, are put beside those that it got last. The bindings know
            // this option only by its name; without it appends are as right, and slower.
            Self::Streams | Self::Events => {
                defaults.get_options_from_string(HINT_BY_STREAM).unwrap_or(defaults)
            }
            _ => defaults,
        }
    }

    /// How the table is kept in files. All share one cache.
    pub(crate) fn describe(self, options: &RocksOptions, cache: &Cache) -> ColumnFamilyDescriptor {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(cache);
        blocks.set_block_size(BLOCK_BYTES);
        // Inside the cache, indexes and filters do not make memory grow with what is stored. In
        // pieces, a look-up brings in those that it needs: a file's whole index may be as large as
        // the cache.
        blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        blocks.set_partition_filters(true);
        blocks.set_metadata_block_size(BLOCK_BYTES);
        blocks.set_pin_top_level_index_and_filter(true);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_cache_index_and_filter_blocks_with_high_priority(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        blocks.set_bloom_filter(BITS_PER_KEY, false);
        let mut family = self.memtable_options();
        family.set_compression_type(compression(options.compression));
        family.set_write_buffer_size(usize::try_from(options.write_buffer).unwrap_or(usize::MAX));
        family.set_level_zero_slowdown_writes_trigger(SLOWED_AT_FILES);
        family.set_level_zero_stop_writes_trigger(2 * SLOWED_AT_FILES);
        match self {
            Self::Events => {
                // Events are sought by their stream: a file without it is passed over.
                family.set_prefix_extractor(SliceTransform::create_fixed_prefix(16));
                family.set_memtable_prefix_bloom_ratio(0.05);
                blocks.set_whole_key_filtering(false);
                blocks.set_block_size(BLOCK_OF_EVENTS_BYTES);
                family.add_compact_on_deletion_collector_factory(DELETION_WINDOW, DELETIONS, 0.5);
            }
            Self::Lists => {
                family.add_compact_on_deletion_collector_factory(DELETION_WINDOW, DELETIONS, 0.5);
            }
            // Rows that are looked up one by one.
            _ => blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash),
        }
        family.set_block_based_table_factory(&blocks);
        ColumnFamilyDescriptor::new(self.name(), family)
    }
}

fn compression(compression: Compression) -> DBCompressionType {
    match compression {
        Compression::None => DBCompressionType::None,
        Compression::Lz4 => DBCompressionType::Lz4,
        Compression::Zstd => DBCompressionType::Zstd,
    }
}

/// Checks the version of an open database, and marks a new one. Sets what can only be set then.
///
/// # Errors
/// `InvalidInput` if a newer version wrote it, or if it is another application's.
pub(crate) fn prepare(db: &DB) -> Result<()> {
    match db.get_pinned(VERSION_KEY).map_err(classify)? {
        Some(mark) => check(&mark)?,
        None if is_empty(db, &Table::ALL.map(|table| table.name().to_owned()))? => {
            let mark = Packer::default().number(VERSION).rest(MAGIC.as_bytes()).done();
            let mut synced = WriteOptions::default();
            synced.set_sync(true);
            db.put_opt(VERSION_KEY, mark, &synced).map_err(classify)?;
        }
        None => return Err(another_application()),
    }
    let events = db.cf_handle(Table::Events.name()).ok_or_else(|| damaged("table of tables"))?;
    let limit = [("memtable_max_range_deletions", RANGES_IN_MEMORY)];
    db.set_options_cf(events, &limit).map_err(classify)
}

/// Whether these are the tables of this version.
pub(crate) fn are_ours(tables: &[String]) -> bool {
    tables.len() == Table::ALL.len() && Table::ALL.iter().all(|ours| is_among(*ours, tables))
}

fn is_among(table: Table, tables: &[String]) -> bool {
    tables.iter().any(|name| name == table.name())
}

/// Checks a database that has other tables, open for reading.
///
/// # Errors
/// As [`prepare`]; none if it is the beginning of one of ours.
pub(crate) fn check_foreign(db: &DB, tables: &[String]) -> Result<()> {
    match db.get_pinned(VERSION_KEY).map_err(classify)? {
        Some(mark) => check(&mark).and_then(|()| Err(damaged("table of tables"))),
        None if is_empty(db, tables)? => Ok(()),
        None => Err(another_application()),
    }
}

fn check(mark: &[u8]) -> Result<()> {
    let mut mark = Unpacker(mark);
    let version = mark.number().filter(|_| mark.0 == MAGIC.as_bytes());
    match version {
        Some(version) if version > VERSION => {
            let reason = format!(
                "has schema version {version}, and this program knows {VERSION} at most: use the \
                 newer program"
            );
            Err(Error::invalid("rocksdb directory", reason))
        }
        Some(_) => Ok(()),
        None => Err(another_application()),
    }
}

/// Whether there is no row in any of `tables`: a database without a mark and without rows is one
/// whose creation was cut short.
fn is_empty(db: &DB, tables: &[String]) -> Result<bool> {
    for table in tables {
        let family = db.cf_handle(table).ok_or_else(|| damaged("table of tables"))?;
        let mut rows = db.raw_iterator_cf(family);
        rows.seek_to_first();
        if rows.valid() {
            return Ok(false);
        }
        rows.status().map_err(classify)?;
    }
    Ok(true)
}

fn another_application() -> Error {
    let reason = "is a RocksDB database of another application: choose another directory";
    Error::invalid("rocksdb directory", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rocksdb_knows_the_options_that_have_names_only() {
        Options::default().get_options_from_string(HINT_BY_STREAM).unwrap();
    }
}
