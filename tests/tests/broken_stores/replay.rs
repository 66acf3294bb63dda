//! Stores that look up and replay wrongly.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use futures_util::{StreamExt, TryStreamExt, stream};
use mcp_event_store_compliance::async_trait;
use mcp_event_store_core::{
    Error, EventId, EventStoreExt, NewEvent, RawJson, Replay, ReplayMode, Result, Scope,
    StoredEvent, StreamRef, Verdict,
};

use super::append::changed;
use super::defect::{Defect, Good};

/// What a scope of its own knows of events it stored.
#[derive(Default)]
struct Known(Mutex<HashMap<EventId, StreamRef>>);

impl Known {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        let id = good.events.store_event(to, event).await?;
        self.0.lock().unwrap().insert(id.clone(), to.clone());
        Ok(id)
    }

    fn stream_of(&self, id: &EventId) -> Option<StreamRef> {
        self.0.lock().unwrap().get(id).cloned()
    }
}

/// Answers look-ups from a list that deletion does not touch.
#[derive(Default)]
pub(crate) struct FindsDeleted(Known);

#[async_trait]
impl Defect for FindsDeleted {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        self.0.store_event(good, to, event).await
    }

    async fn look_up(&self, _good: &Good, id: &EventId) -> Result<Option<StreamRef>> {
        Ok(self.0.stream_of(id))
    }
}

/// Names the stream of an event whose successors have expired.
#[derive(Default)]
pub(crate) struct FindsExpired(Known);

#[async_trait]
impl Defect for FindsExpired {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        self.0.store_event(good, to, event).await
    }

    async fn look_up(&self, good: &Good, id: &EventId) -> Result<Option<StreamRef>> {
        let Some(stream) = self.0.stream_of(id) else { return Ok(None) };
        let replay = good.events.replay_events_after(stream.scope(), id, ReplayMode::Stored).await;
        Ok((!matches!(replay, Err(Error::UnknownEvent))).then_some(stream))
    }
}

/// Takes the first sixteen bytes of an ID, whatever they are.
#[derive(Default)]
pub(crate) struct FailsOnOddIds;

#[async_trait]
impl Defect for FailsOnOddIds {
    async fn look_up(&self, good: &Good, id: &EventId) -> Result<Option<StreamRef>> {
        let (_key, _rest) = id.as_str().split_at(id.as_str().len().min(16));
        good.events.stream_id_for_event_id(id).await
    }
}

/// Looks for an event in one stream after the other.
#[derive(Default)]
pub(crate) struct SearchesEverything(Mutex<HashSet<StreamRef>>);

#[async_trait]
impl Defect for SearchesEverything {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        self.0.lock().unwrap().insert(to.clone());
        good.events.store_event(to, event).await
    }

    async fn look_up(&self, good: &Good, id: &EventId) -> Result<Option<StreamRef>> {
        let all: Vec<_> = self.0.lock().unwrap().iter().cloned().collect();
        for stream in all {
            if good.events.read_to_vec(&stream).await?.iter().any(|event| event.id == *id) {
                return Ok(Some(stream));
            }
        }
        Ok(None)
    }
}

fn replay_of(stream: StreamRef, events: Vec<StoredEvent>) -> Replay {
    let verdict = Verdict::of(events.len() as u64);
    Replay { stream, verdict, events: Box::pin(stream::iter(events.into_iter().map(Ok))) }
}

/// Replays from the given event on, instead of after it.
#[derive(Default)]
pub(crate) struct RepeatsTheAnchor;

#[async_trait]
impl Defect for RepeatsTheAnchor {
    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        let replay = good.events.replay_events_after(scope, id, mode).await?;
        if mode != ReplayMode::Stored {
            return Ok(replay);
        }
        let mut events = good.events.read_to_vec(&replay.stream).await?;
        events.drain(..events.iter().position(|event| event.id == *id).unwrap_or(0));
        Ok(replay_of(replay.stream, events))
    }
}

/// Skips an event where one page ends and the next begins.
#[derive(Default)]
pub(crate) struct SkipsAtThePage;

#[async_trait]
impl Defect for SkipsAtThePage {
    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        let replay = good.events.replay_events_after(scope, id, mode).await?;
        let events = replay.events.enumerate();
        let events = events.filter(|(n, _)| std::future::ready(n % 257 != 256));
        let events = Box::pin(events.map(|(_, event)| event));
        Ok(Replay { stream: replay.stream, verdict: replay.verdict, events })
    }
}

/// Deletes the stream when it has been replayed to its end.
#[derive(Default)]
pub(crate) struct Consumes;

#[async_trait]
impl Defect for Consumes {
    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        let replay = good.events.replay_events_after(scope, id, mode).await?;
        if mode != ReplayMode::Stored {
            return Ok(replay);
        }
        let stream = replay.stream.clone();
        let events: Vec<_> = replay.events.try_collect().await?;
        good.events.delete_stream(&stream).await?;
        Ok(replay_of(stream, events))
    }
}

