//! Names and labels of what the engine counts, for any recorder of the `metrics` crate.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::error::Error;
use crate::store::{SweepReport, Usage, Verdict};

/// A batch was committed.
pub(super) fn committed(backend: &'static str, events: usize, took: Duration) {
    #[allow(clippy::cast_precision_loss, reason = "a batch holds far fewer than 2^52 events")]
    histogram!("mcp_event_store_batch_events", "backend" => backend).record(events as f64);
    histogram!("mcp_event_store_commit_seconds", "backend" => backend).record(took);
}

/// An event was stored, `took` after its caller asked for it.
pub(super) fn appended(backend: &'static str, took: Duration) {
    counter!("mcp_event_store_appends_total", "backend" => backend).increment(1);
    histogram!("mcp_event_store_append_seconds", "backend" => backend).record(took);
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
