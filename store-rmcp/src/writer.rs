//! The one writer of a stream: stores events in the order in which they were sent.
//!
//! Senders route and enqueue without waiting, so that order is theirs, and then wait for their
//! own event. A slow store holds up this stream's senders and nobody else.

use std::sync::Arc;

use mcp_event_store_core::{
    Begun, Error as StoreError, EventId, Lease, LeaseState, NewEvent, Result as StoreResult,
    StreamRef,
};
use rmcp::model::{RequestId, ServerJsonRpcMessage};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::error::Result;
use crate::patience::{Backoff, patiently};
use crate::{failure, wire};

/// An event on its way to the writer.
pub(crate) struct Append {
    event: NewEvent,
    stored: oneshot::Sender<StoreResult<()>>,
}

/// The sending side of a stream's queue. When the last one is dropped before a completing event,
/// the request was abandoned.
#[derive(Clone)]
pub(crate) struct WriterHandle {
    queue: mpsc::UnboundedSender<Append>,
}

impl WriterHandle {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Append>) {
        let (queue, appends) = mpsc::unbounded_channel();
        (Self { queue }, appends)
    }

    /// Takes a place in the stream's order at once.
    pub(crate) fn enqueue(&self, event: NewEvent) -> Stored {
        let (stored, outcome) = oneshot::channel();
        // A writer that is gone drops `stored`, which is how the waiting side learns of it.
        let _ = self.queue.send(Append { event, stored });
        Stored::Later(outcome)
    }

    pub(crate) fn same_stream(&self, other: &Self) -> bool {
        self.queue.same_channel(&other.queue)
    }

    pub(crate) fn downgrade(&self) -> WeakWriterHandle {
        WeakWriterHandle { queue: self.queue.downgrade() }
    }
}

/// The sending side of a stream's queue that does not keep the stream open.
#[derive(Clone)]
pub(crate) struct WeakWriterHandle {
    queue: mpsc::WeakUnboundedSender<Append>,
}

impl WeakWriterHandle {
    /// `None` once the request is answered, cancelled or abandoned.
    pub(crate) fn upgrade(&self) -> Option<WriterHandle> {
        self.queue.upgrade().map(|queue| WriterHandle { queue })
    }
}

/// An event's outcome: known already, or known once the writer has come to it.
pub(crate) enum Stored {
    Now(Result<()>),
    Later(oneshot::Receiver<StoreResult<()>>),
}

impl Stored {
    pub(crate) async fn wait(self) -> Result<()> {
        match self {
            Self::Now(outcome) => outcome,
            Self::Later(outcome) => Ok(outcome.await.map_err(|_| StoreError::StreamComplete)??),
        }
    }
}

/// What becomes of a stream whose session ends here.
pub(crate) enum Kind {
    /// A request's stream: its client waits for an answer, so it gets an error.
    Request(RequestId),
    /// The standalone stream: it never completes, another instance may go on with it.
    Standalone,
}

/// The task that writes one stream.
pub(crate) struct Writer {
    pub(crate) context: Arc<Context>,
    pub(crate) stream: StreamRef,
    pub(crate) kind: Kind,
    pub(crate) lease: Lease,
    /// Ends the session here when the store says that it was deleted.
    pub(crate) session_ended: CancellationToken,
}

impl Writer {
    /// Stores what is enqueued until the stream is complete or its last sender is gone.
    pub(crate) async fn run(self, mut appends: mpsc::UnboundedReceiver<Append>) {
        while let Some(append) = self.next(&mut appends).await {
            let (completes, has_message) =
                (append.event.completes_stream, append.event.message.is_some());
            let outcome = self.store(append.event).await;
            let error = outcome.as_ref().err().cloned();
            let _ = append.stored.send(outcome.map(drop));
            match error {
                Some(error) if completes || has_message && self.is_hole(&error) => {
                    return self.complete_after(&error).await;
                }
                _ if completes => return,
                Some(error) if self.gives_up(&error) => return,
                _ => {}
            }
        }
        if let Kind::Request(request) = &self.kind {
            self.complete_with(&failure::interrupted(request.clone())).await;
        }
    }

