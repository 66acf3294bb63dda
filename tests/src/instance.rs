//! One open store, with the calls that checks make, each within the harness's patience.

use std::fmt::Display;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use mcp_event_store_core::{
    Deleted, Error, EventId, EventStore, Lease, LeaseState, Maintenance, NewEvent, Readers, Replay,
    ReplayMode, Result, Scope, SessionId, SessionStore, StoredEvent, StreamRef, Usage,
};

use crate::failure::{FailureKind, Mismatch, Outcome};
use crate::follower::Follower;
use crate::harness::Opened;
use crate::tools::text;

#[derive(Clone)]
pub(crate) struct Instance {
    pub(crate) events: Arc<dyn EventStore>,
    sessions: Option<Arc<dyn SessionStore>>,
    maintenance: Option<Arc<dyn Maintenance>>,
    pub(crate) patience: Duration,
}

/// Waits for `future`, but not for ever.
#[track_caller]
pub(crate) fn within<T>(
    patience: Duration,
    what: impl Display,
    future: impl Future<Output = T>,
) -> impl Future<Output = Outcome<T>> {
    let at = Location::caller();
    async move {
        tokio::time::timeout(patience, future).await.map_err(|_| Mismatch {
            kind: FailureKind::RuleBroken,
            expected: format!("{what} within {patience:?}"),
            came: "nothing".to_owned(),
            at,
        })
    }
}

impl Instance {
    pub(crate) fn new(opened: Opened, patience: Duration) -> Self {
        let Opened { events, sessions, maintenance } = opened;
        Self { events, sessions, maintenance, patience }
    }

    #[track_caller]
    fn wait<T>(
        &self,
        what: impl Display,
        future: impl Future<Output = T>,
    ) -> impl Future<Output = Outcome<T>> {
        within(self.patience, what, future)
    }

    pub(crate) fn sessions(&self) -> Outcome<&dyn SessionStore> {
        let sessions = self.sessions.as_deref();
        sessions.ok_or_else(|| Mismatch::harness("a session store, as `sessions` says", "none"))
    }

    pub(crate) fn maintenance(&self) -> Outcome<&dyn Maintenance> {
        let maintenance = self.maintenance.as_deref();
        maintenance.ok_or_else(|| Mismatch::harness("`Maintenance`, as offered", "none"))
    }

    /// What the store answers to an append.
    pub(crate) async fn try_append(
        &self,
        stream: &StreamRef,
        event: NewEvent,
    ) -> Outcome<Result<EventId>> {
        self.wait("an answer to store_event", self.events.store_event(stream, event)).await
    }

    /// Appends an event whose message is the JSON text of `message`.
    pub(crate) async fn append(
        &self,
        stream: &StreamRef,
        message: impl Display,
    ) -> Outcome<EventId> {
        Ok(self.try_append(stream, text(message)).await??)
    }

    /// Appends the stream's last event.
    pub(crate) async fn complete(
        &self,
        stream: &StreamRef,
        message: impl Display,
    ) -> Outcome<EventId> {
        Ok(self.try_append(stream, text(message).completing()).await??)
    }

    /// Appends events called `1`, `2` … up to `last`, one after the other.
    pub(crate) async fn fill(&self, stream: &StreamRef, last: usize) -> Outcome<Vec<EventId>> {
        let mut ids = Vec::with_capacity(last);
        for n in 1..=last {
            ids.push(self.append(stream, n).await?);
        }
        Ok(ids)
    }

    pub(crate) async fn look_up(&self, id: &EventId) -> Outcome<Option<StreamRef>> {
        Ok(self.wait("an answer to a look-up", self.events.stream_id_for_event_id(id)).await??)
    }

    /// Opens a replay of what is stored.
    pub(crate) async fn try_open(
        &self,
        scope: Scope<'_>,
        after: &EventId,
    ) -> Outcome<Result<Replay>> {
        let replay = self.events.replay_events_after(scope, after, ReplayMode::Stored);
        self.wait("a verdict", replay).await
    }

    /// Replays what is stored; an error may come at once or at the end.
    pub(crate) async fn try_replay(
        &self,
        scope: Scope<'_>,
        after: &EventId,
    ) -> Outcome<Result<Vec<StoredEvent>>> {
        match self.try_open(scope, after).await? {
            Ok(replay) => self.wait("the end of a replay", replay.events.try_collect()).await,
            Err(error) => Ok(Err(error)),
        }
    }

    /// Replays what is stored of `stream` after one of its events.
    pub(crate) async fn replay(
        &self,
        stream: &StreamRef,
        after: &EventId,
    ) -> Outcome<Vec<StoredEvent>> {
        Ok(self.try_replay(stream.scope(), after).await??)
    }

