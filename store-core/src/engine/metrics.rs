//! Names and labels of what the engine counts, for any recorder of the `metrics` crate.

use std::time::Duration;

use metrics::{
    Counter, Histogram, Key, Label, Level, Metadata, counter, gauge, histogram, with_recorder,
};

use crate::error::Error;
use crate::store::{SweepReport, Usage, Verdict};

/// What commits count, for themselves and for their events. Names and labels are put together once,
/// where a macro would do so each time; but each commit asks for the recorder, which may come later.
pub(super) struct Commits {
    batch_events: Key,
    commit_seconds: Key,
    appends: Key,
    append_seconds: Key,
}

/// Where the events of a commit are counted.
pub(super) struct Appends {
    appends: Counter,
    seconds: Histogram,
}

impl Commits {
    pub(super) fn new(backend: &'static str) -> Self {
        let key = |name| Key::from_parts(name, vec![Label::new("backend", backend)]);
        Self {
            batch_events: key("mcp_event_store_batch_events"),
            commit_seconds: key("mcp_event_store_commit_seconds"),
            appends: key("mcp_event_store_appends_total"),
            append_seconds: key("mcp_event_store_append_seconds"),
        }
    }

    /// A batch was committed.
    pub(super) fn count(&self, events: usize, took: Duration) -> Appends {
        static METADATA: Metadata<'static> =
            Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
        with_recorder(|recorder| {
            let histogram = |key| recorder.register_histogram(key, &METADATA);
            #[allow(
                clippy::cast_precision_loss,
                reason = "a batch holds far fewer than 2^52 events"
            )]
            histogram(&self.batch_events).record(events as f64);
            histogram(&self.commit_seconds).record(took);
            Appends {
                appends: recorder.register_counter(&self.appends, &METADATA),
                seconds: histogram(&self.append_seconds),
            }
        })
    }
}

impl Appends {
    /// An event was stored, `took` after its caller asked for it.
    pub(super) fn count(&self, took: Duration) {
        self.appends.increment(1);
        self.seconds.record(took);
    }
}

/// Events were not stored.
pub(super) fn refused(backend: &'static str, events: usize, error: &Error) {
    let reason = match error {
        Error::StreamComplete => "stream_complete",
        Error::SessionDeleted => "session_deleted",
        Error::LimitReached { .. } => "limit_reached",
        Error::Unavailable { .. } => "unavailable",
        Error::OutcomeUnknown { .. } => "outcome_unknown",
        _ => "other",
    };
    counter!("mcp_event_store_refused_total", "backend" => backend, "reason" => reason)
        .increment(events as u64);
}

/// A replay was asked for.
pub(super) fn replay(backend: &'static str, outcome: Result<Verdict, &Error>) {
    let verdict = match outcome {
        Ok(Verdict::CaughtUp) => "caught_up",
        Ok(Verdict::Recovered { .. }) => "recovered",
        Err(Error::UnknownEvent) => "unknown_event",
        Err(Error::EventsExpired { .. }) => "events_expired",
        Err(_) => "failed",
    };
    counter!("mcp_event_store_replays_total", "backend" => backend, "verdict" => verdict)
        .increment(1);
}

/// Events were read from the database for a replay.
pub(super) fn replayed(backend: &'static str, events: usize) {
    counter!("mcp_event_store_replayed_events_total", "backend" => backend)
        .increment(events as u64);
}

/// A live event reached a follower, `lag` after its commit.
pub(super) fn live(backend: &'static str, lag: Duration) {
    histogram!("mcp_event_store_live_lag_seconds", "backend" => backend).record(lag);
}

/// A follower came or went.
pub(super) fn followers(backend: &'static str, change: f64) {
    gauge!("mcp_event_store_followers", "backend" => backend).increment(change);
}

/// A sweep ended.
pub(super) fn swept(backend: &'static str, report: &SweepReport, usage: &Usage, took: Duration) {
    counter!("mcp_event_store_trimmed_events_total", "backend" => backend)
        .increment(report.trimmed_events);
    counter!("mcp_event_store_expired_streams_total", "backend" => backend)
        .increment(report.expired_streams);
    counter!("mcp_event_store_freed_events_total", "backend" => backend)
        .increment(report.freed_events);
    histogram!("mcp_event_store_sweep_seconds", "backend" => backend).record(took);
    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float; 2^52 bytes are 4 PiB")]
    gauge!("mcp_event_store_stored_bytes", "backend" => backend).set(usage.bytes as f64);
}
