//! A reader's way through its stream: pages from the database until the tail, then live events
//! from the hub, or a wake-up and another page.

use std::future::{Future, pending};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use futures_util::stream::{self, TryStreamExt};
use sync_wrapper::SyncStream;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::hub::{LiveEvent, Subscription, Taken};
use super::position::Position;
use super::replay::{self, Standing};
use super::{Shared, metrics};
use crate::backend::{Backend, Page, PageEvent, StreamKey, Tag};
use crate::error::{Error, Result};
use crate::event::StoredEvent;
use crate::id::StreamRef;
use crate::store::{EventStream, Readers, ReplayMode};

/// How long a follower waits for a lost database before it ends with `Unavailable`.
const RECONNECT_WITHIN: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The last event that a reader has, or the place before the stream's oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) key: StreamKey,
    pub(super) seq: u64,
    /// Its tag, which shows whether the stream still is the one that the reader reads. `None` for
    /// a reader that has no event yet.
    pub(super) tag: Option<Tag>,
}

/// One open replay.
pub(super) struct Follower<B> {
    shared: Arc<Shared<B>>,
    stream: StreamRef,
    /// `None` while the stream is absent.
    cursor: Option<Cursor>,
    /// The first page, which the verdict came from.
    first_page: Option<Page>,
    /// Whether the database may hold more than has been read.
    behind: bool,
    /// Whether the stream's completing event has been delivered.
    finished: bool,
    reading: Reading,
}

/// How far a replay goes.
enum Reading {
    /// Up to this sequence.
    Stored {
        through: u64,
    },
    Live(Live),
}

struct Live {
    subscription: Subscription,
    deadline: Option<Instant>,
    readers: Readers,
    /// A higher one in the database or the hub ends this follower.
    epoch: u64,
    /// While the stream is absent, a higher count in the hub ends this follower.
    absent_take_overs: u64,
    _count: Count,
}

/// A follower that is there before its stream is, and so hears of all that is stored of it.
pub(super) struct Expecting<B> {
    shared: Arc<Shared<B>>,
    stream: StreamRef,
    live: Live,
}

impl<B: Backend> Expecting<B> {
    pub(super) fn new(shared: &Arc<Shared<B>>, stream: &StreamRef) -> Result<Self> {
        let live = Live::new(shared, stream, None, Readers::Join)?;
        Ok(Self { shared: shared.clone(), stream: stream.clone(), live })
    }

    pub(super) fn stream(&self) -> &StreamRef {
        &self.stream
    }

    /// A reader of the stream from `first` on, which was stored since and is its first event. A new
    /// stream has had no reader that took it over, so that the epoch is 0.
    pub(super) fn from(self, first: Position) -> Follower<B> {
        let Self { shared, stream, live } = self;
        let cursor = Cursor { key: first.key, seq: first.seq - 1, tag: None };
        let reading = Reading::Live(live);
        let at_the_tail = Follower::new(&shared, stream, None, reading);
        Follower { cursor: Some(cursor), behind: false, ..at_the_tail }
    }
}

