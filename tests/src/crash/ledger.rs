//! What callers heard of their appends, and whether a store holds just that.

use std::collections::HashMap;

use mcp_event_store_core::{Error, EventId, StoredEvent, StreamRef};

use super::patience::read;
use crate::checks::deletion::is_gone;
use crate::failure::{Mismatch, Outcome, ensure, same};
use crate::instance::Instance;
use crate::tools::{in_sequence, random, stream, texts};

/// What a caller heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It is stored under this ID.
    Stored(EventId),
    /// It may be stored.
    Unknown,
    /// It is not stored.
    Refused,
}

impl Heard {
    /// What an answer says; an error that no append of the crash test may get is a mismatch.
    pub(crate) fn of(answer: Result<EventId, Error>) -> Outcome<Self> {
        match answer {
            Ok(id) => Ok(Self::Stored(id)),
            Err(Error::OutcomeUnknown { .. }) => Ok(Self::Unknown),
            Err(Error::Unavailable { .. }) => Ok(Self::Refused),
            Err(other) => {
                let expected = "success, Unavailable or OutcomeUnknown";
                Err(Mismatch::new(expected, format!("{other:?}")))
            }
        }
    }
}

/// Names an append: who appended it, and as which of its appends to the stream. A writer appends
/// one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) writer: String,
    pub(crate) n: u64,
}

impl Name {
    /// A text that shows whether it is whole: `writer/n/length/` and so many letters.
    pub(crate) fn text(&self) -> String {
        let length = usize::try_from(random(3000)).expect("small");
        format!("{}/{}/{length}/{}", self.writer, self.n, "x".repeat(length))
    }

    /// The name in a text that is whole.
    fn in_whole(text: &str) -> Option<Self> {
        let [writer, n, length, filling] = text.splitn(4, '/').collect::<Vec<_>>()[..] else {
            return None;
        };
        let whole = length.parse() == Ok(filling.len());
        let n = n.parse().ok()?;
        whole.then(|| Self { writer: writer.to_owned(), n })
    }
}

/// What all writers together heard, and what was found so far.
#[derive(Default)]
pub(crate) struct Ledger {
    places: Vec<StreamRef>,
    heard: HashMap<Name, (usize, Heard)>,
    /// Streams of the session `s` that were deleted, each with an ID that it had.
    deleted: Vec<(String, EventId)>,
    /// The events of each place as they were found last: they stay, in this order.
    found: Vec<Vec<EventId>>,
    /// Whether appends that nobody reported may be there: their process was killed.
    unreported: bool,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) acknowledged: usize,
    pub(crate) deletions: usize,
    /// Events that are stored though their callers heard nothing, or that the outcome is unknown.
    pub(crate) found_unacknowledged: usize,
    pub(crate) unknown: usize,
    pub(crate) refused: usize,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.deletions += other.deletions;
        self.found_unacknowledged += other.found_unacknowledged;
        self.unknown += other.unknown;
        self.refused += other.refused;
    }
}

impl Ledger {
    /// A ledger of appends to `places`; a killed process leaves `unreported` ones.
    pub(crate) fn new(places: &[StreamRef], unreported: bool) -> Self {
        let found = vec![Vec::new(); places.len()];
        Self { places: places.to_vec(), found, unreported, ..Self::default() }
    }

    pub(crate) fn note(&mut self, place: usize, name: Name, heard: Heard) {
        self.heard.insert(name, (place, heard));
    }

    pub(crate) fn note_deleted(&mut self, stream: &str, id: EventId) {
        self.deleted.push((stream.to_owned(), id));
    }

    pub(crate) fn figures(&self) -> Figures {
        let count = |kind: fn(&Heard) -> bool| self.heard.values().filter(|(_, h)| kind(h)).count();
        let acknowledged = count(|heard| matches!(heard, Heard::Stored(_)));
        Figures {
            acknowledged,
            deletions: self.deleted.len(),
            found_unacknowledged: self.found.iter().map(Vec::len).sum::<usize>() - acknowledged,
            unknown: count(|heard| *heard == Heard::Unknown),
            refused: count(|heard| *heard == Heard::Refused),
        }
    }

