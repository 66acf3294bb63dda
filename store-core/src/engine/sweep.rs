//! Deleting what retention no longer keeps.
//!
//! A sweep looks at candidates a page at a time, decides with the same functions as every read,
//! and removes with a condition that fails if the stream came to life meanwhile. So any number of
//! sweeps may run at once; the claim that the background takes only saves work. A sweep that is
//! under way when the store closes stops between two steps: no write is ever cancelled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::time::sleep;

use super::pace::StepSize;
use super::{Shared, metrics, search, shrink};
use crate::backend::{Backend, Candidates, Removal, Remove, StreamMeta, Wakeup};
use crate::error::{Error, Result};
use crate::event::{EVENT_OVERHEAD_BYTES, Timestamp};
use crate::store::SweepReport;

/// Streams that are looked at in one step; streams that are removed, and sessions that are
/// forgotten, at most.
pub(super) const STEP: usize = 256;

/// Streams that are looked into at once: each takes a few reads, one after the other, which over a
/// network are mostly waiting.
const LOOKS_AT_ONCE: usize = 8;

/// Rows of events that are freed in one step at most.
pub(super) const RECLAIM_STEP: usize = 1000;

/// How long another instance's claim on background sweeping lasts at most.
const CLAIM: Duration = Duration::from_mins(1);

/// Sweeps every `sweep_every`, give or take a tenth, until the engine stops.
pub(super) async fn in_background<B: Backend>(shared: Arc<Shared<B>>) {
    let Some(every) = shared.settings.retention.sweep_every else { return };
    loop {
        tokio::select! {
            () = sleep(with_jitter(every)) => {}
            () = shared.stop.cancelled() => return,
        }
        match sweep_alone(&shared).await {
            Ok(Some(report)) => tracing::debug!(?report, "swept"),
            Ok(None) => tracing::debug!("another instance is sweeping"),
            Err(Error::Closed) => return,
            Err(error) => tracing::warn!(%error, "the sweep failed; the next one tries again"),
        }
    }
}

/// Between 0.9 and 1.1 times `every`, so that instances do not sweep in step.
fn with_jitter(every: Duration) -> Duration {
    let mut random = [0];
    let drawn = getrandom::fill(&mut random).map_or(128, |()| random[0]);
    let extra = (every / 5).mul_f64(f64::from(drawn) / 255.0);
    every.saturating_sub(every / 10).saturating_add(extra)
}

/// Sweeps unless another instance is at it.
async fn sweep_alone<B: Backend>(shared: &Arc<Shared<B>>) -> Result<Option<SweepReport>> {
    if !shared.backend.claim_sweep(&shared.instance, CLAIM).await? {
        return Ok(None);
    }
    let report = sweep(shared).await;
    shared.backend.claim_sweep(&shared.instance, Duration::ZERO).await?;
    report.map(Some)
}

/// One whole sweep.
#[tracing::instrument(level = "debug", skip_all, fields(backend = shared.backend.name()))]
pub(super) async fn sweep<B: Backend>(shared: &Arc<Shared<B>>) -> Result<SweepReport> {
    let started = Instant::now();
    let mut sweep = Sweep::begin(shared);
    sweep.expire_streams().await?;
    sweep.trim_streams().await?;
    shrink::sessions(&mut sweep).await?;
    shrink::total(&mut sweep).await?;
    sweep.forget_tombstones().await?;
    sweep.forget_sessions().await?;
    sweep.reclaim().await?;
    let usage = shared.backend.usage().await?;
    metrics::swept(shared.backend.name(), &sweep.report, &usage, started.elapsed());
    Ok(sweep.report)
}

/// A sweep under way.
pub(super) struct Sweep<'a, B> {
    pub(super) shared: &'a Arc<Shared<B>>,
    report: SweepReport,
    removals: StepSize,
    events: StepSize,
    sessions: StepSize,
}