    /// Reads what is stored of `stream` from its oldest event.
    pub(crate) async fn read(&self, stream: &StreamRef) -> Outcome<Vec<StoredEvent>> {
        let replay = self.events.read_stream(stream, ReplayMode::Stored);
        let replay = self.wait("a verdict", replay).await??;
        Ok(self.wait("the end of a read", replay.events.try_collect()).await??)
    }

    /// Follows after an event, beside other readers.
    pub(crate) async fn follow(&self, stream: &StreamRef, after: &EventId) -> Outcome<Follower> {
        Ok(self.try_follow(stream.scope(), after, ReplayMode::follow()).await??)
    }

    pub(crate) async fn try_follow(
        &self,
        scope: Scope<'_>,
        after: &EventId,
        mode: ReplayMode,
    ) -> Outcome<Result<Follower>> {
        let replay = self.events.replay_events_after(scope, after, mode);
        let replay = self.wait("a verdict", replay).await?;
        Ok(replay.map(|replay| Follower::new(replay, self.patience)))
    }

    /// Follows a stream from its oldest event, beside other readers.
    pub(crate) async fn follow_from_start(&self, stream: &StreamRef) -> Outcome<Follower> {
        Ok(self.try_follow_from_start(stream, ReplayMode::follow()).await??)
    }

    pub(crate) async fn try_follow_from_start(
        &self,
        stream: &StreamRef,
        mode: ReplayMode,
    ) -> Outcome<Result<Follower>> {
        let replay = self.wait("a verdict", self.events.read_stream(stream, mode)).await?;
        Ok(replay.map(|replay| Follower::new(replay, self.patience)))
    }

    /// Appends an event whose message is the JSON text of `message`, and follows its stream.
    pub(crate) async fn begin(
        &self,
        stream: &StreamRef,
        message: impl Display,
    ) -> Outcome<(EventId, Follower)> {
        let begun = self.events.begin_stream(stream, text(message));
        let begun = self.wait("an answer to begin_stream", begun).await??;
        Ok((begun.id, Follower::new(begun.replay?, self.patience)))
    }

    /// Follows after an event, and ends the stream's other followers.
    pub(crate) async fn take_over(&self, stream: &StreamRef, after: &EventId) -> Outcome<Follower> {
        let mode = ReplayMode::Follow { at_most: None, readers: Readers::TakeOver };
        Ok(self.try_follow(stream.scope(), after, mode).await??)
    }

    pub(crate) async fn renew(&self, stream: &StreamRef, lease: &Lease) -> Outcome<LeaseState> {
        Ok(self.wait("an answer to renew", self.events.renew(stream, lease)).await??)
    }

    pub(crate) async fn delete_stream(&self, stream: &StreamRef) -> Outcome<Deleted> {
        Ok(self.wait("the end of a deletion", self.events.delete_stream(stream)).await??)
    }

    pub(crate) async fn delete_session(&self, session: &SessionId) -> Outcome<Deleted> {
        Ok(self.wait("the end of a deletion", self.events.delete_session(session)).await??)
    }

    pub(crate) async fn usage(&self) -> Outcome<Usage> {
        Ok(self.wait("the usage", self.maintenance()?.usage()).await??)
    }

    /// The usage, if the store can tell it.
    pub(crate) async fn usage_if_told(&self) -> Outcome<Option<Usage>> {
        match self.maintenance {
            Some(_) => self.usage().await.map(Some),
            None => Ok(None),
        }
    }

    pub(crate) async fn sweep(&self) -> Outcome<mcp_event_store_core::SweepReport> {
        Ok(self.wait("the end of a sweep", self.maintenance()?.sweep()).await??)
    }

    /// Closes the store, if it can be closed, and drops it.
    pub(crate) async fn shut(self) -> Outcome {
        if let Some(maintenance) = &self.maintenance {
            self.wait("the end of closing", maintenance.close()).await??;
        }
        Ok(())
    }

    /// Fails unless `id` is as unknown in `scope` as an ID that never existed.
    #[track_caller]
    pub(crate) fn unknown<'a>(
        &'a self,
        scope: Scope<'a>,
        id: &'a EventId,
        what: impl Display + 'a,
    ) -> impl Future<Output = Outcome> + 'a {
        let at = Location::caller();
        async move {
            let came = match self.try_replay(scope, id).await? {
                Err(Error::UnknownEvent) => return Ok(()),
                other => format!("{other:?}"),
            };
            let expected = format!("UnknownEvent for {what}");
            Err(Mismatch { at, ..Mismatch::new(expected, came) })
        }
    }
}
