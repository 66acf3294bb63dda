//! What a script is made of: numbers that mean something in every state, so that any script can
//! be shortened and still be played.

use std::fmt;
use std::time::Duration;

use mcp_event_store_core::{Limits, Retention, SessionId, Settings, StreamRef};

use crate::tools::{lone, session, stream};

/// The sessions: names that a careless store takes for one another.
pub(crate) const SESSIONS: [&str; 3] = ["s1", "S1", "s/"];

/// Streams to each session, and as many without one.
pub(crate) const STREAMS: usize = 3;

/// All streams. Their names have the same length, so that their tombstones weigh the same.
pub(crate) const PLACES: usize = (SESSIONS.len() + 1) * STREAMS;

/// The session of the stream at `place`, by its number.
pub(crate) fn session_at(place: usize) -> Option<usize> {
    (place / STREAMS).checked_sub(1)
}

pub(crate) fn stream_at(place: usize) -> StreamRef {
    match session_at(place) {
        Some(of) => stream(SESSIONS[of], ["a", "b", "/"][place % STREAMS]),
        None => lone(["a00", "s1a", "s//"][place % STREAMS]),
    }
}

pub(crate) fn session_id(number: usize) -> SessionId {
    session(SESSIONS[number])
}

/// A script: its settings, and what is done.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) plan: Plan,
    pub(crate) steps: Vec<Step>,
}

/// Settings. Times are in hours; see [`Plan::settings`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) stream_ttl: Option<u8>,
    pub(crate) completed_ttl: Option<u8>,
    pub(crate) event_ttl: Option<u8>,
    pub(crate) session_ttl: Option<u8>,
    pub(crate) max_events: Option<u8>,
    pub(crate) max_stream_bytes: Option<u32>,
    pub(crate) max_session_bytes: Option<u32>,
    pub(crate) max_total_bytes: Option<u32>,
    pub(crate) max_event_bytes: Option<u32>,
    pub(crate) max_streams: Option<u8>,
    pub(crate) max_followers: Option<u8>,
}

/// One step. `on` chooses an instance, and other numbers something that exists, counted round.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Append {
        on: u8,
        place: u8,
        event: Shape,
    },
    /// One event to each of several streams at once, then another to each in turn.
    Burst {
        on: u8,
        places: Vec<u8>,
    },
    /// A look-up and a replay of what is stored.
    Replay {
        on: u8,
        id: Known,
    },
    Read {
        on: u8,
        place: u8,
    },
    Follow {
        on: u8,
        after: Known,
        take_over: bool,
    },
    FollowFromStart {
        on: u8,
        place: u8,
        take_over: bool,
    },
    /// Takes so many events of a follow.
    Poll {
        reader: u8,
        events: u8,
    },
    Drop {
        reader: u8,
    },
    Renew {
        on: u8,
        place: u8,
        lease: Claim,
    },
    DeleteStream {
        on: u8,
        place: u8,
    },
    DeleteSession {
        on: u8,
        session: u8,
    },
    StoreRecord {
        on: u8,
        session: u8,
        bytes: u32,
    },
    LoadRecord {
        on: u8,
        session: u8,
    },
    TouchRecord {
        on: u8,
        session: u8,
    },
    Wait {
        hours: u8,
    },
    Sweep {
        on: u8,
    },
    /// Closes an instance, or drops it, and opens it again, perhaps with other settings.
    Reopen {
        on: u8,
        close: bool,
        plan: Option<Plan>,
    },
}

/// An event to be stored; without bytes it has no message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) bytes: u32,
    pub(crate) retry_ms: Option<u32>,
    pub(crate) completes: bool,
    pub(crate) lease: Option<Claim>,
}

/// A lease; one of zero hours is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) owner: u8,
    pub(crate) hours: u8,
}

/// The `event`th ID that was ever given out, perhaps presented in another scope, or altered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    pub(crate) event: u16,
    /// Of this session, or of none if it is the number after the last.
    pub(crate) scope: Option<u8>,
    pub(crate) altered: Option<u16>,
}

const MINUTE: u64 = 60;

/// Hours as the steps of time count them.
pub(crate) fn hours(hours: u8) -> Duration {
    Duration::from_secs(u64::from(hours) * 60 * MINUTE)
}

/// Twenty minutes past the hour. Time moves by whole hours, so whatever expires, also after one
/// such time and a second, does so twenty minutes or more from every step: the time that a step
/// itself takes does not matter.
pub(crate) fn ttl(after: u8) -> Duration {
    hours(after) + Duration::from_secs(20 * MINUTE)
}

impl Plan {
    /// How long expired streams and deleted sessions are remembered, in every plan.
    pub(crate) const TOMBSTONE_TTL: u8 = 3;

    pub(crate) fn settings(&self) -> Settings {
        let retention = Retention {
            stream_ttl: self.stream_ttl.map(ttl),
            completed_stream_ttl: self.completed_ttl.map(ttl),
            event_ttl: self.event_ttl.map(ttl),
            max_events_per_stream: self.max_events.map(u64::from),
            max_bytes_per_stream: self.max_stream_bytes.map(u64::from),
            max_total_bytes: self.max_total_bytes.map(u64::from),
            max_bytes_per_session: self.max_session_bytes.map(u64::from),
            tombstone_ttl: ttl(Self::TOMBSTONE_TTL),
            session_ttl: self.session_ttl.map(ttl),
            sweep_every: None,
        };
        let limits = Limits {
            max_event_bytes: self.max_event_bytes.map(u64::from),
            max_streams_per_session: self.max_streams.map(u64::from),
            max_followers_per_session: self.max_followers.map(u64::from),
        };
        Settings { retention, limits, ..Settings::default() }
    }
}

impl fmt::Display for Script {
    /// As the source of a fixed script, but for the numbers of the steps.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:?}", self.plan)?;
        for (n, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {:3}  {step:?}", n + 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn streams_differ_and_weigh_the_same() {
        let all: HashSet<_> = (0..PLACES).map(stream_at).collect();
        assert_eq!(all.len(), PLACES);
        assert!(all.iter().all(|one| one.name_bytes() == 3));
        for place in 0..PLACES {
            assert_eq!(stream_at(place).session, session_at(place).map(session_id));
        }
    }
}
