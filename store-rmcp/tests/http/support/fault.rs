//! A store that is slow or away on command, over one that works.
//!
//! No mock: what works is done by the real store below.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use mcp_event_store::{
    Begun, Deleted, Error, EventId, EventStore, Lease, LeaseState, Maintenance, NewEvent, Replay,
    ReplayMode, Result, Scope, SessionId, SessionRecord, SessionStore, Store, StreamRef,
    SweepReport, Usage,
};
use tokio::sync::watch;

/// How operations fare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Work,
    /// They wait until the store works again.
    Stall,
    /// They fail with `Unavailable`.
    Fail,
    /// They fail with `OutcomeUnknown`, and nothing is stored.
    Lose,
}

#[derive(Clone, Debug)]
struct State {
    appends: Mode,
    /// Of sessions.
    deletions: Mode,
    /// Everything else but maintenance.
    rest: Mode,
    /// The one session that notices.
    only: Option<String>,
}

const FINE: State =
    State { appends: Mode::Work, deletions: Mode::Work, rest: Mode::Work, only: None };

/// The test's hold on the store.
pub struct Fault {
    state: watch::Sender<State>,
    waiting: Arc<AtomicUsize>,
}

impl Fault {
    /// A store over `store` that works until told otherwise.
    pub fn over(store: &Store) -> (Self, Store) {
        let (fault, state) = watch::channel(FINE);
        let waiting = Arc::<AtomicUsize>::default();
        let faulty = Faulty { store: store.clone(), state, waiting: waiting.clone() };
        (Self { state: fault, waiting }, Store::new(Arc::new(faulty)))
    }

    pub fn appends(&self, appends: Mode) {
        self.state.send_replace(State { appends, ..FINE });
    }

    pub fn appends_of(&self, session: &str, appends: Mode) {
        self.state.send_replace(State { appends, only: Some(session.to_owned()), ..FINE });
    }

    pub fn deletions(&self, deletions: Mode) {
        self.state.send_replace(State { deletions, ..FINE });
    }

    pub fn everything(&self, mode: Mode) {
        self.state.send_replace(State { appends: mode, deletions: mode, rest: mode, only: None });
    }

    /// How many operations are stalled.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }
}

struct Faulty {
    store: Store,
    state: watch::Receiver<State>,
    waiting: Arc<AtomicUsize>,
}

/// Counts an operation as long as it waits, or until it is given up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn of(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Faulty {
    /// Passes when the store works, for this session, as far as `part` is concerned.
    async fn pass(&self, session: Option<&SessionId>, part: fn(&State) -> Mode) -> Result<()> {
        let mode = |state: &State| match &state.only {
            Some(only) if session.is_none_or(|session| session.as_str() != only) => Mode::Work,
            _ => part(state),
        };
        let mut state = self.state.clone();
        let waiting = (mode(&state.borrow()) == Mode::Stall).then(|| Waiting::of(&self.waiting));
        let state = state.wait_for(|state| mode(state) != Mode::Stall).await.unwrap();
        drop(waiting);
        match mode(&state) {
            Mode::Fail => {
                Err(Error::unavailable("out of order", std::io::Error::other("told to fail")))
            }
            Mode::Lose => {
                Err(Error::outcome_unknown("connection lost", std::io::Error::other("told to")))
            }
            Mode::Work | Mode::Stall => Ok(()),
        }
    }

    async fn rest(&self, session: Option<&SessionId>) -> Result<()> {
        self.pass(session, |state| state.rest).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventStore for Faulty {
    async fn store_event(&self, stream: &StreamRef, event: NewEvent) -> Result<EventId> {
        self.pass(stream.session.as_ref(), |state| state.appends).await?;
        self.store.events().store_event(stream, event).await
    }

    async fn stream_id_for_event_id(&self, id: &EventId) -> Result<Option<StreamRef>> {
        self.store.events().stream_id_for_event_id(id).await
    }

    async fn replay_events_after(
        &self,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        self.rest(None).await?;
        self.store.events().replay_events_after(scope, id, mode).await
    }

    async fn read_stream(&self, stream: &StreamRef, mode: ReplayMode) -> Result<Replay> {
        self.rest(stream.session.as_ref()).await?;
        self.store.events().read_stream(stream, mode).await
    }

    async fn begin_stream(&self, stream: &StreamRef, event: NewEvent) -> Result<Begun> {
        self.pass(stream.session.as_ref(), |state| state.appends).await?;
        if let Err(error) = self.rest(stream.session.as_ref()).await {
            let id = self.store.events().store_event(stream, event).await?;
            return Ok(Begun { id, replay: Err(error) });
        }
        self.store.events().begin_stream(stream, event).await
    }

    async fn renew(&self, stream: &StreamRef, lease: &Lease) -> Result<LeaseState> {
        self.rest(stream.session.as_ref()).await?;
        self.store.events().renew(stream, lease).await
    }

    async fn delete_stream(&self, stream: &StreamRef) -> Result<Deleted> {
        self.rest(stream.session.as_ref()).await?;
        self.store.events().delete_stream(stream).await
    }

    async fn delete_session(&self, session: &SessionId) -> Result<Deleted> {
        self.pass(Some(session), |state| state.deletions).await?;
        self.store.events().delete_session(session).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SessionStore for Faulty {
    async fn load(&self, session: &SessionId) -> Result<Option<SessionRecord>> {
        self.rest(Some(session)).await?;
        self.store.sessions().load(session).await
    }

    async fn store(&self, session: &SessionId, record: SessionRecord) -> Result<()> {
        self.rest(Some(session)).await?;
        self.store.sessions().store(session, record).await
    }

    async fn touch(&self, session: &SessionId) -> Result<bool> {
        self.rest(Some(session)).await?;
        self.store.sessions().touch(session).await
    }

    async fn delete(&self, session: &SessionId) -> Result<Deleted> {
        self.pass(Some(session), |state| state.deletions).await?;
        self.store.sessions().delete(session).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Maintenance for Faulty {
    async fn sweep(&self) -> Result<SweepReport> {
        self.store.maintenance().sweep().await
    }

    async fn usage(&self) -> Result<Usage> {
        self.store.maintenance().usage().await
    }

    async fn ping(&self) -> Result<()> {
        self.store.maintenance().ping().await
    }

    async fn close(&self) -> Result<()> {
        self.store.maintenance().close().await
    }
}