impl<'a, B: Backend> Sweep<'a, B> {
    fn begin(shared: &'a Arc<Shared<B>>) -> Self {
        Self {
            shared,
            report: SweepReport::default(),
            removals: StepSize::new(STEP),
            events: StepSize::new(RECLAIM_STEP),
            sessions: StepSize::new(STEP),
        }
    }

    /// T1 and T5: streams that expired as a whole become tombstones.
    async fn expire_streams(&mut self) -> Result<()> {
        let retention = &self.shared.settings.retention;
        let now = self.shared.backend.now().await?;
        let idle = retention.stream_ttl.map(|ttl| Candidates::Idle(now.minus(ttl)));
        let complete = retention.completed_stream_ttl.map(|t| Candidates::Complete(now.minus(t)));
        for which in idle.into_iter().chain(complete) {
            let mut cursor = None;
            loop {
                let (streams, next) = self.shared.backend.candidates(&which, cursor, STEP).await?;
                let expired = streams.iter().filter(|meta| meta.is_expired(now, retention));
                let removals: Vec<_> =
                    expired.filter_map(|m| Some(whole(m, m.expires_at(retention)?))).collect();
                self.remove(&streams, &removals).await?;
                if next.is_none() {
                    break;
                }
                cursor = next;
            }
        }
        Ok(())
    }

    /// T2, T3 and T4: streams lose the events that are too old or too many.
    async fn trim_streams(&mut self) -> Result<()> {
        let retention = &self.shared.settings.retention;
        let now = self.shared.backend.now().await?;
        let aged = retention.event_ttl.map(|ttl| Candidates::Aged(now.minus(ttl)));
        let by_count =
            retention.max_events_per_stream.map(|n| n.saturating_mul(EVENT_OVERHEAD_BYTES));
        let large = by_count.into_iter().chain(retention.max_bytes_per_stream).min();
        for which in aged.into_iter().chain(large.map(Candidates::Large)) {
            let mut cursor = None;
            loop {
                let (streams, next) = self.shared.backend.candidates(&which, cursor, STEP).await?;
                let mut removals = Vec::new();
                for part in streams.chunks(LOOKS_AT_ONCE) {
                    let looks: Vec<_> = part.iter().map(|m| self.trimming(m, now)).collect();
                    removals.extend(try_join_all(looks).await?.into_iter().flatten());
                }
                self.remove(&streams, &removals).await?;
                if next.is_none() {
                    break;
                }
                cursor = next;
            }
        }
        Ok(())
    }

    /// What retention takes from the beginning of a stream that has not expired.
    async fn trimming(&self, meta: &StreamMeta, now: Timestamp) -> Result<Option<Removal>> {
        let retention = &self.shared.settings.retention;
        if meta.kept_events() == 0 || meta.is_expired(now, retention) {
            return Ok(None);
        }
        let first_kept = match search::first_kept(&*self.shared.backend, meta, retention).await {
            // Deleted since it was listed.
            Err(Error::UnknownEvent) => return Ok(None),
            first_kept => first_kept?,
        };
        Ok((first_kept > meta.first_seq).then(|| prefix(meta, first_kept - 1)))
    }

