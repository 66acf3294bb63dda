//! The engine: everything subtle, once, over any [`Backend`].
//!
//! Down: a caller's event waits in a writer's queue, is committed with all that waited with it,
//! and its ID goes back to the caller. Up: an event ID becomes a position, the position a page,
//! the page events, and at the tail live events follow.

mod follow;
mod hub;
mod ids;
mod metrics;
mod pace;
mod position;
mod replay;
mod search;
mod settle;
mod shrink;
mod sweep;
mod writer;

use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::follow::Expecting;
use self::hub::Hub;
use self::pace::Pace;
use self::position::Position;
use self::writer::WriterHandle;
use crate::backend::{Backend, Wakeup};
use crate::error::{Error, Result};
use crate::event::{Lease, LeaseState, NewEvent, SessionRecord};
use crate::id::{EventId, Scope, SessionId, StreamRef};
use crate::retention::Settings;
use crate::store::{
    Begun, Deleted, EventStore, Maintenance, Replay, ReplayMode, SessionStore, SweepReport, Usage,
};

/// A store over `B`: group commit, event IDs, replay and follow, retention, sweeping.
///
/// Dropping the last handle ends its tasks after they have committed what was accepted;
/// [`close`](Maintenance::close) waits for that.
pub struct Engine<B: Backend> {
    shared: Arc<Shared<B>>,
    writers: Vec<WriterHandle>,
    _stop_on_drop: DropGuard,
}

/// What the engine's tasks and open replays hold.
struct Shared<B> {
    backend: Arc<B>,
    settings: Settings,
    hub: Arc<Hub>,
    pace: Pace,
    /// Names this handle among others on the same database.
    instance: String,
    /// Cancelled by `close` and when the last handle is dropped.
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl<B: Backend> Engine<B> {
    /// Starts an engine over `backend`. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// `InvalidInput` for a setting of zero.
    pub fn open(backend: B, settings: Settings) -> Result<Arc<Self>> {
        settings.check()?;
        let stop = CancellationToken::new();
        let pace = Pace::new(backend.writers());
        let shared = Arc::new(Shared {
            backend: Arc::new(backend),
            settings,
            hub: Hub::new(),
            pace,
            instance: ids::draw_instance()?,
            stop: stop.clone(),
            tasks: TaskTracker::new(),
        });
        let writers =
            (0..shared.backend.writers().max(1)).map(|_| WriterHandle::spawn(&shared)).collect();
        shared.tasks.spawn(sweep::in_background(shared.clone()));
        shared.tasks.spawn(pass_on_wakeups(shared.clone()));
        Ok(Arc::new(Self { shared, writers, _stop_on_drop: stop.drop_guard() }))
    }

    /// The writer of `stream`: one for all streams of a session, since their commits would wait
    /// for each other's lock on the session.
    fn writer_of(&self, stream: &StreamRef) -> &WriterHandle {
        let mut hasher = DefaultHasher::new();
        match &stream.session {
            Some(session) => session.hash(&mut hasher),
            None => stream.stream.hash(&mut hasher),
        }
        let writers = self.writers.len() as u64;
        let chosen = usize::try_from(hasher.finish() % writers).unwrap_or_default();
        &self.writers[chosen]
    }
}

impl<B: Backend> Shared<B> {
    fn check_open(&self) -> Result<()> {
        if self.stop.is_cancelled() { Err(Error::Closed) } else { Ok(()) }
    }

    /// Runs a write to its end even if its caller goes away: a backend's writes need not be
    /// cancel-safe.
    async fn to_the_end<T, F>(
        self: &Arc<Self>,
        write: impl FnOnce(Arc<Self>) -> F + Send,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.check_open()?;
        let task = self.tasks.spawn(write(self.clone()));
        task.await.unwrap_or_else(|panic| Err(Error::backend("a write ended early", panic)))
    }

