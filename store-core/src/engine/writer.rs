//! Group commit: callers queue events, a writer commits all that wait in one batch.
//!
//! There is no timer: a batch is what arrived during the last commit, and what the callers that it
//! answered queue at once. A lone caller pays no extra latency. The queue is bounded in bytes; a
//! full one makes callers wait.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tracing::Instrument as _;

use super::hub::LiveEvent;
use super::ids::Drawn;
use super::metrics::{Appends, Commits};
use super::position::Position;
use super::{Shared, metrics, settle};
use crate::backend::{Appended, Backend, Group, PendingEvent, StreamKey, Tag, event_bytes};
use crate::error::{Error, Result};
use crate::event::{NewEvent, StoredEvent};
use crate::id::{EventId, StreamRef};
use crate::retention::Limits;

/// Bytes that may wait in one writer's queue.
const QUEUE_BYTES: u32 = 16 * 1024 * 1024;

/// A batch takes no more events once it holds as many bytes or events.
const BATCH_BYTES: u64 = 1024 * 1024;
const BATCH_EVENTS: usize = 1024;

/// Callers may take this part of a commit's time to queue their next events, and no more than so
/// long: the time of a commit is that of an outage too.
const PATIENCE: u32 = 4;
const MOST_PATIENCE: Duration = Duration::from_millis(5);

/// The callers' end of a writer.
pub(super) struct WriterHandle {
    queue: mpsc::UnboundedSender<Job>,
    room: Arc<Semaphore>,
}

/// One event on its way, and its caller.
struct Job {
    stream: StreamRef,
    event: NewEvent,
    answer: oneshot::Sender<Result<EventId>>,
    queued_at: Instant,
    _room: OwnedSemaphorePermit,
}

/// The callers of a group, in the order of its events.
type Callers = Vec<(oneshot::Sender<Result<EventId>>, Instant)>;

impl WriterHandle {
    pub(super) fn spawn<B: Backend>(shared: &Arc<Shared<B>>) -> Self {
        let (queue, jobs) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(QUEUE_BYTES as usize));
        let writer = Writer {
            shared: shared.clone(),
            jobs,
            held_back: VecDeque::new(),
            answered: None,
            drawn: Drawn::default(),
            commits: Commits::new(shared.backend.name()),
        };
        shared.tasks.spawn(writer.run());
        Self { queue, room }
    }

    /// Queues `event` and waits for its commit. Dropping the call leaves the event to be stored
    /// whole, or, before there was room for it, not at all.
    pub(super) async fn store(
        &self,
        limits: &Limits,
        stream: &StreamRef,
        event: NewEvent,
    ) -> Result<EventId> {
        limits.check_size("message", event.message_bytes())?;
        if let Some(lease) = &event.lease {
            lease.check()?;
        }
        let queued_at = Instant::now();
        let cost = u32::try_from(event_bytes(event.message_bytes())).unwrap_or(QUEUE_BYTES);
        let room = self.room.clone().acquire_many_owned(cost.min(QUEUE_BYTES)).await;
        let room = room.map_err(|_| Error::Closed)?;
        let (answer, answered) = oneshot::channel();
        let job = Job { stream: stream.clone(), event, answer, queued_at, _room: room };
        self.queue.send(job).map_err(|_| Error::Closed)?;
        answered.await.unwrap_or(Err(Error::Closed))
    }
}

struct Writer<B> {
    shared: Arc<Shared<B>>,
    jobs: mpsc::UnboundedReceiver<Job>,
    /// Jobs that could not join the last batch.
    held_back: VecDeque<Job>,
    /// When the last commit ended, and how many callers it answered.
    answered: Option<(Instant, usize)>,
    drawn: Drawn,
    commits: Commits,
}

impl<B: Backend> Writer<B> {
    /// Commits batches until the engine stops and everything accepted is answered.
    async fn run(mut self) {
        let shared = self.shared.clone();
        while let Some(first) = self.next_job(&shared.stop).await {
            // First, so that what arrives until it is this writer's turn joins the batch.
            let turn = shared.pace.turn().await;
            self.let_callers_queue(&first).await;
            let jobs = self.fill_batch(first);
            self.commit(jobs).await;
            drop(turn);
        }
    }

