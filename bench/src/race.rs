//! Contenders at work: lanes that commit as fast as they can, in rounds that alternate.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_trait::async_trait;

use crate::engines::Connection;
use crate::machine::busy_time;
use crate::progress::Progress;
use crate::report::{Append, Contender};
use crate::stats::{Spread, Times, float};

/// One task's way to store.
#[async_trait]
pub(crate) trait Lane: Send {
    /// Makes one commit durable, and answers how many events (or requests) it held.
    async fn commit(&mut self) -> anyhow::Result<usize>;
}

/// A connection of the engine's own that commits as many rows each time.
pub(crate) struct Batches {
    pub(crate) connection: Box<dyn Connection>,
    pub(crate) rows: usize,
}

#[async_trait]
impl Lane for Batches {
    async fn commit(&mut self) -> anyhow::Result<usize> {
        self.connection.commit(self.rows).await?;
        Ok(self.rows)
    }
}

/// The lanes of one contender.
pub(crate) struct Entrant {
    pub(crate) contender: Contender,
    pub(crate) rows: usize,
    pub(crate) message_bytes: usize,
    pub(crate) lanes: Vec<Box<dyn Lane>>,
    pub(crate) rounds: Vec<Round>,
}

/// What one round measured.
pub(crate) struct Round {
    pub(crate) rate: f64,
    pub(crate) times: Times,
    pub(crate) cpu_us: f64,
}

impl Entrant {
    pub(crate) fn new(
        contender: Contender,
        rows: usize,
        message_bytes: usize,
        lanes: Vec<Box<dyn Lane>>,
    ) -> Self {
        Self { contender, rows, message_bytes, lanes, rounds: Vec::new() }
    }

    /// Lets all lanes commit for `time`.
    pub(crate) async fn run(&mut self, time: Duration) -> anyhow::Result<Round> {
        let started = Instant::now();
        self.run_until(move || started.elapsed() >= time).await
    }

    /// Lets all lanes commit until that is so.
    pub(crate) async fn run_until(
        &mut self,
        is_over: impl Fn() -> bool + Clone + Send + Sync + 'static,
    ) -> anyhow::Result<Round> {
        let (started, busy) = (Instant::now(), busy_time());
        let tasks: Vec<_> = self
            .lanes
            .drain(..)
            .map(|mut lane| {
                let is_over = is_over.clone();
                tokio::spawn(async move {
                    let (mut times, mut events) = (Times::default(), 0);
                    let mut asked = Instant::now();
                    while !is_over() {
                        events += lane.commit().await?;
                        let done = Instant::now();
                        times.record(done - asked);
                        asked = done;
                    }
                    anyhow::Ok((lane, times, events))
                })
            })
            .collect();
        let (mut times, mut events) = (Times::default(), 0);
        for task in tasks {
            let (lane, of_lane, more) = task.await.context("a lane of the benchmark broke")??;
            self.lanes.push(lane);
            times.add(&of_lane);
            events += more;
        }
        let elapsed = started.elapsed().as_secs_f64();
        let cpu = (busy_time().saturating_sub(busy)).as_secs_f64();
        let cpu_us = if events == 0 { 0.0 } else { cpu * 1e6 / float(events) };
        Ok(Round { rate: float(events) / elapsed, times, cpu_us })
    }

    pub(crate) fn result(&self) -> Append {
        let of = |value: &dyn Fn(&Round) -> f64| Spread::of(self.rounds.iter().map(value));
        Append {
            contender: self.contender,
            lanes: self.lanes.len(),
            rows: self.rows,
            message_bytes: self.message_bytes,
            rate: of(&|round| round.rate),
            p50_us: of(&|round| round.times.micros(0.5)),
            p99_us: of(&|round| round.times.micros(0.99)),
            p999_us: of(&|round| round.times.micros(0.999)),
            cpu_us: of(&|round| round.cpu_us),
        }
    }
}

/// Lets entrants take turns, after a round that only warms up, and answers what each did.
pub(crate) async fn alternate(
    mut entrants: Vec<Entrant>,
    rounds: usize,
    time: Duration,
    progress: &Progress,
) -> anyhow::Result<Vec<Append>> {
    for round in 0..=rounds {
        for entrant in &mut entrants {
            let measured = entrant.run(time).await?;
            if round > 0 {
                entrant.rounds.push(measured);
            }
            progress.step();
        }
    }
    Ok(entrants.iter().map(Entrant::result).collect())
}
