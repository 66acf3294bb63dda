//! Appends of a script.

use std::time::Duration;

use mcp_event_store_core::{EventId, NewEvent, Result};

use super::play::{Play, agree, lease};
use super::script::{PLACES, Shape, session_at, stream_at};
use super::stream::Event;
use crate::failure::Outcome;
use crate::tools::{padded, together};

impl Play<'_> {
    /// The event that `shape` stands for, for the store and for the reference.
    fn event(&mut self, shape: Shape) -> (NewEvent, Event) {
        self.appended += 1;
        let name = format!("e{} ", self.appended);
        let bytes = usize::try_from(shape.bytes).expect("some KiB");
        let mut event = match bytes {
            0 => NewEvent::priming(None),
            bytes => padded(&name, bytes.max(name.len() + 2)),
        };
        event.retry = shape.retry_ms.map(|ms| Duration::from_millis(ms.into()));
        event.completes_stream = shape.completes;
        event.lease = shape.lease.map(lease);
        let kept = Event {
            id: None,
            message: event.message.as_ref().map(|message| message.get().to_owned()),
            retry_ms: shape.retry_ms.map(u64::from),
            completes: shape.completes,
            at: self.reference.now,
            stored_at: None,
        };
        (event, kept)
    }

    pub(super) async fn append(&mut self, on: usize, place: usize, shape: Shape) -> Outcome {
        let (event, kept) = self.event(shape);
        let answer = self.store(on).try_append(&stream_at(place), event.clone()).await?;
        self.note(on, place, &event, kept, answer)
    }

    /// Compares the answer to an append with the reference's, which appends as well.
    fn note(
        &mut self,
        on: usize,
        place: usize,
        event: &NewEvent,
        kept: Event,
        answer: Result<EventId>,
    ) -> Outcome {
        let lease = event.lease.as_ref().map(|lease| (&*lease.owner, lease.ttl));
        let expected = self.reference.append(place, kept, lease, &self.open[on].settings);
        let id = agree(format!("an append to {:?}", stream_at(place)), &expected, answer)?;
        if let (Ok((stream, number)), Some(id)) = (expected, id) {
            self.reference.streams[stream].events[number].id = Some(id);
        }
        Ok(())
    }

    /// One event to each of `places` at once. Where a limit would have to choose among streams of
    /// a session, only one of them takes part.
    pub(super) async fn burst(&mut self, on: usize, mut places: Vec<usize>) -> Outcome {
        places.sort_unstable();
        places.dedup();
        if self.open[on].settings.limits.max_streams_per_session.is_some() {
            places.dedup_by_key(|place| {
                session_at(*place).map_or(PLACES + *place, |session| session)
            });
        }
        let events: Vec<_> =
            places.iter().map(|_| self.event(Shape { bytes: 40, ..Shape::default() })).collect();
        let append = |(place, (event, _)): (&usize, &(NewEvent, Event))| {
            let (store, place, event) = (self.store(on), *place, event.clone());
            async move { store.try_append(&stream_at(place), event).await }
        };
        let answers = together(places.iter().zip(&events).map(append)).await?;
        for ((place, (event, kept)), answer) in places.iter().zip(events).zip(answers) {
            self.note(on, *place, &event, kept, answer?)?;
        }
        // They may have been stored in the same millisecond. From here on their order of last
        // use, by which T6 goes, is known.
        for place in places {
            self.tick();
            self.append(on, place, Shape::default()).await?;
        }
        Ok(())
    }
}
