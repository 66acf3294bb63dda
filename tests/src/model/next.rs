//! Where the follows of a script stand, and what may come next of each.

use mcp_event_store_core::Retention;

use super::play::Play;
use super::stream::{Moment, Stream};
use crate::follower::Follower;

pub(crate) struct Reader {
    /// Its instance.
    pub(super) on: usize,
    pub(super) place: usize,
    pub(super) retention: Retention,
    pub(super) position: Position,
    /// Whether another has taken its stream over.
    pub(super) fate: Fate,
    /// Set while it waits for what was not there when it was polled.
    pub(super) glimpse: Option<Glimpse>,
    pub(super) follower: Follower,
}

/// Where a reader stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Position {
    /// Before event `next` of `stream`.
    At { stream: usize, next: usize },
    /// It waits for the stream. Streams of its name from this number on may have come meanwhile.
    Waiting { since: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// It must end, with `None` (F7).
    TakenOver,
    /// Of several that wait for an absent stream on different instances, one remains after a
    /// take-over, and which one depends on when they are polled.
    Open,
}

/// What a reader may have seen of a stream since it was polled in vain, because the poll began a
/// read that was answered later. Not all of it need be so any more: where instances have different
/// settings, what has expired for one comes back when it is used through the other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Glimpse {
    stream: usize,
    hidden: usize,
    forgotten: bool,
}

/// What may come next of a reader.
#[allow(clippy::struct_excessive_bools)] // Each says what is allowed.
pub(super) struct Next {
    pub(super) event: Option<(usize, usize)>,
    /// A reader that waited may start at any event up to this one.
    pub(super) up_to: Option<usize>,
    pub(super) end: bool,
    pub(super) unknown: bool,
    /// `EventsExpired` after an event of this stream, from the first number up to below the second.
    pub(super) expired: Option<(usize, usize, usize)>,
    /// Whether any of it has to come.
    pub(super) must: bool,
}

impl Play<'_> {
    /// What may come next of `reader`.
    pub(super) fn next_of(&self, reader: &Reader) -> Next {
        let fate = match reader.fate {
            Fate::Stays if self.murky[reader.place] => Fate::Open,
            fate => fate,
        };
        let mut next = Next {
            event: None,
            up_to: None,
            end: fate != Fate::Stays,
            unknown: reader.glimpse.is_some_and(|glimpse| glimpse.forgotten),
            expired: None,
            must: fate == Fate::TakenOver,
        };
        let (now, r) = (self.reference.now, &reader.retention);
        match reader.position {
            Position::At { stream, next: at } => {
                next.of_stream(at, stream, &self.reference.streams[stream], now, r);
                let hidden = reader.hidden_of(stream, &self.reference.streams[stream], now);
                next.hide(stream, at, hidden);
                next.must |= self.reference.is_lost(stream);
            }
            Position::Waiting { since } => {
                let of_name = |s: &&Stream| s.place == reader.place;
                let mut came = self.reference.streams[since..].iter().filter(of_name);
                next.unknown |= came.any(|s| s.is_forgotten(now, r));
                if let Some(stream) = self.reference.at(reader.place, r) {
                    let s = &self.reference.streams[stream];
                    next.of_stream(s.hidden(now, r), stream, s, now, r);
                    let hidden = reader.hidden_of(stream, s, now);
                    next.up_to = Some(hidden);
                    next.hide(stream, 0, hidden);
                }
            }
        }
        next
    }

    /// Notes what those readers may see now that wait for something.
    pub(super) fn glimpse(&mut self) {
        let now = self.reference.now;
        for reader in &mut self.readers {
            let stream = match reader.position {
                Position::At { stream, .. } => stream,
                Position::Waiting { .. } => self.reference.since(reader.place),
            };
            let Some(s) = self.reference.streams.get(stream) else { continue };
            let hidden = reader.hidden_of(stream, s, now);
            if let Some(glimpse) = &mut reader.glimpse {
                let forgotten = glimpse.forgotten || s.is_forgotten(now, &reader.retention);
                *glimpse = Glimpse { stream, hidden, forgotten };
            }
        }
    }
}

impl Reader {
    /// How many events of `stream` are hidden from it, or were when it may have looked.
    fn hidden_of(&self, stream: usize, s: &Stream, now: Moment) -> usize {
        let seen = self.glimpse.filter(|glimpse| glimpse.stream == stream);
        let hidden = if s.gone { 0 } else { s.hidden(now, &self.retention) };
        seen.map_or(hidden, |glimpse| glimpse.hidden.max(hidden))
    }
}

impl Next {
    /// Adds what comes of a reader that stands before event `next` of `stream`.
    fn of_stream(&mut self, next: usize, stream: usize, s: &Stream, now: Moment, r: &Retention) {
        let is_over = next == s.events.len() && s.complete;
        self.event = (next < s.events.len()).then_some((stream, next));
        self.end |= is_over;
        self.unknown |= s.is_forgotten(now, r);
        self.must |= self.event.is_some() || is_over;
    }

    /// Lets it be told that some of the `hidden` events of `stream` are missing, from number `next`
    /// on.
    fn hide(&mut self, stream: usize, next: usize, hidden: usize) {
        self.expired = (next < hidden).then_some((stream, next, hidden));
    }

    pub(super) fn may_end(&self) -> bool {
        self.end || self.unknown || self.expired.is_some()
    }

    pub(super) fn told(&self) -> String {
        let Self { event, up_to, end, unknown, expired, .. } = self;
        format!(
            "event {event:?} (or one up to {up_to:?}), its end: {end}, UnknownEvent: {unknown}, \
             EventsExpired within {expired:?}"
        )
    }
}