    /// Whether a message is missing that its sender cannot be blamed for. A request with such a
    /// hole fails as a whole: its client would take the rest for all there is.
    fn is_hole(&self, error: &StoreError) -> bool {
        let refused =
            matches!(error, StoreError::TooLarge { .. } | StoreError::InvalidInput { .. });
        matches!(self.kind, Kind::Request(_)) && !refused
    }

    /// Whether what waits for the standalone stream is refused unseen: each event would wait as long
    /// for the store that is away, and an instance about to end with it.
    fn gives_up(&self, error: &StoreError) -> bool {
        let away =
            matches!(error, StoreError::Unavailable { .. } | StoreError::OutcomeUnknown { .. });
        away && self.context.stopping.is_cancelled() && matches!(self.kind, Kind::Standalone)
    }

    /// The next event, while the lease on a silent request's stream is renewed.
    async fn next(&self, appends: &mut mpsc::UnboundedReceiver<Append>) -> Option<Append> {
        if matches!(self.kind, Kind::Standalone) {
            return appends.recv().await;
        }
        loop {
            tokio::select! {
                biased;
                append = appends.recv() => return append,
                () = sleep(self.lease.ttl / 3) => self.renew().await,
            }
        }
    }

    /// A store that does not answer must not hold up the response for longer than the lease.
    async fn renew(&self) {
        let renewal = self.context.events.renew(&self.stream, &self.lease);
        match timeout(self.lease.ttl, renewal).await {
            Ok(Ok(LeaseState::Held)) => {}
            lost => tracing::warn!(stream = ?self.stream, ?lost, "the lease was not renewed"),
        }
    }

    /// Stores `event`, trying again for `store_timeout` while the store is away.
    pub(crate) async fn store(&self, event: NewEvent) -> StoreResult<EventId> {
        let event = event.with_lease(self.lease.clone());
        self.insist(|| self.context.events.store_event(&self.stream, event.clone())).await
    }

    /// Stores the stream's first event in the same way, and follows it.
    pub(crate) async fn begin(&self, event: NewEvent) -> StoreResult<Begun> {
        let event = event.with_lease(self.lease.clone());
        self.insist(|| self.context.events.begin_stream(&self.stream, event.clone())).await
    }

    async fn insist<T, F>(&self, append: impl Fn() -> F) -> StoreResult<T>
    where
        F: Future<Output = StoreResult<T>>,
    {
        let outcome = patiently(self.context.config.store_timeout, append).await;
        outcome.inspect_err(|error| self.note(error))
    }

    fn note(&self, error: &StoreError) {
        tracing::warn!(stream = ?self.stream, %error, "an event was not stored");
        if matches!(error, StoreError::SessionDeleted) {
            self.session_ended.cancel();
        }
    }

    /// An event that the stream cannot do without was refused: its client gets an error instead.
    pub(crate) async fn complete_after(&self, error: &StoreError) {
        if let Kind::Request(request) = &self.kind {
            self.complete_with(&failure::not_stored(request.clone(), error)).await;
        }
    }

    /// Stores `message` as the stream's end, however long the store stays away: without an end a
    /// client would come back for ever. If the stream turns out to be complete, that is the end.
    async fn complete_with(&self, message: &ServerJsonRpcMessage) {
        tokio::select! {
            () = self.until_another_may() => {
                tracing::warn!(stream = ?self.stream, "left without an end to another instance");
            }
            () = self.persist(message) => {}
        }
    }

    /// A stopping instance need not wait longer than its lease lasts.
    async fn until_another_may(&self) {
        self.context.stopping.cancelled().await;
        sleep(self.lease.ttl).await;
    }

    async fn persist(&self, message: &ServerJsonRpcMessage) {
        let Ok(json) = wire::encode(message) else { return };
        let event = NewEvent::message(json).completing();
        let mut backoff = Backoff::new();
        while let Err(StoreError::Unavailable { .. } | StoreError::OutcomeUnknown { .. }) =
            self.store(event.clone()).await
        {
            backoff.pause().await;
        }
    }
}