    async fn next_job(&mut self, stop: &tokio_util::sync::CancellationToken) -> Option<Job> {
        if let Some(job) = self.held_back.pop_front() {
            return Some(job);
        }
        if !stop.is_cancelled() {
            tokio::select! {
                job = self.jobs.recv() => return job,
                () = stop.cancelled() => {}
            }
        }
        self.jobs.close();
        self.jobs.recv().await
    }

    /// Lets the callers that the last commit woke queue what they have next, or the first of them
    /// would get a commit of its own, for which the others wait. They run on several threads, so it
    /// takes as many yields as bring something; but of those who have much to do before their next
    /// events, only whoever does it within one yield is waited for.
    async fn let_callers_queue(&self, first: &Job) {
        // Nobody else was woken, and nobody waited meanwhile: `first` is of a lone caller.
        if self.answered.is_none_or(|(at, callers)| callers == 1 && first.queued_at >= at) {
            return;
        }
        let patience = (self.shared.pace.commit_time() / PATIENCE).min(MOST_PATIENCE);
        let started = Instant::now();
        loop {
            let waiting = self.jobs.len();
            tokio::task::yield_now().await;
            let now = self.jobs.len();
            if now == waiting || now + 1 >= BATCH_EVENTS || started.elapsed() > patience {
                return;
            }
        }
    }

    /// Adds to `first` what waits already.
    fn fill_batch(&mut self, first: Job) -> Vec<Job> {
        let mut bytes = event_bytes(first.event.message_bytes());
        let mut jobs = vec![first];
        while bytes < BATCH_BYTES && jobs.len() < BATCH_EVENTS {
            let next = self.held_back.pop_front().or_else(|| self.jobs.try_recv().ok());
            let Some(job) = next else { break };
            bytes += event_bytes(job.event.message_bytes());
            jobs.push(job);
        }
        jobs
    }

    async fn commit(&mut self, jobs: Vec<Job>) {
        let drawn = match self.drawn.take(jobs.len()) {
            Ok(drawn) => drawn,
            Err(error) => {
                for job in jobs {
                    let _ = job.answer.send(Err(error.clone()));
                }
                return;
            }
        };
        let (groups, callers) = self.group(jobs, drawn);
        let events: usize = callers.iter().map(Vec::len).sum();
        let started = Instant::now();
        let outcome = self.append(&groups).await;
        let ended = Instant::now();
        let time = ended - started;
        self.shared.pace.committed(time);
        let appends = self.commits.count(events, time);
        for ((group, callers), result) in groups.into_iter().zip(callers).zip(outcome) {
            self.answer(group, callers, result, ended, &appends);
        }
        self.answered = Some((ended, events));
    }

    /// Sorts jobs into one group a stream. What follows a completing event in the same batch is
    /// held back: it has to be refused by itself.
    fn group(
        &mut self,
        jobs: Vec<Job>,
        drawn: Vec<(StreamKey, Tag)>,
    ) -> (Vec<Group>, Vec<Callers>) {
        // One event needs none.
        let mut index = (jobs.len() > 1).then(|| HashMap::with_capacity(jobs.len()));
        let (mut groups, mut callers) = (Vec::<Group>::new(), Vec::<Callers>::new());
        for (job, (key, tag)) in jobs.into_iter().zip(drawn) {
            let at = index
                .as_mut()
                .map_or(0, |index| *index.entry(job.stream.clone()).or_insert(groups.len()));
            if at == groups.len() {
                let candidate_key = self.shared.backend.place_key(&job.stream, key);
                groups.push(Group { stream: job.stream.clone(), candidate_key, events: vec![] });
                callers.push(Vec::new());
            }
            if groups[at].events.last().is_some_and(|event| event.completes_stream) {
                self.held_back.push_back(job);
                continue;
            }
            groups[at].events.push(pending(job.event, tag));
            callers[at].push((job.answer, job.queued_at));
        }
        (groups, callers)
    }

