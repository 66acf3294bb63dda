//! Giving space back. Freed events are only marked as deleted; their bytes go when their files
//! are compacted, which RocksDB does by itself when files are written, not when they are deleted
//! from. So when much was freed, a thread of its own compacts the events.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use mcp_event_store_core::{Error, Result};
use rocksdb::CompactOptions;

use crate::database::Database;
use crate::schema::Table;

/// Freed bytes that are worth a compaction, whatever the size of the files.
const WORTH_BYTES: u64 = 16 * 1024 * 1024;

/// So many bytes are rewritten at most for each that is freed.
const REWRITTEN_PER_FREED: u64 = 2;

/// The thread, and what was freed since it last had work.
pub(crate) struct Compactor {
    database: Arc<Database>,
    orders: SyncSender<()>,
    thread: JoinHandle<()>,
    freed_bytes: u64,
}

impl Compactor {
    pub(crate) fn start(database: Arc<Database>) -> Result<Self> {
        // One order waits at most: it is for all that was freed until it is taken.
        let (orders, taken) = sync_channel(1);
        let own = database.clone();
        let thread = std::thread::Builder::new().name("rocksdb-compactor".to_owned());
        let thread = thread.spawn(move || compact(&own, &taken));
        let thread = thread.map_err(|error| Error::backend("no thread could be started", error))?;
        Ok(Self { database, orders, thread, freed_bytes: 0 })
    }

    /// Notes that `bytes` were freed, and has the events compacted if that is worth it. Each sweep
    /// asks again with none: files may have become smaller since.
    pub(crate) fn freed(&mut self, bytes: u64) {
        self.freed_bytes += bytes;
        if self.freed_bytes < WORTH_BYTES {
            return;
        }
        if self.freed_bytes.saturating_mul(REWRITTEN_PER_FREED) < self.size_of_files() {
            return;
        }
        match self.orders.try_send(()) {
            Ok(()) | Err(TrySendError::Full(())) => self.freed_bytes = 0,
            Err(TrySendError::Disconnected(())) => {}
        }
    }

    fn size_of_files(&self) -> u64 {
        let Ok(events) = self.database.table(Table::Events) else { return u64::MAX };
        let size = rocksdb::properties::LIVE_SST_FILES_SIZE;
        self.database.db().property_int_value_cf(events, size).ok().flatten().unwrap_or(u64::MAX)
    }

    /// Stops what is being compacted, for good: the database is about to be closed.
    pub(crate) fn stop(self) {
        self.database.db().cancel_all_background_work(true);
        drop(self.orders);
        if self.thread.join().is_err() {
            tracing::error!("the thread that compacts the RocksDB events ended early");
        }
    }
}

fn compact(database: &Database, orders: &Receiver<()>) {
    while orders.recv().is_ok() {
        let Ok(events) = database.table(Table::Events) else { return };
        let mut options = CompactOptions::default();
        // RocksDB's own compactions go on meanwhile.
        options.set_exclusive_manual_compaction(false);
        database.db().compact_range_cf_opt(events, None::<&[u8]>, None::<&[u8]>, &options);
        tracing::debug!("compacted the events");
    }
}
