//! The one thread that writes. Whatever changes the database is a job in its queue: decided on
//! what the job before it left, and committed before the next one begins.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use mcp_event_store_core::{Error, Result, Usage};
use tokio::sync::oneshot;

use crate::batch::{Batch, Totals};
use crate::compact::Compactor;
use crate::database::Database;
use crate::sweep;

type Job = Box<dyn FnOnce(&mut Work) + Send>;

/// What the thread works on.
pub(crate) struct Work {
    pub(crate) database: Arc<Database>,
    totals: Totals,
    usage: Arc<Mutex<Usage>>,
    /// No garbage is left before this number.
    garbage_from: u64,
    compactor: Compactor,
}

/// The thread.
#[derive(Debug)]
pub(crate) struct Worker {
    /// `None` once closed. Guards nothing else; nothing awaits under it.
    open: Mutex<Option<(Sender<Job>, JoinHandle<()>)>>,
    /// What is stored as of the last commit. Nothing awaits under it.
    usage: Arc<Mutex<Usage>>,
}

impl Worker {
    pub(crate) fn start(database: Arc<Database>) -> Result<Self> {
        let totals = Totals::load(&database)?;
        let usage = Arc::new(Mutex::new(totals.usage));
        let compactor = Compactor::start(database.clone())?;
        let work = Work { database, totals, usage: usage.clone(), garbage_from: 0, compactor };
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new().name("rocksdb-writer".to_owned());
        let thread = thread.spawn(move || work.run(&queue));
        let thread = thread.map_err(|error| Error::backend("no thread could be started", error))?;
        Ok(Self { open: Mutex::new(Some((jobs, thread))), usage })
    }

    /// Has `job` done after all that were given before, and waits for it. Dropping the call
    /// leaves it to be done.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Work) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |work| {
            // A caller that went away does not mind.
            let _ = answer.send(job(work));
        });
        match &*lock(&self.open) {
            Some((jobs, _)) => jobs.send(job).map_err(|_| ended())?,
            None => return Err(Error::Closed),
        }
        answered.await.unwrap_or_else(|_| Err(ended()))
    }

    /// [`run`](Self::run), for what fills a batch that is then committed.
    pub(crate) async fn commit<T: Send + 'static>(
        &self,
        fill: impl FnOnce(&mut Batch<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(|work| work.commit(fill)).await
    }

    pub(crate) fn usage(&self) -> Usage {
        *lock(&self.usage)
    }

    /// Takes no more jobs; answers what waits for those that were given, and blocks meanwhile.
    pub(crate) fn close(&self) -> impl FnOnce() + Send + 'static {
        let open = lock(&self.open).take();
        move || {
            let Some((jobs, thread)) = open else { return };
            drop(jobs);
            if thread.join().is_err() {
                tracing::error!("the thread that writes to RocksDB ended early");
            }
        }
    }
}

/// Waits until the thread has done what it was given and closed the files, so that a process that
/// ends next does not end RocksDB in the middle of that.
impl Drop for Worker {
    fn drop(&mut self) {
        self.close()();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ended() -> Error {
    let message = "the thread that writes to RocksDB has ended: open the store again";
    Error::Backend { message: message.into(), cause: None }
}

impl Work {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            job(&mut self);
        }
        self.compactor.stop();
    }

    /// Fills a batch and commits it, or, if that fails, leaves everything as it was.
    pub(crate) fn commit<T>(
        &mut self,
        fill: impl FnOnce(&mut Batch<'_>) -> Result<T>,
    ) -> Result<T> {
        self.database.check()?;
        let mut batch = Batch::new(&self.database, self.totals);
        let filled = fill(&mut batch)?;
        self.totals = batch.commit()?;
        *lock(&self.usage) = self.totals.usage;
        Ok(filled)
    }

    /// Frees at most `max_events` removed events.
    pub(crate) fn reclaim(&mut self, max_events: u64) -> Result<u64> {
        let from = self.garbage_from;
        let freed = self.commit(|batch| sweep::reclaim(batch, from, max_events))?;
        self.garbage_from = freed.garbage_from;
        self.compactor.freed(freed.bytes);
        Ok(freed.events)
    }
}