/// Says that there was something to recover when there was not.
#[derive(Default)]
pub(crate) struct AlwaysRecovers;

#[async_trait]
impl Defect for AlwaysRecovers {
    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        let replay = good.events.replay_events_after(scope, id, mode).await?;
        let verdict = match replay.verdict {
            Verdict::CaughtUp => Verdict::Recovered { events: 0 },
            recovered @ Verdict::Recovered { .. } => recovered,
        };
        Ok(Replay { verdict, ..replay })
    }
}

/// Begins every replay, and says among its events that it cannot be.
#[derive(Default)]
pub(crate) struct TellsErrorsLate;

#[async_trait]
impl Defect for TellsErrorsLate {
    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        match good.events.replay_events_after(scope, id, mode).await {
            Err(error) => {
                let stream = StreamRef::sessionless("unknown".try_into()?);
                let events = Box::pin(stream::iter([Err(error)]));
                Ok(Replay { stream, verdict: Verdict::CaughtUp, events })
            }
            replay => replay,
        }
    }
}

/// Gives what is left of a stream, whether or not something is missing before it.
#[derive(Default)]
pub(crate) struct ReplaysAPart;

#[async_trait]
impl Defect for ReplaysAPart {
    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        match good.events.replay_events_after(scope, id, mode).await {
            Err(Error::EventsExpired { resume_after, .. }) => {
                good.events.replay_events_after(scope, &resume_after, mode).await
            }
            replay => replay,
        }
    }
}

/// Cannot replay after an event that is removed itself.
#[derive(Default)]
pub(crate) struct NeedsTheAnchor;

#[async_trait]
impl Defect for NeedsTheAnchor {
    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        let replay = good.events.replay_events_after(scope, id, mode).await?;
        let kept = good.events.read_to_vec(&replay.stream).await?;
        if kept.iter().any(|event| event.id == *id) { Ok(replay) } else { Err(Error::UnknownEvent) }
    }
}

/// Replays any event it knows, whoever asks.
#[derive(Default)]
pub(crate) struct LeaksSessions;

#[async_trait]
impl Defect for LeaksSessions {
    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        let owner = good.events.stream_id_for_event_id(id).await?;
        let scope = owner.as_ref().map_or(scope, StreamRef::scope);
        good.events.replay_events_after(scope, id, mode).await
    }
}

/// Refuses another session's IDs, but says that they are another session's.
#[derive(Default)]
pub(crate) struct TellsForeignIds;

#[async_trait]
impl Defect for TellsForeignIds {
    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        let owner = good.events.stream_id_for_event_id(id).await?;
        if owner.is_some_and(|owner| owner.scope() != scope) {
            return Err(Error::invalid("last_event_id", "belongs to another session"));
        }
        good.events.replay_events_after(scope, id, mode).await
    }
}

/// Reads the whole stream before it gives the first event.
#[derive(Default)]
pub(crate) struct HoldsWholeStreams;

#[async_trait]
impl Defect for HoldsWholeStreams {
    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        if mode != ReplayMode::Stored {
            return good.events.replay_events_after(scope, id, mode).await;
        }
        let replay = good.events.replay_events_after(scope, id, mode).await?;
        let copied = changed(replay, copy);
        let events = copied.events.try_collect().await?;
        Ok(replay_of(copied.stream, events))
    }
}

/// `event` with a message of its own, as one that was read from a file.
pub(crate) fn copy(mut event: StoredEvent) -> StoredEvent {
    event.message = event.message.map(|m| RawJson::parse(m.get()).unwrap());
    event
}

/// Goes on behind the hole when a replay was overtaken.
#[derive(Default)]
pub(crate) struct SkipsWhatWasTrimmed;

#[async_trait]
impl Defect for SkipsWhatWasTrimmed {
    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        let replay = good.events.replay_events_after(scope, id, mode).await?;
        let (events, one) = (good.events.clone(), replay.stream.clone());
        let goes_on = replay.events.then(move |event| {
            let (events, one) = (events.clone(), one.clone());
            async move {
                let Err(Error::EventsExpired { resume_after, .. }) = event else {
                    return stream::iter(vec![event]);
                };
                let rest = events.replay_to_vec(one.scope(), &resume_after).await;
                stream::iter(rest.unwrap_or_default().into_iter().map(Ok).collect::<Vec<_>>())
            }
        });
        let events = Box::pin(sync_wrapper::SyncStream::new(goes_on.flatten()));
        Ok(Replay { stream: replay.stream, verdict: replay.verdict, events })
    }
}

/// Forgives white space and padding around an ID.
#[derive(Default)]
pub(crate) struct TrimsIds;

#[async_trait]
impl Defect for TrimsIds {
    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        let id = EventId::new(id.as_str().trim().trim_end_matches('='));
        good.events.replay_events_after(scope, &id, mode).await
    }
}
