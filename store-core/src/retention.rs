//! What is kept and for how long: the settings, and the decisions that follow from them.

use std::time::Duration;

use crate::error::{Error, Result};

const HOUR: Duration = Duration::from_hours(1);
const MIB: u64 = 1024 * 1024;

/// What is kept, and for how long. `None` turns a limit off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// An incomplete stream, since its last append or renewal, if no owner holds a lease on it.
    pub stream_ttl: Option<Duration>,
    /// A complete stream, since its completion.
    pub completed_stream_ttl: Option<Duration>,
    /// An event, since it was stored.
    pub event_ttl: Option<Duration>,
    /// Newest events kept of a stream.
    pub max_events_per_stream: Option<u64>,
    /// Bytes of the newest events kept of a stream.
    pub max_bytes_per_stream: Option<u64>,
    /// Bytes of all streams together, enforced by the sweep.
    pub max_total_bytes: Option<u64>,
    /// Bytes of all streams of a session, enforced by the sweep.
    pub max_bytes_per_session: Option<u64>,
    /// How long an expired stream, or a deleted session, is remembered.
    pub tombstone_ttl: Duration,
    /// A session's record, since it was last used.
    pub session_ttl: Option<Duration>,
    /// Time between two sweeps in the background; `None` leaves sweeping to the operator.
    pub sweep_every: Option<Duration>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            stream_ttl: Some(24 * HOUR),
            completed_stream_ttl: Some(HOUR),
            event_ttl: Some(24 * HOUR),
            max_events_per_stream: Some(10_000),
            max_bytes_per_stream: Some(16 * MIB),
            max_total_bytes: Some(10 * 1024 * MIB),
            max_bytes_per_session: Some(256 * MIB),
            tombstone_ttl: HOUR,
            session_ttl: Some(24 * HOUR),
            sweep_every: Some(Duration::from_secs(30)),
        }
    }
}

impl Retention {
    /// Keeps everything for good and never sweeps by itself.
    #[must_use]
    pub fn keep_everything() -> Self {
        Self {
            stream_ttl: None,
            completed_stream_ttl: None,
            event_ttl: None,
            max_events_per_stream: None,
            max_bytes_per_stream: None,
            max_total_bytes: None,
            max_bytes_per_session: None,
            tombstone_ttl: HOUR,
            session_ttl: None,
            sweep_every: None,
        }
    }
}

/// What is refused. `None` turns a limit off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one event's message, or of a session record.
    pub max_event_bytes: Option<u64>,
    /// Incomplete streams of one session.
    pub max_streams_per_session: Option<u64>,
    /// Open follows of one session's streams, on each instance.
    pub max_followers_per_session: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_event_bytes: Some(4 * MIB),
            max_streams_per_session: Some(10_000),
            max_followers_per_session: Some(100),
        }
    }
}

impl Limits {
    /// Refuses nothing.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {
            max_event_bytes: None,
            max_streams_per_session: None,
            max_followers_per_session: None,
        }
    }
}

/// What an acknowledged event survives; each backend's documentation gives its particulars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A crash of the process, of the operating system, and a loss of power.
    #[default]
    Committed,
    /// A crash of the process. What the last moments before a crash of the operating system or a
    /// loss of power stored may be lost; what is left is consistent.
    Relaxed,
}

/// Everything that an operator can tune, whatever the backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What is kept, and for how long.
    pub retention: Retention,
    /// What is refused.
    pub limits: Limits,
    /// What an acknowledged event survives.
    pub durability: Durability,
}

impl Limits {
    /// Refuses what is larger than `max_event_bytes`.
    pub(crate) fn check_size(&self, field: &'static str, bytes: u64) -> Result<()> {
        match self.max_event_bytes {
            Some(allowed) if bytes > allowed => {
                Err(Error::TooLarge { field, bytes, limit: "max_event_bytes", allowed })
            }
            _ => Ok(()),
        }
    }
}

impl Settings {
    /// Refuses zeros: a limit that keeps or allows nothing is a mistake.
    pub(crate) fn check(&self) -> Result<()> {
        let Retention { tombstone_ttl, .. } = self.retention;
        let durations = [
            ("stream_ttl", self.retention.stream_ttl),
            ("completed_stream_ttl", self.retention.completed_stream_ttl),
            ("event_ttl", self.retention.event_ttl),
            ("tombstone_ttl", Some(tombstone_ttl)),
            ("session_ttl", self.retention.session_ttl),
            ("sweep_every", self.retention.sweep_every),
        ];
        let numbers = [
            ("max_events_per_stream", self.retention.max_events_per_stream),
            ("max_bytes_per_stream", self.retention.max_bytes_per_stream),
            ("max_total_bytes", self.retention.max_total_bytes),
            ("max_bytes_per_session", self.retention.max_bytes_per_session),
            ("max_event_bytes", self.limits.max_event_bytes),
            ("max_streams_per_session", self.limits.max_streams_per_session),
            ("max_followers_per_session", self.limits.max_followers_per_session),
        ];
        let short = |ttl: Option<Duration>| ttl.is_some_and(|ttl| ttl < Duration::from_millis(1));
        if let Some((field, _)) = durations.into_iter().find(|(_, ttl)| short(*ttl)) {
            return Err(Error::invalid(field, "must be at least 1ms"));
        }
        if let Some((field, _)) = numbers.into_iter().find(|(_, number)| *number == Some(0)) {
            return Err(Error::invalid(field, "must be at least 1; turn a limit off with None"));
        }
        Ok(())
    }
}