    /// T9: tombstones whose time is over.
    async fn forget_tombstones(&mut self) -> Result<()> {
        let now = self.shared.backend.now().await?;
        let which = Candidates::Tombstones(now.minus(self.shared.settings.retention.tombstone_ttl));
        let mut cursor = None;
        loop {
            let (streams, next) = self.shared.backend.candidates(&which, cursor, STEP).await?;
            let removals: Vec<_> = streams.iter().map(tombstone).collect();
            self.remove(&streams, &removals).await?;
            if next.is_none() {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// S2, and deletion marks whose time is over.
    async fn forget_sessions(&mut self) -> Result<()> {
        loop {
            self.shared.check_open()?;
            let (settings, limit) = (&self.shared.settings, self.sessions.get());
            let forget = self.shared.backend.forget_sessions(settings, limit);
            let (forgotten, time) = in_turn(self.shared, forget).await?;
            self.report.forgotten_sessions += forgotten;
            if forgotten < limit as u64 {
                return Ok(());
            }
            self.sessions.adapt(limit, time, self.shared.pace.step_time());
        }
    }

    /// Frees the rows of what was removed, here or elsewhere.
    async fn reclaim(&mut self) -> Result<()> {
        loop {
            self.shared.check_open()?;
            let most = self.events.get();
            let reclaim = self.shared.backend.reclaim(most as u64);
            let (freed, time) = in_turn(self.shared, reclaim).await?;
            self.report.freed_events += freed;
            if freed == 0 {
                return Ok(());
            }
            let freed = usize::try_from(freed).unwrap_or(most);
            self.events.adapt(freed, time, self.shared.pace.step_time());
        }
    }

    /// Applies `removals`, each of one of `streams`, in steps; answers the events that each took.
    pub(super) async fn remove(
        &mut self,
        streams: &[StreamMeta],
        removals: &[Removal],
    ) -> Result<Vec<Option<u64>>> {
        let mut taken = Vec::with_capacity(removals.len());
        while taken.len() < removals.len() {
            self.shared.check_open()?;
            let left = &removals[taken.len()..];
            let step = &left[..left.len().min(self.removals.get())];
            let (by_step, time) = in_turn(self.shared, self.shared.backend.remove(step)).await?;
            self.removals.adapt(step.len(), time, self.shared.pace.step_time());
            self.report_removed(streams, step, &by_step);
            taken.extend(by_step);
        }
        Ok(taken)
    }

    /// Counts what removals took, and tells who follows those streams.
    fn report_removed(
        &mut self,
        streams: &[StreamMeta],
        removals: &[Removal],
        taken: &[Option<u64>],
    ) {
        for (removal, taken) in removals.iter().zip(taken) {
            let Some(events) = taken else { continue };
            match removal.what {
                Remove::Prefix { .. } => self.report.trimmed_events += events,
                Remove::Whole { .. } => self.report.expired_streams += 1,
                Remove::Tombstone { .. } => self.report.forgotten_tombstones += 1,
            }
            let stream = streams.iter().find(|meta| meta.key == removal.key);
            stream.inspect(|m| self.shared.hub.wake(&Wakeup::Stream(m.stream.clone())));
        }
    }
}

/// Does a step that writes when it is its turn, and then rests where nobody takes turns; answers how
/// long the step took.
async fn in_turn<B, T>(
    shared: &Shared<B>,
    step: impl Future<Output = Result<T>>,
) -> Result<(T, Duration)> {
    let turn = shared.pace.turn().await;
    let started = Instant::now();
    let done = step.await?;
    let time = started.elapsed();
    drop(turn);
    tokio::select! {
        () = shared.pace.rest(time) => {}
        () = shared.stop.cancelled() => {}
    }
    Ok((done, time))
}

/// Removes the events of `meta` up to `through`.
pub(super) fn prefix(meta: &StreamMeta, through: u64) -> Removal {
    Removal { key: meta.key, what: Remove::Prefix { through } }
}

/// Makes a tombstone of `meta`.
pub(super) fn whole(meta: &StreamMeta, at: Timestamp) -> Removal {
    Removal { key: meta.key, what: Remove::Whole { at, unchanged: meta.version() } }
}

/// Forgets the tombstone `meta`.
pub(super) fn tombstone(meta: &StreamMeta) -> Removal {
    Removal { key: meta.key, what: Remove::Tombstone { unchanged: meta.version() } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_interval_takes_jitter() {
        for every in [Duration::from_millis(1), Duration::from_secs(30), Duration::MAX] {
            let jittered = with_jitter(every);
            assert!(jittered >= every / 10 * 9 && jittered <= every.saturating_add(every / 10));
        }
    }
}
