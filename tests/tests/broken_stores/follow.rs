//! Stores that follow wrongly.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use mcp_event_store_compliance::async_trait;
use mcp_event_store_core::{
    Begun, Error, EventId, NewEvent, Readers, Replay, ReplayMode, Result, Scope, StoredEvent,
    StreamRef, Verdict,
};
use sync_wrapper::SyncStream;
use tokio::sync::mpsc;

use super::defect::{Defect, Good};
use super::replay::copy;

/// A defect that changes what is followed and nothing else.
macro_rules! follows_wrongly {
    ($(#[$doc:meta])* $name:ident($($field:ty)?), |$self:ident, $replay:ident| $change:expr) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(crate) struct $name($($field)?);

        impl $name {
            fn change(&self, $replay: Replay) -> Replay {
                let $self = self;
                let _ = $self;
                $change
            }
        }

        #[async_trait]
        impl Defect for $name {
            async fn replay(
                &self,
                good: &Good,
                scope: Scope<'_>,
                id: &EventId,
                mode: ReplayMode,
            ) -> Result<Replay> {
                let replay = good.events.replay_events_after(scope, id, mode).await?;
                Ok(if mode == ReplayMode::Stored { replay } else { self.change(replay) })
            }

            async fn read(
                &self,
                good: &Good,
                stream: &StreamRef,
                mode: ReplayMode,
            ) -> Result<Replay> {
                let replay = good.events.read_stream(stream, mode).await?;
                Ok(if mode == ReplayMode::Stored { replay } else { self.change(replay) })
            }
        }
    };
}

/// How many events a replay found stored.
fn stored(replay: &Replay) -> usize {
    match replay.verdict {
        Verdict::CaughtUp => 0,
        Verdict::Recovered { events } => usize::try_from(events).unwrap(),
    }
}

/// `replay` with its `n`th event, counted from 0, given `times` times.
fn nth_times(replay: Replay, n: usize, times: usize) -> Replay {
    let events = replay.events.enumerate().flat_map(move |(at, event)| {
        let times = if at == n { times } else { 1 };
        stream::iter(vec![event; times])
    });
    Replay { stream: replay.stream, verdict: replay.verdict, events: Box::pin(events) }
}

follows_wrongly! {
    /// Gives the last stored event once more when it goes live.
    RepeatsAtTheJunction(), |this, replay| {
        let last = stored(&replay).wrapping_sub(1);
        nth_times(replay, last, 2)
    }
}

follows_wrongly! {
    /// Misses the event that came while it went live.
    HoleAtTheJunction(), |this, replay| {
        let first_live = stored(&replay);
        nth_times(replay, first_live, 0)
    }
}

follows_wrongly! {
    /// Looks for other instances' events far too seldom.
    HearsOnlyItself(), |this, replay| {
        let stored = stored(&replay);
        let events = replay.events.enumerate().then(move |(n, event)| async move {
            if n >= stored {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            event
        });
        let events = Box::pin(SyncStream::new(events));
        Replay { stream: replay.stream, verdict: replay.verdict, events }
    }
}

follows_wrongly! {
    /// Waits for more when there can be no more.
    NeverEnds(), |this, replay| {
        let events = Box::pin(replay.events.chain(stream::pending()));
        Replay { stream: replay.stream, verdict: replay.verdict, events }
    }
}

follows_wrongly! {
    /// Starts a task for each follow and forgets it.
    LeavesTasks(), |this, replay| {
        tokio::spawn(std::future::pending::<()>());
        replay
    }
}

follows_wrongly! {
    /// Copies events for each follower as they come, however many it has not taken.
    BuffersWithoutEnd(), |this, replay| {
        let Replay { stream, verdict, mut events } = replay;
        let (give, mut take) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if give.send(event.map(copy)).is_err() {
                    break;
                }
            }
        });
        let events = Box::pin(stream::poll_fn(move |cx| take.poll_recv(cx)));
        Replay { stream, verdict, events }
    }
}

follows_wrongly! {
    /// Takes a deleted stream for one that has ended.
    EndsQuietly(), |this, replay| {
        let goes_on = |event: &Result<StoredEvent>| !matches!(event, Err(Error::UnknownEvent));
        let events = replay.events.take_while(move |event| std::future::ready(goes_on(event)));
        Replay { stream: replay.stream, verdict: replay.verdict, events: Box::pin(events) }
    }
}

follows_wrongly! {
    /// Skips an event now and then, whose commit was overtaken by the next.
    ReadsPastACommit(AtomicU64), |this, replay| {
        let skipped = 3 + usize::try_from(this.0.fetch_add(1, Ordering::Relaxed) % 20).unwrap();
        nth_times(replay, skipped, 0)
    }
}

/// Follows a begun stream from the event that was stored with it.
#[derive(Default)]
pub(crate) struct BeginsAtTheTail;

#[async_trait]
impl Defect for BeginsAtTheTail {
    async fn begin(&self, good: &Good, stream: &StreamRef, event: NewEvent) -> Result<Begun> {
        let id = good.events.store_event(stream, event).await?;
        let mode = ReplayMode::follow();
        let replay = good.events.replay_events_after(stream.scope(), &id, mode).await;
        Ok(Begun { id, replay })
    }
}

/// Joins where it should take over.
#[derive(Default)]
pub(crate) struct TakesNothingOver;

#[async_trait]
impl Defect for TakesNothingOver {
    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        let mode = match mode {
            ReplayMode::Follow { at_most, .. } => {
                ReplayMode::Follow { at_most, readers: Readers::Join }
            }
            ReplayMode::Stored => ReplayMode::Stored,
        };
        good.events.replay_events_after(scope, id, mode).await
    }
}

/// Lets appends wait until each follower has room for one more event.
#[derive(Default)]
pub(crate) struct WaitsForSlowOnes(Mutex<Vec<mpsc::Sender<()>>>);

#[async_trait]
impl Defect for WaitsForSlowOnes {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        let id = good.events.store_event(to, event).await?;
        let followers = self.0.lock().unwrap().clone();
        for follower in followers {
            // One that has gone does not count.
            let _ = follower.send(()).await;
        }
        Ok(id)
    }

    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        let replay = good.events.replay_events_after(scope, id, mode).await?;
        let (room, mut taken) = mpsc::channel(100);
        self.0.lock().unwrap().push(room);
        let events = replay.events.inspect(move |_| {
            let _ = taken.try_recv();
        });
        Ok(Replay { stream: replay.stream, verdict: replay.verdict, events: Box::pin(events) })
    }
}
