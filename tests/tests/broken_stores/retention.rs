//! Stores that keep too much, too little or the wrong books.

use std::sync::OnceLock;
use std::time::Duration;

use mcp_event_store_compliance::async_trait;
use mcp_event_store_core::{
    Error, EventId, Limits, NewEvent, Result, Settings, StreamRef, SweepReport, Usage,
};

use super::defect::{Defect, Good};

/// A defect that only reads its settings wrongly.
macro_rules! reads_settings_wrongly {
    ($($(#[$doc:meta])* $name:ident: |$settings:ident| $change:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Default)]
            pub(crate) struct $name;

            #[async_trait]
            impl Defect for $name {
                fn settings(&self, settings: &Settings) -> Settings {
                    let mut changed = settings.clone();
                    let $settings = &mut changed;
                    $change;
                    changed
                }
            }
        )*
    };
}

const YEARS: Duration = Duration::from_secs(100_000_000);

reads_settings_wrongly! {
    /// Keeps idle streams for good.
    IgnoresStreamTtl: |s| s.retention.stream_ttl = None;
    /// Keeps old events for good.
    IgnoresEventTtl: |s| s.retention.event_ttl = None;
    /// Shows events until some time after they have expired, as one that waits for a sweep does.
    IsLate: |s| s.retention.event_ttl = s.retention.event_ttl.map(|t| t + Duration::from_secs(20));
    /// Keeps one event more than it may.
    KeepsOneTooMany:
        |s| s.retention.max_events_per_stream = s.retention.max_events_per_stream.map(|n| n + 1);
    /// Counts messages and not what an event costs beside.
    CountsNoOverhead:
        |s| s.retention.max_bytes_per_stream = s.retention.max_bytes_per_stream.map(|n| n + 192);
    /// Keeps complete streams for good.
    IgnoresCompletedTtl: |s| s.retention.completed_stream_ttl = None;
    /// Lets all streams together grow.
    IgnoresTotals: |s| {
        s.retention.max_total_bytes = None;
        s.retention.max_bytes_per_session = None;
    };
    /// Forgets expired streams at once.
    ForgetsTombstones: |s| s.retention.tombstone_ttl = Duration::from_millis(1);
    /// Remembers expired streams for good.
    NeverForgets: |s| s.retention.tombstone_ttl = YEARS;
    /// Keeps unused records for good.
    IgnoresSessionTtl: |s| s.retention.session_ttl = None;
    /// Refuses nothing.
    HasNoLimits: |s| s.limits = Limits::unlimited();
}

/// Goes by the settings that the scope was first opened with.
#[derive(Default)]
pub(crate) struct KeepsFirstSettings(OnceLock<Settings>);

#[async_trait]
impl Defect for KeepsFirstSettings {
    fn settings(&self, settings: &Settings) -> Settings {
        self.0.get_or_init(|| settings.clone()).clone()
    }
}

/// Refuses appends where it should make room.
#[derive(Default)]
pub(crate) struct RefusesAboveTheTotal;

#[async_trait]
impl Defect for RefusesAboveTheTotal {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        if let Some(allowed) = good.settings.retention.max_total_bytes
            && good.maintenance.usage().await?.bytes > allowed
        {
            return Err(Error::LimitReached { limit: "max_total_bytes", allowed });
        }
        good.events.store_event(to, event).await
    }
}

/// Does not count what tombstones cost.
#[derive(Default)]
pub(crate) struct Miscounts;

#[async_trait]
impl Defect for Miscounts {
    async fn usage(&self, good: &Good) -> Result<Usage> {
        let usage = good.maintenance.usage().await?;
        Ok(Usage { bytes: usage.bytes.saturating_sub(256 * usage.tombstones), ..usage })
    }
}

/// Sweeps nothing away.
#[derive(Default)]
pub(crate) struct SweepsNothing;

#[async_trait]
impl Defect for SweepsNothing {
    async fn sweep(&self, _good: &Good) -> Result<SweepReport> {
        Ok(SweepReport::default())
    }
}
