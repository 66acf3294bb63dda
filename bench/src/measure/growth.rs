//! What appends and replays cost by what is stored already.

use std::time::{Duration, Instant};

use anyhow::ensure;
use mcp_event_store::{EventId, EventStoreExt as _, NewEvent, Store, StreamRef};
use tokio::task::JoinSet;

use super::Bench;
use crate::engines::{Among, Reader, stream_key};
use crate::machine;
use crate::messages::Messages;
use crate::ours::{self, Appends};
use crate::progress::Progress;
use crate::race::{Batches, Entrant, Lane};
use crate::report::{Axis, Contender, Growth};
use crate::stats::{Spread, Times};

const MESSAGE_BYTES: usize = 500;
/// Tasks that fill a store at a time.
const FILLERS: u64 = 1000;
const APPENDERS: u64 = 64;
/// Events of a replay, at most.
const REPLAYED: u64 = 100;
/// Replays that each round takes the median of.
const REPLAYS: u64 = 200;

/// A store that holds what it should, and where replays of it begin.
struct Filled {
    axis: Axis,
    stored: u64,
    name: String,
    places: Vec<Place>,
    rounds: Vec<[f64; 5]>,
}

/// An event in the middle of a stream, with `after` events behind it.
struct Place {
    stream: StreamRef,
    id: EventId,
    seq: u64,
    after: u64,
}

/// Costs with more and more events, and with more and more streams. Each size is a store of its
/// own, so that rounds can alternate between them.
pub(crate) async fn growth(bench: &Bench<'_>) -> anyhow::Result<Vec<Growth>> {
    let mut results = Vec::new();
    for (axis, sizes) in
        [(Axis::Events, &bench.effort.events), (Axis::Streams, &bench.effort.streams)]
    {
        let mut stores = Vec::new();
        for stored in sizes {
            stores.push(Filled::fill(bench, axis, *stored).await?);
        }
        let progress =
            bench.progress("growth: measuring", stores.len() * (bench.effort.rounds + 1));
        for round in 0..=bench.effort.rounds {
            // Each has its turn at being the first, which what the last one left to write slows.
            let count = stores.len();
            for at in 0..count {
                let filled = &mut stores[(round + at) % count];
                let costs = filled.costs(bench, round as u64).await?;
                if round > 0 {
                    filled.rounds.push(costs);
                }
                progress.step();
            }
        }
        results.extend(stores.iter().map(Filled::result));
        drop(stores);
        bench.engine.clean().await?;
    }
    Ok(results)
}

impl Filled {
    async fn fill(bench: &Bench<'_>, axis: Axis, stored: u64) -> anyhow::Result<Self> {
        let (name, streams, events) = match axis {
            Axis::Events => {
                let streams = (stored / REPLAYED).clamp(1, FILLERS);
                (format!("events_{stored}"), streams, stored / streams)
            }
            Axis::Streams => (format!("streams_{stored}"), stored, 2),
        };
        let store = ours::open(&bench.engine.store_url(&name)).await?;
        let steps = usize::try_from(streams * events / 1000)?;
        let progress = bench.progress(&format!("growth: {name}"), steps);
        let places = fill(&store, streams, events, &progress).await?;
        let usage = store.maintenance().usage().await?;
        let found = (usage.streams, usage.events);
        ensure!(found == (streams, streams * events), "the store says that it holds {found:?}");
        if axis == Axis::Streams {
            // The first makes as many streams for the engine alone.
            raw_appends(bench, stored, 0).await?;
        }
        // What has just been filled is not what is measured, and closing a store would break off
        // RocksDB's merges, whose work would be lost.
        if !bench.is_quick {
            machine::quiet(bench.effort.round).await;
        }
        store.maintenance().close().await?;
        Ok(Self { axis, stored, name, places, rounds: Vec::new() })
    }

    /// Microseconds for an event of 64 appenders, of a lone one, of a replay, of a raw read, and of raw
    /// commits.
    async fn costs(&self, bench: &Bench<'_>, round: u64) -> anyhow::Result<[f64; 5]> {
        let time = bench.effort.round;
        let store = ours::open(&bench.engine.store_url(&self.name)).await?;
        let mut many = self.entrant(&store, round, APPENDERS)?;
        let mut lone = self.entrant(&store, round + 1, 1)?;
        // New connections and empty caches are not what is measured.
        many.run(time / 2).await?;
        let rate = many.run(time).await?.rate;
        lone.run(time / 4).await?;
        let lone = lone.run(time / 2).await?.times.micros(0.5);
        let [replay, raw_read] = self.reads(bench, &store, round).await?;
        store.maintenance().close().await?;
        let raw = match self.axis {
            Axis::Events => None,
            Axis::Streams => raw_appends(bench, self.stored, round).await?,
        };
        let raw_append = match raw {
            Some(mut raw) => {
                raw.run(time / 2).await?;
                1e6 / raw.run(time).await?.rate
            }
            None => 0.0,
        };
        Ok([1e6 / rate, lone, replay, raw_read, raw_append])
    }

    fn entrant(&self, store: &Store, round: u64, lanes: u64) -> anyhow::Result<Entrant> {
        let messages = Messages::new(MESSAGE_BYTES)?;
        let (appended, _) = self.halves();
        let lanes = chosen(appended, round, lanes).map(|place| {
            Box::new(Appends::to(store, place.stream.clone(), &messages)) as Box<dyn Lane>
        });
        Ok(Entrant::new(Contender::Store, 1, MESSAGE_BYTES, lanes.collect()))
    }

