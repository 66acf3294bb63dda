//! How soon an event reaches its follower, on the same instance and on another.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::TryStreamExt as _;
use mcp_event_store::{EventStoreExt as _, NewEvent, Store, StreamRef};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Bench;
use crate::messages::Messages;
use crate::ours;
use crate::report::Follow;
use crate::stats::{Spread, Times};

const MESSAGE_BYTES: usize = 500;

/// Longer than any wake-up takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two appends: followers should be found asleep.
const PAUSE: Duration = Duration::from_millis(2);

/// Follow latency at each number of followers.
pub(crate) async fn follows(bench: &Bench<'_>) -> anyhow::Result<Vec<Follow>> {
    let kinds = if bench.engine.is_shared() { &[false, true][..] } else { &[false] };
    let steps = bench.effort.followers.len() * kinds.len() * bench.effort.rounds;
    let progress = bench.progress("follow latency", steps);
    let url = bench.engine.store_url("follows");
    let appender = ours::open(&url).await?;
    let other = if bench.engine.is_shared() { Some(ours::open(&url).await?) } else { None };
    let mut results = Vec::new();
    for followers in bench.effort.followers {
        let mut settings = Vec::new();
        for across in kinds {
            let reader = if *across { other.as_ref() } else { None }.unwrap_or(&appender);
            let name = format!("{across}-{followers}");
            settings.push((*across, Followed::start(&appender, reader, &name, *followers).await?));
        }
        let mut rounds: Vec<Vec<Latencies>> = kinds.iter().map(|_| Vec::new()).collect();
        for round in 0..=bench.effort.rounds {
            for ((across, followed), rounds) in settings.iter_mut().zip(&mut rounds) {
                // A poll may take a tenth of a second: that needs time for enough of them.
                let time = bench.effort.round * if *across { 4 } else { 1 };
                let measured = followed.round(&appender, time).await?;
                if round > 0 {
                    rounds.push(measured);
                    progress.step();
                }
            }
        }
        for ((across, _), rounds) in settings.iter().zip(rounds) {
            let of = |value: &dyn Fn(&Latencies) -> f64| Spread::of(rounds.iter().map(value));
            results.push(Follow {
                across: *across,
                followers: *followers,
                p50_us: of(&|round| round.whole.micros(0.5)),
                p99_us: of(&|round| round.whole.micros(0.99)),
                after_commit_p99_us: of(&|round| round.after_commit.micros(0.99)),
            });
        }
    }
    for store in other.iter().chain([&appender]) {
        store.maintenance().close().await?;
    }
    bench.engine.clean().await?;
    Ok(results)
}

/// Streams, each with a follower that tells when something came.
struct Followed {
    streams: Vec<StreamRef>,
    delivered: mpsc::UnboundedReceiver<(usize, Instant)>,
    next: usize,
    messages: Messages,
    _followers: JoinSet<anyhow::Result<()>>,
}

#[derive(Default)]
struct Latencies {
    /// From the call of append to delivery.
    whole: Times,
    /// From the return of append to delivery.
    after_commit: Times,
}

impl Followed {
    async fn start(
        appender: &Store,
        reader: &Store,
        name: &str,
        followers: usize,
    ) -> anyhow::Result<Self> {
        let (tell, delivered) = mpsc::unbounded_channel();
        let (mut streams, mut tasks) = (Vec::new(), JoinSet::new());
        for n in 0..followers {
            let stream = ours::stream(&format!("{name}-{n}"), "followed")?;
            let first = appender.events().store_event(&stream, NewEvent::priming(None)).await?;
            let mut replay = reader.events().follow_after(stream.scope(), &first).await?;
            let tell = tell.clone();
            streams.push(stream);
            tasks.spawn(async move {
                while replay.events.try_next().await?.is_some() {
                    if tell.send((n, Instant::now())).is_err() {
                        break;
                    }
                }
                Ok(())
            });
        }
        let messages = Messages::new(MESSAGE_BYTES)?;
        Ok(Self { streams, delivered, next: 0, messages, _followers: tasks })
    }

    /// Appends to one stream after the other for `time`, each when the last event was delivered.
    async fn round(&mut self, appender: &Store, time: Duration) -> anyhow::Result<Latencies> {
        let (started, mut latencies) = (Instant::now(), Latencies::default());
        while started.elapsed() < time {
            tokio::time::sleep(PAUSE).await;
            self.next = (self.next + 1) % self.streams.len();
            let event = NewEvent::message(self.messages.next());
            let asked = Instant::now();
            appender.events().store_event(&self.streams[self.next], event).await?;
            let committed = Instant::now();
            let delivery = timeout(PATIENCE, self.delivered.recv()).await;
            let (from, at) = delivery.context("a follower got nothing")?.context("none is left")?;
            ensure!(from == self.next, "an event of another stream was delivered");
            latencies.whole.record(at - asked);
            latencies.after_commit.record(at.saturating_duration_since(committed));
        }
        Ok(latencies)
    }
}
