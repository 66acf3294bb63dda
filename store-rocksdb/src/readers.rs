//! Reads, a limited number at a time: of what is in memory at once, of the disk on a thread on which
//! they may block.

use std::sync::{Arc, Mutex, PoisonError};

use mcp_event_store_core::{Error, Result};
use tokio::sync::Semaphore;

use crate::database::{Database, Tables};
use crate::error::is_not_in_memory;

/// Who may read.
pub(crate) struct Readers {
    /// `None` once closed. Guards nothing else; nothing awaits under it.
    database: Mutex<Option<Arc<Database>>>,
    turns: Arc<Semaphore>,
    count: u32,
}

impl Readers {
    pub(crate) fn new(database: Arc<Database>, count: u32) -> Self {
        let turns = Arc::new(Semaphore::new(count as usize));
        Self { database: Mutex::new(Some(database)), turns, count }
    }

    pub(crate) fn database(&self) -> Result<Arc<Database>> {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        database.clone().ok_or(Error::Closed)
    }

    /// Reads at once if all of it is in memory, and else like [`run`](Self::run). What is read has to
    /// be little.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl Fn(&Tables) -> Result<T> + Send + Sync + 'static,
    ) -> Result<T> {
        match self.read_at_once(&read).await? {
            Some(answer) => Ok(answer),
            None => self.run(move |database| read(database)).await,
        }
    }

    /// Reads at once; `None` if not all of it is in memory. What is read has to be little.
    pub(crate) async fn read_at_once<T>(
        &self,
        read: impl FnOnce(&Tables) -> Result<T> + Send,
    ) -> Result<Option<T>> {
        let turn = self.turns.acquire().await.map_err(|_| Error::Closed)?;
        let answer = read(&self.database()?.in_memory);
        drop(turn);
        match answer {
            Err(error) if is_not_in_memory(&error) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Reads. A dropped call is read to its end, which is that of a page, and leaves nothing open.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Database) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| Error::Closed)?;
        let database = self.database()?;
        let reading = tokio::task::spawn_blocking(move || {
            let answer = read(&database);
            // Whoever has all turns may rely on it that no reader holds the database.
            drop(database);
            drop(turn);
            answer
        });
        reading.await.unwrap_or_else(|error| Err(Error::backend("a read ended early", error)))
    }

    /// Lets no one in any more, waits for those who read, and gives up the database.
    pub(crate) async fn close(&self) -> Option<Arc<Database>> {
        let all = self.turns.acquire_many(self.count).await;
        self.turns.close();
        drop(all);
        self.database.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mcp_event_store_core::backend::PageLimit;
    use mcp_event_store_core::{Durability, Settings, Timestamp};

    use super::*;
    use crate::append::append;
    use crate::batch::{Batch, Totals};
    use crate::config::RocksOptions;
    use crate::connect::connect;
    use crate::read::{self, LATER_PAGES};
    use crate::work::{group, key};

    /// Opens a store in `folder`, of a stream of `events` events that are in a file, with nothing in
    /// the cache.
    fn stored(folder: &Path, events: u64) -> Readers {
        let open = || {
            let (path, options) = (folder.join("read"), RocksOptions::default());
            connect(&path, &options, Durability::Relaxed).unwrap()
        };
        let written = open();
        let mut batch = Batch::new(&written, Totals::default());
        let appended = append(&mut batch, &[group(0, events)], &Settings::default(), Timestamp(0));
        assert!(appended[0].is_ok());
        batch.commit().unwrap();
        let count = events.min(PageLimit::PAGE.events);
        assert_eq!(page(&written.in_memory, 0).unwrap(), count);
        drop(written);
        // Opening writes the log's events into a file, and leaves the cache empty.
        Readers::new(Arc::new(open()), 1)
    }

    /// How many events the page after `after` has.
    fn page(tables: &Tables, after: u64) -> Result<u64> {
        let page = read::read(tables, &key(0), after, PageLimit::PAGE, || Timestamp(0));
        page.map(|page| page.unwrap().events.len() as u64)
    }

    #[tokio::test]
    async fn what_is_not_in_memory_is_read_from_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let readers = stored(folder.path(), 3);
        let in_memory = || page(&readers.database().unwrap().in_memory, 0);
        assert!(is_not_in_memory(&in_memory().unwrap_err()));
        assert_eq!(readers.read(|tables| page(tables, 0)).await.unwrap(), 3);
        assert_eq!(in_memory().unwrap(), 3);
    }

    #[tokio::test]
    async fn later_pages_of_a_long_stream_are_larger_and_stop_before_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let readers = stored(folder.path(), 2000);
        for (limit, after, events) in [
            (PageLimit::PAGE, 256, 256),
            (LATER_PAGES, 256, 1024),
            (LATER_PAGES, 720, 1024),
            (LATER_PAGES, 721, 1023),
            (LATER_PAGES, 1400, 344),
            (LATER_PAGES, 1500, 256),
            (LATER_PAGES, 1744, 256),
            (LATER_PAGES, 1999, 1),
        ] {
            let read =
                move |tables: &Tables| read::read(tables, &key(0), after, limit, || Timestamp(0));
            let page = readers.read(read).await.unwrap().unwrap();
            let seqs: Vec<_> = page.events.iter().map(|event| event.seq).collect();
            assert_eq!(seqs, (after + 1..=after + events).collect::<Vec<_>>(), "after {after}");
        }
    }

    #[tokio::test]
    async fn the_end_of_a_stream_stays_in_memory_and_what_lies_before_it_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let readers = stored(folder.path(), 1000);
        let in_memory = |after| page(&readers.database().unwrap().in_memory, after);
        for (after, events, stays) in [(0, 256, false), (743, 256, false), (744, 256, true)] {
            assert_eq!(readers.read(move |tables| page(tables, after)).await.unwrap(), events);
            match in_memory(after) {
                Ok(found) => assert!(stays && found == events, "after {after}"),
                Err(error) => assert!(!stays && is_not_in_memory(&error), "after {after}: {error}"),
            }
        }
    }
}