    /// Microseconds for an event of a replay, and for one that is read by nothing but the engine's driver,
    /// by turns: medians. The latter is zero where it is not measured.
    async fn reads(
        &self,
        bench: &Bench<'_>,
        store: &Store,
        round: u64,
    ) -> anyhow::Result<[f64; 2]> {
        let mut reader = match bench.engine.raw() {
            Some(raw) => raw.reader(&self.name).await?,
            None => None,
        };
        let (_, places) = self.halves();
        // Not those of the replays, which caches have now, but where there are no others.
        let others = round + bench.effort.rounds as u64 + 1;
        let mut times = [Times::default(), Times::default()];
        for (replayed, read) in chosen(places, round, REPLAYS).zip(chosen(places, others, REPLAYS))
        {
            times[0].record(replay(store, replayed).await?);
            if let Some(reader) = &mut reader {
                times[1].record(raw_read(&mut **reader, read).await?);
            }
        }
        Ok(times.map(|times| times.micros(0.5)))
    }

    /// Where rounds append, and where they replay: a replay stays as long as it was.
    fn halves(&self) -> (&[Place], &[Place]) {
        self.places.split_at(self.places.len() / 2)
    }

    fn result(&self) -> Growth {
        let of = |place: usize| Spread::of(self.rounds.iter().map(|round| round[place]));
        Growth {
            axis: self.axis,
            stored: self.stored,
            append_us: of(0),
            lone_us: of(1),
            replay_us: of(2),
            raw_read_us: of(3),
            raw_append_us: of(4),
        }
    }
}

/// The time of a replay, for each of its events.
async fn replay(store: &Store, place: &Place) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let events = store.events().replay_to_vec(place.stream.scope(), &place.id).await?;
    let time = started.elapsed();
    let (found, wanted) = (events.len() as u64, place.after);
    ensure!(found == wanted, "a replay gave {found} events and not {wanted}");
    Ok(time / u32::try_from(wanted)?)
}

/// The time that nothing but the engine's driver takes to read as much.
async fn raw_read(reader: &mut dyn Reader, place: &Place) -> anyhow::Result<Duration> {
    let key = stream_key(&place.id)?;
    let started = Instant::now();
    let events = reader.read(key, place.seq, 1 + place.after).await?;
    let time = started.elapsed();
    ensure!(events == 1 + place.after, "a raw read gave {events} events");
    Ok(time / u32::try_from(place.after)?)
}

/// Commits of as many rows as there are appenders, beside as many streams.
async fn raw_appends(
    bench: &Bench<'_>,
    streams: u64,
    round: u64,
) -> anyhow::Result<Option<Entrant>> {
    let Some(raw) = bench.engine.raw() else { return Ok(None) };
    let messages = Messages::new(MESSAGE_BYTES)?;
    let among = Among::new(streams, APPENDERS, round);
    let Some(connection) = raw.keeper_among(messages, among).await? else { return Ok(None) };
    let rows = usize::try_from(APPENDERS)?;
    let lane: Box<dyn Lane> = Box::new(Batches { connection, rows });
    Ok(Some(Entrant::new(Contender::Keeper, rows, MESSAGE_BYTES, vec![lane])))
}

/// Places that a round uses: others each time, from all over.
fn chosen(places: &[Place], round: u64, count: u64) -> impl Iterator<Item = &Place> {
    // A prime, so that rounds begin everywhere.
    let start = usize::try_from(round * 7919).unwrap_or_default();
    let count = usize::try_from(count).unwrap_or_default();
    let stride = (places.len() / count.max(1)).max(1);
    (0..count).map(move |n| &places[(start + n * stride) % places.len()])
}

/// Stores `events` events in each of `streams` streams, and answers where replays can begin.
async fn fill(
    store: &Store,
    streams: u64,
    events: u64,
    progress: &Progress,
) -> anyhow::Result<Vec<Place>> {
    /// No more are remembered than rounds will use.
    const REMEMBERED: u64 = 10_000;
    let every = (streams / REMEMBERED).max(1);
    let fillers = streams.min(FILLERS);
    let mut tasks = JoinSet::new();
    for filler in 0..fillers {
        let (store, mut messages) = (store.events(), Messages::new(MESSAGE_BYTES)?);
        let progress = progress.clone();
        tasks.spawn(async move {
            let (mut places, mut stored) = (Vec::new(), 0_u64);
            for n in (filler..streams).step_by(usize::try_from(fillers)?) {
                // A session has a few streams.
                let stream = ours::stream(&format!("session-{}", n / 4), &format!("stream-{n}"))?;
                let after = REPLAYED.min(events - 1);
                for event in 1..=events {
                    let message = NewEvent::message(messages.next());
                    let id = store.store_event(&stream, message).await?;
                    if event == events - after && n % every == 0 {
                        places.push(Place { stream: stream.clone(), id, seq: event, after });
                    }
                    stored += 1;
                    if stored % 1000 == 0 {
                        progress.step();
                    }
                }
            }
            anyhow::Ok(places)
        });
    }
    let mut places = Vec::new();
    while let Some(filled) = tasks.join_next().await {
        places.extend(filled??);
    }
    Ok(places)
}
