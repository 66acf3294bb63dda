//! What the participants did and saw, in the order in which it happened.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A moment of the run: each is later than all that were taken before it.
pub(crate) type Tick = u64;

/// Everything that was done to some streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// Which streams were deleted now and then; the others never.
    pub(crate) deletable: Vec<bool>,
    /// `max_events_per_stream`.
    pub(crate) cap: u64,
    pub(crate) records: Vec<Record>,
}

/// One call, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) stream: usize,
    /// When it was called, and when it answered: for a reading, with its verdict.
    pub(crate) from: Tick,
    pub(crate) to: Tick,
    pub(crate) action: Action,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// An event was stored under this ID. No two have the same text.
    Append {
        text: String,
        id: String,
    },
    /// The stream was deleted.
    Delete,
    Read(Reading),
}

/// A replay or a follow.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// The event after which it began; from the oldest without one.
    pub(crate) after: Option<String>,
    pub(crate) how: How,
    /// How many events its verdict promised.
    pub(crate) promised: u64,
    pub(crate) seen: Vec<Seen>,
    /// When it had its first event, or ended without one.
    pub(crate) began: Tick,
    pub(crate) end: End,
    pub(crate) ended: Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Stored,
    Join,
    TakeOver,
}

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) seq: u64,
    pub(crate) text: String,
    pub(crate) completes: bool,
}

/// How a reading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With `None`.
    Done,
    /// With `UnknownEvent`.
    Unknown,
    /// With `EventsExpired`, which named this ID.
    Expired(String),
    /// The reader went away.
    Dropped,
}

/// Takes down what happens.
#[derive(Default)]
pub(crate) struct Recorder {
    clock: AtomicU64,
    /// Guards the list; nothing awaits under it.
    records: Mutex<Vec<Record>>,
}

impl Recorder {
    pub(crate) fn now(&self) -> Tick {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn note(&self, record: Record) {
        self.records.lock().expect("no panic").push(record);
    }

    pub(crate) fn take(&self) -> Vec<Record> {
        std::mem::take(&mut *self.records.lock().expect("no panic"))
    }
}