    /// Commits `groups` and answers each. If the database refuses the whole batch for good, each
    /// group gets a commit of its own, so that one caller's bad event, or one damaged stream,
    /// fails no other's.
    async fn append(&self, groups: &[Group]) -> Vec<Result<Appended>> {
        match self.append_once(groups).await {
            Ok(results) => results,
            Err(Error::Backend { .. } | Error::Corrupt { .. }) if groups.len() > 1 => {
                let mut results = Vec::with_capacity(groups.len());
                for group in groups {
                    let alone = self.append_once(std::slice::from_ref(group)).await;
                    results.push(alone.and_then(|mut one| one.swap_remove(0)));
                }
                results
            }
            Err(error) => groups.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn append_once(&self, groups: &[Group]) -> Result<Vec<Result<Appended>>> {
        let shared = &self.shared;
        let span = tracing::debug_span!(
            "commit",
            backend = shared.backend.name(),
            streams = groups.len(),
            events = groups.iter().map(|group| group.events.len()).sum::<usize>(),
        );
        match shared.backend.append(groups, &shared.settings).instrument(span).await {
            Err(unknown @ Error::OutcomeUnknown { .. }) => {
                let results = groups.iter().map(|_| Err(unknown.clone())).collect();
                Ok(self.settle(groups, results).await)
            }
            Ok(results) => Ok(self.settle(groups, results).await),
            refused => refused,
        }
    }

    /// Finds out what became of the groups whose outcome is unknown, all at once: while the
    /// database is away, none of them waits for another.
    async fn settle(
        &self,
        groups: &[Group],
        results: Vec<Result<Appended>>,
    ) -> Vec<Result<Appended>> {
        if !results.iter().any(is_unknown) {
            return results;
        }
        let settled = groups.iter().zip(results).map(|(group, result)| async move {
            match result {
                Err(unknown @ Error::OutcomeUnknown { .. }) => {
                    settle::look_again(&*self.shared.backend, group, unknown).await
                }
                result => result,
            }
        });
        join_all(settled).await
    }

    /// Answers the callers of a group whose commit ended then, and publishes it if it is stored.
    fn answer(
        &self,
        group: Group,
        callers: Callers,
        result: Result<Appended>,
        ended: Instant,
        appends: &Appends,
    ) {
        let appended = match result {
            Ok(appended) => appended,
            Err(error) => {
                metrics::refused(self.shared.backend.name(), callers.len(), &error);
                for (caller, _) in callers {
                    let _ = caller.send(Err(error.clone()));
                }
                return;
            }
        };
        let followed = self.shared.hub.is_followed(&group.stream);
        let mut live = Vec::new();
        for ((event, (caller, queued_at)), seq) in
            group.events.into_iter().zip(callers).zip(appended.first_seq..)
        {
            let position = Position { key: appended.key, seq, tag: event.tag };
            let id = position.to_event_id();
            if followed {
                let event = stored(&event, id.clone(), seq, &appended);
                live.push(LiveEvent { position, event, published_at: Instant::now() });
            }
            appends.count(ended.saturating_duration_since(queued_at));
            // A caller that went away does not mind.
            let _ = caller.send(Ok(id));
        }
        if followed {
            self.shared.hub.publish(&group.stream, appended.reader_epoch, &live);
        }
    }
}

fn is_unknown(result: &Result<Appended>) -> bool {
    matches!(result, Err(Error::OutcomeUnknown { .. }))
}

fn pending(event: NewEvent, tag: Tag) -> PendingEvent {
    // Databases keep it in a signed column; followers get what will be replayed.
    let millis = |retry: Duration| i64::try_from(retry.as_millis()).unwrap_or(i64::MAX);
    PendingEvent {
        tag,
        message: event.message,
        retry_ms: event.retry.map(|retry| millis(retry).cast_unsigned()),
        lease: event.lease,
        completes_stream: event.completes_stream,
    }
}

fn stored(event: &PendingEvent, id: EventId, seq: u64, appended: &Appended) -> StoredEvent {
    StoredEvent {
        id,
        seq,
        stored_at: appended.stored_at,
        message: event.message.clone(),
        retry: event.retry_ms.map(Duration::from_millis),
        completes_stream: event.completes_stream,
    }
}
