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
        read: impl Fn(&Tables) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = self.turns.acquire().await.map_err(|_| Error::Closed)?;
        let answer = read(&self.database()?.in_memory);
        drop(turn);
        match answer {
            Err(error) if is_not_in_memory(&error) => {
                self.run(move |database| read(database)).await
            }
            answer => answer,
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
    use mcp_event_store_core::backend::PageLimit;
    use mcp_event_store_core::{Durability, Settings, Timestamp};

    use super::*;
    use crate::append::append;
    use crate::batch::{Batch, Totals};
    use crate::config::RocksOptions;
    use crate::connect::connect;
    use crate::read;
    use crate::work::{group, key};

    #[tokio::test]
    async fn what_is_not_in_memory_is_read_from_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let (path, options) = (folder.path().join("read"), RocksOptions::default());
            connect(&path, &options, Durability::Relaxed).unwrap()
        };
        let page = |tables: &Tables| {
            read::read(tables, &key(0), 0, PageLimit::PAGE, || Timestamp(0))
                .map(|page| page.unwrap().events.len())
        };

        let written = open();
        let mut batch = Batch::new(&written, Totals::default());
        let appended = append(&mut batch, &[group(0, 3)], &Settings::default(), Timestamp(0));
        assert!(appended[0].is_ok());
        batch.commit().unwrap();
        assert_eq!(page(&written.in_memory).unwrap(), 3);
        drop(written);

        // Opening writes the log's events into a file, and leaves the cache empty.
        let readers = Readers::new(Arc::new(open()), 1);
        let in_memory = || page(&readers.database().unwrap().in_memory);
        assert!(is_not_in_memory(&in_memory().unwrap_err()));
        assert_eq!(readers.read(page).await.unwrap(), 3);
        assert_eq!(in_memory().unwrap(), 3);
    }
}