    /// Frees what was just removed in one bounded step; a sweep frees the rest.
    async fn reclaim_soon(&self) {
        if let Err(error) = self.backend.reclaim(sweep::RECLAIM_STEP as u64).await {
            tracing::warn!(%error, "removed events could not be freed; the next sweep tries again");
        }
    }
}

/// Wakes followers for other handles' commits, as long as there are followers.
async fn pass_on_wakeups<B: Backend>(shared: Arc<Shared<B>>) {
    let mut followers = shared.hub.followers();
    let stop = shared.stop.clone();
    let listen = async {
        while followers.wait_for(|count| *count > 0).await.is_ok() {
            let mut wakeups = shared.backend.wakeups();
            // What changed before the watching began has told no one.
            shared.hub.wake(&Wakeup::Any);
            loop {
                tokio::select! {
                    wakeup = futures_util::StreamExt::next(&mut wakeups) => match wakeup {
                        Some(wakeup) => shared.hub.wake(&wakeup),
                        None => break,
                    },
                    _ = followers.wait_for(|count| *count == 0) => break,
                }
            }
        }
    };
    tokio::select! {
        () = listen => {}
        () = stop.cancelled() => {}
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: Backend> EventStore for Engine<B> {
    async fn store_event(&self, stream: &StreamRef, event: NewEvent) -> Result<EventId> {
        self.writer_of(stream).store(&self.shared.settings.limits, stream, event).await
    }

    async fn stream_id_for_event_id(&self, id: &EventId) -> Result<Option<StreamRef>> {
        replay::stream_of(&self.shared, id).await
    }

    async fn replay_events_after(
        &self,
        scope: Scope<'_>,
        last_event_id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        replay::after(&self.shared, scope, last_event_id, mode).await
    }

    async fn read_stream(&self, stream: &StreamRef, mode: ReplayMode) -> Result<Replay> {
        replay::from_oldest(&self.shared, stream, mode).await
    }

    async fn begin_stream(&self, stream: &StreamRef, event: NewEvent) -> Result<Begun> {
        let expecting = Expecting::new(&self.shared, stream)?;
        let id = self.store_event(stream, event).await?;
        let replay = match Position::parse(&id) {
            Some(first) if first.seq == 1 => Ok(replay::of_new_stream(expecting, first)),
            _ => {
                drop(expecting);
                self.read_stream(stream, ReplayMode::follow()).await
            }
        };
        Ok(Begun { id, replay })
    }

    async fn renew(&self, stream: &StreamRef, lease: &Lease) -> Result<LeaseState> {
        lease.check()?;
        let (stream, lease) = (stream.clone(), lease.clone());
        self.shared
            .to_the_end(|shared| async move {
                shared.backend.renew(&stream, &lease, &shared.settings).await
            })
            .await
    }

    async fn delete_stream(&self, stream: &StreamRef) -> Result<Deleted> {
        let stream = stream.clone();
        self.shared
            .to_the_end(|shared| async move {
                let deleted = shared.backend.delete_stream(&stream).await?;
                shared.hub.wake(&Wakeup::Stream(stream));
                shared.reclaim_soon().await;
                Ok(deleted)
            })
            .await
    }

    async fn delete_session(&self, session: &SessionId) -> Result<Deleted> {
        let session = session.clone();
        self.shared
            .to_the_end(|shared| async move {
                let deleted = shared.backend.delete_session(&session).await?;
                shared.hub.wake_session(&session);
                shared.reclaim_soon().await;
                Ok(deleted)
            })
            .await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: Backend> SessionStore for Engine<B> {
    async fn load(&self, session: &SessionId) -> Result<Option<SessionRecord>> {
        let session = session.clone();
        self.shared
            .to_the_end(|shared| async move {
                shared.backend.load_session(&session, &shared.settings).await
            })
            .await
    }

    async fn store(&self, session: &SessionId, record: SessionRecord) -> Result<()> {
        self.shared.settings.limits.check_size("session record", record.len() as u64)?;
        let session = session.clone();
        self.shared
            .to_the_end(|shared| async move {
                shared.backend.store_session(&session, &record, &shared.settings).await
            })
            .await
    }

    async fn touch(&self, session: &SessionId) -> Result<bool> {
        let session = session.clone();
        self.shared
            .to_the_end(|shared| async move {
                shared.backend.touch_session(&session, &shared.settings).await
            })
            .await
    }

    async fn delete(&self, session: &SessionId) -> Result<Deleted> {
        self.delete_session(session).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: Backend> Maintenance for Engine<B> {
    async fn sweep(&self) -> Result<SweepReport> {
        self.shared.to_the_end(|shared| async move { sweep::sweep(&shared).await }).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.shared.check_open()?;
        self.shared.backend.usage().await
    }

    async fn ping(&self) -> Result<()> {
        self.shared.check_open()?;
        self.shared.backend.ping().await
    }

    async fn close(&self) -> Result<()> {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.backend.close().await
    }
}
