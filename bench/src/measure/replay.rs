//! Replays of long streams, against a raw scan through the engine's own driver.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::{StreamExt as _, TryStreamExt as _};
use mcp_event_store::{EventId, NewEvent, ReplayMode, Store, StreamRef};

use super::Bench;
use crate::engines::Scan;
use crate::messages::Messages;
use crate::ours;
use crate::report::{Contender, Replay};
use crate::stats::{Spread, float};

const MESSAGE_BYTES: usize = 500;

/// A stream that is replayed from its first event.
pub(crate) struct Stored {
    pub(crate) stream: StreamRef,
    pub(crate) first: EventId,
    pub(crate) events: u64,
}

impl Stored {
    /// Stores a priming event and then `events` messages.
    pub(crate) async fn fill(store: &Store, name: &str, events: u64) -> anyhow::Result<Self> {
        const AT_A_TIME: usize = 512;
        let stream = ours::stream("replays", name)?;
        let first = store.events().store_event(&stream, NewEvent::priming(None)).await?;
        let mut messages = Messages::new(MESSAGE_BYTES)?;
        let append = |_| {
            let (store, stream, message) = (store.events(), stream.clone(), messages.next());
            async move { store.store_event(&stream, NewEvent::message(message)).await }
        };
        let appends = futures_util::stream::iter((0..events).map(append)).buffered(AT_A_TIME);
        appends.try_for_each(|_| async { Ok(()) }).await?;
        Ok(Self { stream, first, events })
    }

    /// Replays it, and calls `each` now and then.
    pub(crate) async fn replay(&self, store: &Store, mut each: impl FnMut()) -> anyhow::Result<()> {
        let (scope, mode) = (self.stream.scope(), ReplayMode::Stored);
        let mut replay = store.events().replay_events_after(scope, &self.first, mode).await?;
        let (mut events, mut bytes) = (0_u64, 0_u64);
        while let Some(event) = replay.events.try_next().await? {
            bytes += event.message.map_or(0, |message| message.len() as u64);
            events += 1;
            if events % 5000 == 0 {
                each();
            }
        }
        let expected = (self.events, self.events * MESSAGE_BYTES as u64);
        ensure!((events, bytes) == expected, "a replay of {expected:?} gave {events}, {bytes}");
        Ok(())
    }
}

/// Replays of each length.
pub(crate) async fn replays(bench: &Bench<'_>) -> anyhow::Result<Vec<Replay>> {
    let lengths = bench.effort.replays;
    let progress = bench.progress("replays", lengths.len() * bench.effort.rounds);
    let store = ours::open(&bench.engine.store_url("replays")).await?;
    let mut results = Vec::new();
    for events in lengths {
        let stored = Stored::fill(&store, &events.to_string(), *events).await?;
        let mut scan = match bench.engine.raw() {
            Some(raw) => Some(raw.stream(*events, Messages::new(MESSAGE_BYTES)?).await?),
            None => None,
        };
        let (mut ours, mut raw) = (Vec::new(), Vec::new());
        for round in 0..=bench.effort.rounds {
            let rate = store_rate(&store, &stored, bench.effort.round).await?;
            let scanned = match &mut scan {
                Some(scan) => Some(scan_rate(scan.as_mut(), *events, bench.effort.round).await?),
                None => None,
            };
            if round > 0 {
                ours.push(rate);
                raw.extend(scanned);
                progress.step();
            }
        }
        for (contender, rates) in [(Contender::Store, ours), (Contender::Raw, raw)] {
            if !rates.is_empty() {
                let (events, rate) = (*events, Spread::of(rates));
                let message_bytes = MESSAGE_BYTES;
                results.push(Replay { contender, events, message_bytes, rate });
            }
        }
    }
    store.maintenance().close().await?;
    bench.engine.clean().await?;
    Ok(results)
}

/// Events a second of replays one after the other, for `time` or once.
async fn store_rate(store: &Store, stored: &Stored, time: Duration) -> anyhow::Result<f64> {
    let (started, mut replays) = (Instant::now(), 0_u64);
    while replays == 0 || started.elapsed() < time {
        stored.replay(store, || {}).await?;
        replays += 1;
    }
    Ok(float(replays * stored.events) / started.elapsed().as_secs_f64())
}

async fn scan_rate(scan: &mut dyn Scan, events: u64, time: Duration) -> anyhow::Result<f64> {
    let (started, mut scans) = (Instant::now(), 0_u64);
    while scans == 0 || started.elapsed() < time {
        let found = scan.scan().await?;
        let expected = (events, events * MESSAGE_BYTES as u64);
        ensure!(found == expected, "a raw scan of {expected:?} gave {found:?}");
        scans += 1;
    }
    Ok(float(scans * events) / started.elapsed().as_secs_f64())
}
