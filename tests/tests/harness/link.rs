//! The in-memory store behind a link that can be cut: what a database server's connection does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use mcp_event_store_compliance::{Cut, Harness, HarnessError, Opened, async_trait};
use mcp_event_store_core::backend::{
    Appended, Backend, Candidates, Cursor, Found, Group, Page, PageLimit, Removal, StreamKey,
    StreamMeta, Wakeup,
};
use mcp_event_store_core::memory::MemoryBackend;
use mcp_event_store_core::{
    Clock, Deleted, Engine, Error, Lease, LeaseState, Result, SessionId, SessionRecord, Settings,
    Store, StreamRef, Timestamp, Usage,
};
use tokio::sync::watch;

use super::memory::Memory;

/// What a link does to requests.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// The cut that waits for the next write. Guards nothing else; nothing awaits under it.
    next: Arc<Mutex<Option<Cut>>>,
    /// Whether no request gets through, and how often the connection was lost so far.
    down: watch::Sender<(bool, u64)>,
}

impl Default for Link {
    fn default() -> Self {
        Self { next: Arc::default(), down: watch::Sender::new((false, 0)) }
    }
}

fn lost() -> std::io::Error {
    std::io::Error::from(std::io::ErrorKind::ConnectionReset)
}

impl Link {
    pub(crate) fn cut(&self, cut: Cut) {
        match cut {
            Cut::Down => self.lose(true),
            once => *self.next.lock().unwrap() = Some(once),
        }
    }

    pub(crate) fn mend(&self) {
        self.next.lock().unwrap().take();
        self.down.send_modify(|(down, _)| *down = false);
    }

    fn lose(&self, down: bool) {
        self.down.send_modify(|state| *state = (down, state.1 + 1));
    }

    /// The way of a request to the database.
    fn ask(&self) -> Result<()> {
        if self.down.borrow().0 {
            return Err(Error::unavailable("the connection is lost", lost()));
        }
        Ok(())
    }

    /// How often the connection was lost so far.
    pub(crate) fn losses(&self) -> u64 {
        self.down.borrow().1
    }

    /// The cut that strikes the write which is about to be sent.
    pub(crate) fn strike(&self) -> Option<Cut> {
        let cut = self.next.lock().unwrap().take();
        if cut.is_some() {
            self.lose(false);
        }
        cut
    }
}

/// A backend at the other end of a link.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) backend: MemoryBackend,
    pub(crate) link: Link,
}

/// Methods that only have to get through.
macro_rules! over_the_link {
    ($(fn $name:ident(&self $(, $argument:ident: $type:ty)*) -> $output:ty;)*) => {
        #[async_trait]
        impl Backend for Remote {
            $(async fn $name(&self $(, $argument: $type)*) -> Result<$output> {
                self.link.ask()?;
                self.backend.$name($($argument),*).await
            })*

            fn name(&self) -> &'static str {
                "remote"
            }

            fn writers(&self) -> usize {
                2
            }

            fn place_key(&self, stream: &StreamRef, key: StreamKey) -> StreamKey {
                self.backend.place_key(stream, key)
            }

            async fn append(
                &self,
                groups: &[Group],
                settings: &Settings,
            ) -> Result<Vec<Result<Appended>>> {
                self.append_over_the_link(groups, settings).await
            }

            fn wakeups(&self) -> BoxStream<'static, Wakeup> {
                self.wakeups_over_the_link()
            }
        }
    };
}

over_the_link! {
    fn find(&self, stream: &StreamRef) -> Option<Found>;
    fn read(&self, key: &StreamKey, after: u64, limit: PageLimit) -> Option<Page>;
    fn renew(&self, stream: &StreamRef, lease: &Lease, settings: &Settings) -> LeaseState;
    fn take_over(&self, key: &StreamKey) -> Option<u64>;
    fn delete_stream(&self, stream: &StreamRef) -> Deleted;
    fn delete_session(&self, session: &SessionId) -> Deleted;
    fn load_session(&self, id: &SessionId, settings: &Settings) -> Option<SessionRecord>;
    fn store_session(&self, id: &SessionId, record: &SessionRecord, settings: &Settings) -> ();
    fn touch_session(&self, id: &SessionId, settings: &Settings) -> bool;
    fn candidates(&self, which: &Candidates, after: Option<Cursor>, limit: usize)
        -> (Vec<StreamMeta>, Option<Cursor>);
    fn large_sessions(&self, min_bytes: u64, after: Option<SessionId>, limit: usize)
        -> Vec<(SessionId, u64)>;
    fn remove(&self, removals: &[Removal]) -> Vec<Option<u64>>;
    fn reclaim(&self, max_events: u64) -> u64;
    fn forget_sessions(&self, settings: &Settings, limit: usize) -> u64;
    fn claim_sweep(&self, instance: &str, ttl: Duration) -> bool;
    fn usage(&self) -> Usage;
    fn now(&self) -> Timestamp;
    fn ping(&self) -> ();
    fn close(&self) -> ();
}

impl Remote {
    /// A commit whose request or answer may be lost on the way.
    async fn append_over_the_link(
        &self,
        groups: &[Group],
        settings: &Settings,
    ) -> Result<Vec<Result<Appended>>> {
        self.link.ask()?;
        // The time that a request is on its way, in which others queue up.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        let unknown = || Error::outcome_unknown("the connection was lost during a commit", lost());
        match self.link.strike() {
            Some(Cut::Answer) => {
                self.backend.append(groups, settings).await?;
                Err(unknown())
            }
            // To the driver it looks the same.
            Some(_) => Err(unknown()),
            None => self.backend.append(groups, settings).await,
        }
    }

    /// Wake-ups that are lost while the link is down, with a word when it is back.
    fn wakeups_over_the_link(&self) -> BoxStream<'static, Wakeup> {
        let changes = self.link.down.subscribe();
        let reconnected = stream::unfold(changes, |mut changes| async move {
            changes.changed().await.ok()?;
            changes.wait_for(|(down, _)| !down).await.ok()?;
            Some((Wakeup::Any, changes))
        });
        let down = self.link.down.subscribe();
        let told = self.backend.wakeups().filter(move |_| std::future::ready(!down.borrow().0));
        stream::select(told, reconnected).boxed()
    }
}

/// Streams in memory behind one link.
#[derive(Default)]
pub(crate) struct Linked {
    memory: Memory,
    pub(crate) link: Link,
}

#[async_trait]
impl Harness for Linked {
    async fn create() -> Result<Self, HarnessError> {
        Ok(Self::default())
    }

    async fn open(&self, settings: &Settings, clock: &Clock) -> Result<Opened, HarnessError> {
        let remote = Remote { backend: self.memory.backend(clock), link: self.link.clone() };
        Ok(Store::new(Engine::open(remote, settings.clone())?).into())
    }

    fn address(&self) -> String {
        self.memory.address()
    }

    async fn tear_down(self: Box<Self>) -> Result<(), HarnessError> {
        Ok(())
    }

    async fn cut(&self, cut: Cut) -> Result<(), HarnessError> {
        self.link.cut(cut);
        Ok(())
    }

    async fn mend(&self) -> Result<(), HarnessError> {
        self.link.mend();
        Ok(())
    }

    /// It is, but this is how the model test's other way of looking at T6 is tried.
    fn recency_is_exact(&self) -> bool {
        false
    }

    /// What a kill is to a server in memory that keeps its data: all connections are lost at once.
    async fn kill_server(&self) -> Result<(), HarnessError> {
        self.link.cut(Cut::Down);
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.link.mend();
        Ok(())
    }
}
