//! A client that follows through outages: when its follow ends with `Unavailable` it comes back
//! with the last ID that it has, as clients do.

use mcp_event_store_core::{Error, EventId, StoredEvent, StreamRef};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::outage::follow;
use super::patience::read;
use crate::failure::{Mismatch, Outcome, same};
use crate::instance::Instance;
use crate::tools::{ids, in_sequence};

pub(super) struct Following {
    place: StreamRef,
    /// The event after which it is done.
    last: watch::Sender<Option<EventId>>,
    task: JoinHandle<Outcome<Vec<StoredEvent>>>,
}

impl Following {
    pub(super) fn start(store: &Instance, place: &StreamRef) -> Self {
        let (last, until) = watch::channel(None);
        let task = tokio::spawn(follow_until(store.clone(), place.clone(), until));
        Self { place: place.clone(), last, task }
    }

    /// Waits until it has seen `last`, and fails unless it saw what is stored up to there.
    pub(super) async fn saw_all(self, store: &Instance, last: &EventId) -> Outcome {
        self.last.send_replace(Some(last.clone()));
        let seen = self.task.await.expect("no panic")?;
        in_sequence("what a client saw that came back", 1, &seen)?;
        let mut stored = ids(&read(store, &self.place).await?);
        stored.truncate(seen.len());
        same("what a client saw that came back", &stored, &ids(&seen))
    }
}

async fn follow_until(
    store: Instance,
    place: StreamRef,
    mut until: watch::Receiver<Option<EventId>>,
) -> Outcome<Vec<StoredEvent>> {
    let mut seen: Vec<StoredEvent> = Vec::new();
    loop {
        let mut follower = follow(&store, &place, seen.last().map(|event| &event.id)).await?;
        loop {
            let is_done = {
                let last = until.borrow_and_update();
                last.as_ref().is_some_and(|last| seen.iter().rev().any(|e| e.id == *last))
            };
            if is_done {
                return Ok(seen);
            }
            let next = tokio::select! {
                next = follower.next() => next?,
                changed = until.changed() => {
                    changed.map_err(|_| Mismatch::new("a round that ends", "one that failed"))?;
                    continue;
                }
            };
            match next {
                Some(Ok(event)) => seen.push(event),
                Some(Err(Error::Unavailable { .. })) => break,
                other => {
                    let expected = "an event, or Unavailable";
                    return Err(Mismatch::new(expected, format!("{other:?}")));
                }
            }
        }
    }
}