/// Counts an open follower.
struct Count(&'static str);

impl Count {
    fn new(backend: &'static str) -> Self {
        metrics::followers(backend, 1.0);
        Self(backend)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        metrics::followers(self.0, -1.0);
    }
}

impl Live {
    fn new<B: Backend>(
        shared: &Arc<Shared<B>>,
        stream: &StreamRef,
        at_most: Option<Duration>,
        readers: Readers,
    ) -> Result<Self> {
        let limit = shared.settings.limits.max_followers_per_session;
        let subscription = shared.hub.subscribe(stream, limit)?;
        let deadline = at_most.and_then(|at_most| Instant::now().checked_add(at_most));
        let count = Count::new(shared.backend.name());
        Ok(Self { subscription, deadline, readers, epoch: 0, absent_take_overs: 0, _count: count })
    }

    /// Takes the stream with `key` over, or joins the readers of `epoch`.
    async fn enter<B: Backend>(
        &mut self,
        shared: &Arc<Shared<B>>,
        stream: &StreamRef,
        key: StreamKey,
        epoch: u64,
    ) -> Result<()> {
        self.epoch = epoch;
        if self.readers == Readers::TakeOver {
            let raise =
                |shared: Arc<Shared<B>>| async move { shared.backend.take_over(&key).await };
            self.epoch = shared.to_the_end(raise).await?.ok_or(Error::UnknownEvent)?;
            shared.hub.raise_epoch(stream, key, self.epoch);
        }
        Ok(())
    }
}

impl<B: Backend> Follower<B> {
    /// A reader that stands at `cursor` and has the page after it.
    pub(super) async fn after(
        shared: &Arc<Shared<B>>,
        cursor: Cursor,
        page: Page,
        mode: ReplayMode,
    ) -> Result<Self> {
        let stream = page.meta.stream.clone();
        let reading = match mode {
            ReplayMode::Stored => Reading::Stored { through: page.meta.last_seq },
            ReplayMode::Follow { at_most, readers } => {
                let mut live = Live::new(shared, &stream, at_most, readers)?;
                live.enter(shared, &stream, cursor.key, page.meta.reader_epoch).await?;
                if readers == Readers::TakeOver {
                    // Some may still wait for the stream, and not have seen that it came.
                    live.subscription.take_over_absent();
                }
                Reading::Live(live)
            }
        };
        Ok(Self::new(shared, stream, Some((cursor, page)), reading))
    }

    /// A reader of a stream that is absent: nothing is stored, and a follow waits for it.
    pub(super) fn waiting(
        shared: &Arc<Shared<B>>,
        stream: &StreamRef,
        mode: ReplayMode,
    ) -> Result<Self> {
        let reading = match mode {
            ReplayMode::Stored => Reading::Stored { through: 0 },
            ReplayMode::Follow { at_most, readers } => {
                let mut live = Live::new(shared, stream, at_most, readers)?;
                live.absent_take_overs = match readers {
                    Readers::Join => live.subscription.absent_take_overs(),
                    Readers::TakeOver => live.subscription.take_over_absent(),
                };
                Reading::Live(live)
            }
        };
        Ok(Self::new(shared, stream.clone(), None, reading))
    }

    fn new(
        shared: &Arc<Shared<B>>,
        stream: StreamRef,
        start: Option<(Cursor, Page)>,
        reading: Reading,
    ) -> Self {
        let (cursor, first_page) = start.unzip();
        let shared = shared.clone();
        Self { shared, stream, cursor, first_page, behind: true, finished: false, reading }
    }

    /// The events, one by one. It is read a page at a time, when it is polled.
    pub(super) fn into_stream(self) -> EventStream {
        let batches = stream::try_unfold(self, |mut follower| async move {
            let batch = follower.next().await?;
            Ok::<_, Error>(batch.map(|events| (stream::iter(events.into_iter().map(Ok)), follower)))
        });
        Box::pin(SyncStream::new(batches.try_flatten()))
    }

    /// The next events; `None` at the end.
    async fn next(&mut self) -> Result<Option<Vec<StoredEvent>>> {
        if self.finished {
            return Ok(None);
        }
        let events = self.next_batch().await?;
        self.finished = events.iter().flatten().any(|event| event.completes_stream);
        Ok(events)
    }

    async fn next_batch(&mut self) -> Result<Option<Vec<StoredEvent>>> {
        let through = match &self.reading {
            Reading::Stored { through } => *through,
            Reading::Live(live) => {
                let (stop, deadline) = (self.shared.stop.clone(), live.deadline);
                return tokio::select! {
                    biased;
                    () = stop.cancelled() => Ok(None),
                    () = at(deadline) => Ok(None),
                    events = self.next_live() => events,
                };
            }
        };
        self.next_stored(through).await
    }

    async fn next_stored(&mut self, through: u64) -> Result<Option<Vec<StoredEvent>>> {
        let Some(cursor) = self.cursor.filter(|cursor| cursor.seq < through) else {
            return Ok(None);
        };
        self.shared.check_open()?;
        let mut page = match self.first_page.take() {
            Some(page) => page,
            None => self.read(cursor).await?,
        };
        self.check(&page, cursor).await?;
        page.events.retain(|event| event.seq <= through);
        Ok(Some(self.deliver_page(&page.meta, page.events)))
    }

    async fn next_live(&mut self) -> Result<Option<Vec<StoredEvent>>> {
        loop {
            let Some(cursor) = self.cursor else {
                if self.find_stream().await? {
                    continue;
                }
                return Ok(None);
            };
            if let Some(taken) = self.take_live(cursor).await {
                return Ok(taken);
            }
            let first_page = self.first_page.take();
            // What was appended between the first page and the subscription told no one.
            self.behind = first_page.is_some();
            let page = match first_page {
                Some(page) => page,
                None => self.read_patiently(cursor).await?,
            };
            let Reading::Live(live) = &self.reading else { return Ok(None) };
            if page.meta.reader_epoch > live.epoch {
                return Ok(None);
            }
            self.check(&page, cursor).await?;
            if let Some(last) = page.events.last() {
                self.behind |= last.seq < page.meta.last_seq;
                return Ok(Some(self.deliver_page(&page.meta, page.events)));
            }
            if page.meta.complete {
                return Ok(None);
            }
        }
    }

    /// Waits at the tail for what comes: events, or `None` at the end. Answers nothing when the
    /// database has to be read.
    async fn take_live(&mut self, cursor: Cursor) -> Option<Option<Vec<StoredEvent>>> {
        let backend = self.shared.backend.name();
        let Reading::Live(live) = &mut self.reading else { return Some(None) };
        while !self.behind {
            match live.subscription.take(cursor.key, cursor.seq, live.epoch) {
                Taken::Events(events) => {
                    let last = events.last().map(|live| live.position);
                    self.cursor = last.map(Cursor::from);
                    return Some(Some(delivered(backend, events)));
                }
                Taken::End => return Some(None),
                Taken::Elsewhere => self.behind = true,
                Taken::Nothing => live.subscription.changed().await,
            }
        }
        None
    }

    /// Waits for an absent stream and stands before its oldest event; `false` if the wait was
    /// taken over.
    async fn find_stream(&mut self) -> Result<bool> {
        loop {
            let Reading::Live(live) = &mut self.reading else { return Ok(false) };
            live.subscription.before_reading();
            let (shared, stream) = (self.shared.clone(), self.stream.clone());
            let oldest = async move { replay::oldest(&shared, &stream).await };
            let oldest = self.unattended(oldest).await?;
            let Reading::Live(live) = &mut self.reading else { return Ok(false) };
            if live.subscription.absent_take_overs() > live.absent_take_overs {
                return Ok(false);
            }
            if let Some((cursor, page)) = oldest {
                live.enter(&self.shared, &self.stream, cursor.key, page.meta.reader_epoch).await?;
                self.cursor = Some(cursor);
                self.behind = true;
                return Ok(true);
            }
            live.subscription.changed().await;
        }
    }

    /// Reads on after `cursor`, and again for a while if the database is out of reach.
    async fn read_patiently(&mut self, cursor: Cursor) -> Result<Page> {
        let give_up = Instant::now() + RECONNECT_WITHIN;
        let mut pause = FIRST_PAUSE;
        loop {
            if let Reading::Live(live) = &mut self.reading {
                live.subscription.before_reading();
            }
            match self.read(cursor).await {
                Err(error) if error.is_retryable() && Instant::now() < give_up => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                page => return page,
            }
        }
    }

    async fn read(&self, cursor: Cursor) -> Result<Page> {
        let shared = self.shared.clone();
        let read = async move {
            shared.backend.read(&cursor.key, cursor.seq, shared.backend.later_pages()).await
        };
        self.unattended(read).await?.ok_or(Error::UnknownEvent)
    }

    /// Runs a read that is not answered at once as a task, which ends if this reader is dropped. A
    /// client that stalls stops polling anywhere; were the read polled with it, it would keep a
    /// connection of the pool.
    async fn unattended<T: Send + 'static>(
        &self,
        read: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let mut read = Box::pin(read);
        if let Poll::Ready(answer) = poll!(read.as_mut()) {
            return answer;
        }
        let task = AbortOnDropHandle::new(self.shared.tasks.spawn(read));
        task.await.unwrap_or_else(|panic| Err(Error::backend("a read ended early", panic)))
    }

    /// Ends the replay with an error rather than with a hole.
    async fn check(&self, page: &Page, cursor: Cursor) -> Result<()> {
        replay::check_whole(page)?;
        let retention = &self.shared.settings.retention;
        match replay::standing(page, cursor.seq, cursor.tag, retention) {
            Standing::Good => Ok(()),
            Standing::Unknown => Err(Error::UnknownEvent),
            Standing::Expired => {
                let (shared, page) = (self.shared.clone(), page.clone());
                let error = async move {
                    let retention = &shared.settings.retention;
                    Err(replay::events_expired(&*shared.backend, &page, retention).await)
                };
                self.unattended(error).await
            }
        }
    }

    fn deliver_page(
        &mut self,
        meta: &crate::backend::StreamMeta,
        events: Vec<PageEvent>,
    ) -> Vec<StoredEvent> {
        metrics::replayed(self.shared.backend.name(), events.len());
        if let Some(last) = events.last() {
            self.cursor = Some(Cursor { key: meta.key, seq: last.seq, tag: Some(last.tag) });
        }
        let complete_at = meta.complete.then_some(meta.last_seq);
        events.into_iter().map(|event| stored(meta.key, event, complete_at)).collect()
    }
}

impl From<Position> for Cursor {
    fn from(Position { key, seq, tag }: Position) -> Self {
        Self { key, seq, tag: Some(tag) }
    }
}

fn stored(key: StreamKey, event: PageEvent, complete_at: Option<u64>) -> StoredEvent {
    let retry = event.retry();
    let PageEvent { seq, tag, stored_at, message, .. } = event;
    let id = Position { key, seq, tag }.to_event_id();
    StoredEvent { id, seq, stored_at, message, retry, completes_stream: complete_at == Some(seq) }
}

fn delivered(backend: &'static str, events: Vec<LiveEvent>) -> Vec<StoredEvent> {
    let lag_of = |live: &LiveEvent| metrics::live(backend, live.published_at.elapsed());
    events.iter().for_each(lag_of);
    events.into_iter().map(|live| live.event).collect()
}

/// Comes at `deadline`; never without one.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
