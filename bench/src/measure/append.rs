//! Appends to long streams, and one stream a request.

use async_trait::async_trait;

use super::Bench;
use crate::engines::Raw;
use crate::messages::Messages;
use crate::ours::{self, Appends, Requests};
use crate::race::{Entrant, Lane, alternate};
use crate::report::{Append, Contender};

/// Rows of the raw limit's commits.
const BATCHES: [usize; 2] = [64, 512];

/// Bytes of a message in a request's stream.
const REQUEST_BYTES: usize = 500;

/// Events of a request's stream.
const EVENTS_PER_REQUEST: usize = 3;

/// Tasks that serve requests at a time.
const REQUEST_LANES: [usize; 3] = [1, 64, 256];

/// Appends by this store, the engine itself and a naive store, at each number of appenders.
pub(crate) async fn appends(bench: &Bench<'_>) -> anyhow::Result<Vec<Append>> {
    let store = ours::open(&bench.engine.store_url("appends")).await?;
    let mut results = Vec::new();
    for bytes in bench.effort.message_bytes {
        let messages = Messages::new(*bytes)?;
        let mut entrants = Vec::new();
        for lanes in bench.effort.appenders {
            let lanes = Appends::lanes(&store, &bytes.to_string(), *lanes, &messages)?;
            entrants.push(Entrant::new(Contender::Store, 1, *bytes, lanes));
        }
        if let Some(raw) = bench.engine.raw() {
            for rows in BATCHES {
                entrants.push(best_raw(bench, raw, rows, &messages, *bytes).await?);
            }
            for connections in raw.naive_connections() {
                let lanes = raw_lanes(raw, *connections, 1, &messages).await?;
                entrants.push(Entrant::new(Contender::Naive, 1, *bytes, lanes));
            }
        }
        let (rounds, round) = (bench.effort.rounds, bench.effort.round);
        let steps = entrants.len() * (rounds + 1);
        let progress = bench.progress(&format!("appends of {bytes} B"), steps);
        results.extend(alternate(entrants, rounds, round, &progress).await?);
    }
    store.maintenance().close().await?;
    bench.engine.clean().await?;
    Ok(results)
}

async fn raw_lanes(
    raw: &dyn Raw,
    connections: usize,
    rows: usize,
    messages: &Messages,
) -> anyhow::Result<Vec<Box<dyn Lane>>> {
    let mut lanes = Vec::new();
    for _ in 0..connections {
        lanes.push(raw.lane(rows, messages.clone()).await?);
    }
    Ok(lanes)
}

/// The raw limit at the number of connections that a first round finds best.
async fn best_raw(
    bench: &Bench<'_>,
    raw: &dyn Raw,
    rows: usize,
    messages: &Messages,
    bytes: usize,
) -> anyhow::Result<Entrant> {
    let mut best: Option<(f64, Entrant)> = None;
    for connections in raw.connections() {
        let lanes = raw_lanes(raw, *connections, rows, messages).await?;
        let mut entrant = Entrant::new(Contender::Raw, rows, bytes, lanes);
        if raw.connections().len() == 1 {
            return Ok(entrant);
        }
        let rate = entrant.run(bench.effort.round).await?.rate;
        if best.as_ref().is_none_or(|(best, _)| rate > *best) {
            best = Some((rate, entrant));
        }
    }
    best.map(|(_, entrant)| entrant).ok_or_else(|| anyhow::anyhow!("no connections to try"))
}

/// The real shape: one stream a request, with a priming event, a progress notification and a
/// response.
pub(crate) async fn requests(bench: &Bench<'_>) -> anyhow::Result<Vec<Append>> {
    let store = ours::open(&bench.engine.store_url("requests")).await?;
    let messages = Messages::new(REQUEST_BYTES)?;
    let mut entrants = Vec::new();
    for lanes in REQUEST_LANES {
        let lanes = Requests::lanes(&store, "requests", lanes, &messages);
        entrants.push(Entrant::new(Contender::Store, 1, REQUEST_BYTES, lanes));
    }
    if let Some(raw) = bench.engine.raw() {
        let rows = BATCHES[0] * EVENTS_PER_REQUEST;
        let mut limit = best_raw(bench, raw, rows, &messages, REQUEST_BYTES).await?;
        limit.lanes = limit.lanes.drain(..).map(AsRequests::lane).collect();
        limit.rows = BATCHES[0];
        entrants.push(limit);
        for connections in raw.naive_connections() {
            let lanes = raw_lanes(raw, *connections, 1, &messages).await?;
            let lanes = lanes.into_iter().map(AsRequests::lane).collect();
            entrants.push(Entrant::new(Contender::Naive, 1, REQUEST_BYTES, lanes));
        }
    }
    let (rounds, round) = (bench.effort.rounds, bench.effort.round);
    let progress = bench.progress("one stream a request", entrants.len() * (rounds + 1));
    let results = alternate(entrants, rounds, round, &progress).await?;
    store.maintenance().close().await?;
    bench.engine.clean().await?;
    Ok(results)
}

/// Counts the rows of another lane as requests: three events each.
struct AsRequests(Box<dyn Lane>);

impl AsRequests {
    fn lane(lane: Box<dyn Lane>) -> Box<dyn Lane> {
        Box::new(Self(lane))
    }
}

#[async_trait]
impl Lane for AsRequests {
    async fn commit(&mut self) -> anyhow::Result<usize> {
        let mut rows = 0;
        while rows < EVENTS_PER_REQUEST {
            rows += self.0.commit().await?;
        }
        Ok(rows / EVENTS_PER_REQUEST)
    }
}