    /// Fails unless `store` holds what was heard, whole, in order, once, and nothing else.
    pub(crate) async fn is_kept_by(&mut self, store: &Instance) -> Outcome {
        let mut stored = HashMap::new();
        for (place, name) in self.places.clone().iter().enumerate() {
            let events = read(store, name).await?;
            self.check_place(place, &events, &mut stored)?;
        }
        for (name, (place, heard)) in &self.heard {
            let Heard::Stored(id) = heard else { continue };
            let expected = format!("the acknowledged event {name:?} as {id:?} in stream {place}");
            let came = stored.get(name);
            ensure(came == Some(&(*place, id.clone())), expected, format!("{came:?}"))?;
        }
        for (name, id) in self.deleted.iter().rev().take(DELETED_LOOKED_AT) {
            is_gone(store, &stream("s", name), std::slice::from_ref(id)).await?;
        }
        self.names_resolve(store).await
    }

    /// One stream: sequences without a hole, whole texts, each once, in each writer's order, and
    /// what was found before in front.
    fn check_place(
        &mut self,
        place: usize,
        events: &[StoredEvent],
        stored: &mut HashMap<Name, (usize, EventId)>,
    ) -> Outcome {
        in_sequence(format!("stream {place}"), 1, events)?;
        let ids: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
        let before = &self.found[place];
        let came = ids.iter().zip(before).position(|(now, before)| now != before);
        let same_beginning = ids.len() >= before.len() && came.is_none();
        let expected = format!("the {} events that stream {place} had", before.len());
        ensure(same_beginning, expected, format!("{} events, differing at {came:?}", ids.len()))?;
        let mut newest: HashMap<String, u64> = HashMap::new();
        for (text, id) in texts(events).iter().zip(&ids) {
            let torn = || Mismatch::new("whole messages only", text);
            let name = Name::in_whole(text).ok_or_else(torn)?;
            let newer = newest.insert(name.writer.clone(), name.n).is_none_or(|n| n < name.n);
            ensure(newer, "each writer's events once, in its order", text)?;
            self.may_be_stored(&name)?;
            let double = stored.insert(name.clone(), (place, id.clone()));
            ensure(double.is_none(), "each event once", format!("{name:?} twice"))?;
        }
        self.found[place] = ids;
        Ok(())
    }

    fn may_be_stored(&self, name: &Name) -> Outcome {
        match self.heard.get(name) {
            Some((_, Heard::Stored(_) | Heard::Unknown)) => Ok(()),
            None if self.unreported => Ok(()),
            heard => {
                let came = format!("{name:?}, of which was heard: {heard:?}");
                Err(Mismatch::new("only events that may be stored", came))
            }
        }
    }

    /// IDs name the streams that they always named: some of them, and the newest.
    async fn names_resolve(&self, store: &Instance) -> Outcome {
        for (place, ids) in self.places.iter().zip(&self.found) {
            let some = ids.iter().rev().step_by(ids.len() / LOOKED_UP + 1);
            for id in some {
                same("a look-up", &Some(place), &store.look_up(id).await?.as_ref())?;
            }
        }
        Ok(())
    }
}

/// How many of a place's IDs are looked up each time.
const LOOKED_UP: usize = 8;

/// How many of the newest deletions are looked at each time.
const DELETED_LOOKED_AT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_shows_whether_it_is_whole() {
        let name = Name { writer: "a b".to_owned(), n: 7 };
        let text = name.text();
        assert_eq!(Name::in_whole(&text), Some(name));
        assert_eq!(Name::in_whole(&format!("{text}x")), None);
        assert_eq!(Name::in_whole("w/1/3/xx"), None);
        assert_eq!(Name::in_whole("w/1"), None);
    }
}
