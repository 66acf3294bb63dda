//! Appends to long streams, and one stream a request.

use anyhow::ensure;
use async_trait::async_trait;
use futures_util::future::try_join_all;
use mcp_event_store::{NewEvent, Store};
use tokio::task::JoinSet;

use super::Bench;
use crate::engines::{Connection, Raw, StreamKey, stream_key};
use crate::group_commit;
use crate::messages::Messages;
use crate::ours::{self, Appends, Requests};
use crate::race::{Batches, Entrant, Lane, alternate};
use crate::report::{Append, Contender};

/// The store that is appended to.
const APPENDS: &str = "appends";

/// Rows of the raw limit's commits.
const BATCHES: [usize; 2] = [64, 512];

/// Who joins callers into commits as the store does, and keeps less.
const JOINED: [Contender; 2] = [Contender::GroupCommit, Contender::Keeper];

/// From so many callers on these are measured, and for a lone one: some fill no commit of the raw limit.
const JOINED_FROM: usize = BATCHES[0];

/// Bytes of a message in a request's stream.
const REQUEST_BYTES: usize = 500;

/// Events of a request's stream.
const EVENTS_PER_REQUEST: usize = 3;

/// Tasks that serve requests at a time.
const REQUEST_LANES: [usize; 3] = [1, 64, 256];

/// Appends by this store, the engine itself, bare group commits and a naive store, at each number of
/// appenders.
pub(crate) async fn appends(bench: &Bench<'_>) -> anyhow::Result<Vec<Append>> {
    let store = ours::open(&bench.engine.store_url(APPENDS)).await?;
    let mut results = Vec::new();
    for bytes in bench.effort.message_bytes {
        let messages = Messages::new(*bytes)?;
        let (mut entrants, mut workers) = (Vec::new(), JoinSet::new());
        for lanes in bench.effort.appenders {
            let lanes = Appends::lanes(&store, &bytes.to_string(), *lanes, &messages)?;
            entrants.push(Entrant::new(Contender::Store, 1, *bytes, lanes));
        }
        if let Some(raw) = bench.engine.raw() {
            for rows in BATCHES {
                entrants.push(best_raw(bench, raw, rows, &messages, *bytes).await?);
            }
            let callers = || bench.effort.appenders.iter().copied();
            for who in JOINED {
                let workers = &mut workers;
                let joined = group_commits(bench, raw, who, callers(), &messages, *bytes, workers);
                entrants.extend(joined.await?);
            }
            for connections in raw.naive_connections() {
                let lanes = raw_lanes(raw, *connections, 1, &messages).await?;
                entrants.push(Entrant::new(Contender::Naive, 1, *bytes, lanes));
            }
            entrants.extend(own_rows(bench, raw, &store, &messages, *bytes, &mut workers).await?);
        }
        let (rounds, round) = (bench.effort.rounds, bench.effort.round);
        let steps = entrants.len() * (rounds + 1);
        let progress = bench.progress(&format!("appends of {bytes} B"), steps);
        results.extend(alternate(entrants, rounds, round, &progress).await?);
        workers.join_all().await;
    }
    store.maintenance().close().await?;
    bench.engine.clean().await?;
    Ok(results)
}

async fn connect(
    raw: &dyn Raw,
    connections: usize,
    messages: &Messages,
) -> anyhow::Result<Vec<Box<dyn Connection>>> {
    let mut connected = Vec::new();
    for _ in 0..connections {
        connected.push(raw.connection(messages.clone()).await?);
    }
    Ok(connected)
}

async fn raw_lanes(
    raw: &dyn Raw,
    connections: usize,
    rows: usize,
    messages: &Messages,
) -> anyhow::Result<Vec<Box<dyn Lane>>> {
    let connections = connect(raw, connections, messages).await?.into_iter();
    let lane = |connection| -> Box<dyn Lane> { Box::new(Batches { connection, rows }) };
    Ok(connections.map(lane).collect())
}

/// The raw limit at the number of connections that a first round finds best.
async fn best_raw(
    bench: &Bench<'_>,
    raw: &dyn Raw,
    rows: usize,
    messages: &Messages,
    bytes: usize,
) -> anyhow::Result<Entrant> {
    let mut candidates = Vec::new();
    for connections in raw.connections() {
        let lanes = raw_lanes(raw, *connections, rows, messages).await?;
        candidates.push(Entrant::new(Contender::Raw, rows, bytes, lanes));
    }
    best(bench, candidates).await
}

/// Bare group commits, each at its best number of connections, for one caller and for each number
/// that is large enough.
async fn group_commits(
    bench: &Bench<'_>,
    raw: &dyn Raw,
    contender: Contender,
    callers: impl Iterator<Item = usize>,
    messages: &Messages,
    bytes: usize,
    workers: &mut JoinSet<()>,
) -> anyhow::Result<Vec<Entrant>> {
    let mut entrants = Vec::new();
    for callers in callers.filter(|callers| *callers == 1 || *callers >= JOINED_FROM) {
        let mut candidates = Vec::new();
        // What is for one caller has one connection.
        for count in raw.connections().iter().filter(|count| **count <= callers) {
            let connections = match contender {
                // Callers are dealt out among the connections, and have a stream each.
                Contender::Keeper => {
                    let streams = u64::try_from(callers.div_ceil(*count))?;
                    let mut keepers = Vec::new();
                    for _ in 0..*count {
                        keepers.push(raw.keeper(messages.clone(), streams).await?);
                    }
                    keepers
                }
                _ => connect(raw, *count, messages).await?,
            };
            let lanes = group_commit::callers(connections, callers, workers);
            candidates.push(Entrant::new(contender, 1, bytes, lanes));
        }
        entrants.push(best(bench, candidates).await?);
    }
    Ok(entrants)
}

/// The engine's own driver at the store's own tables, where that is measured: by itself, and where
/// it decides, for as many callers as are joined, too.
async fn own_rows(
    bench: &Bench<'_>,
    raw: &dyn Raw,
    store: &Store,
    messages: &Messages,
    bytes: usize,
    workers: &mut JoinSet<()>,
) -> anyhow::Result<Vec<Entrant>> {
    let keys = begin(store, &format!("own-{bytes}"), 2).await?;
    let Some(writer) = raw.writer(APPENDS, keys[0], messages.clone()).await? else {
        return Ok(Vec::new());
    };
    let lone = |who, connection| {
        let lane = Box::new(Batches { connection, rows: 1 });
        Entrant::new(who, 1, bytes, vec![lane])
    };
    let mut entrants = vec![lone(Contender::Writer, writer)];
    let Some(decider) = raw.decider(APPENDS, &keys[1..], messages.clone()).await? else {
        return Ok(entrants);
    };
    entrants.push(lone(Contender::Decider, decider));
    for callers in bench.effort.appenders.iter().filter(|callers| **callers >= JOINED_FROM) {
        let keys = begin(store, &format!("own-{bytes}-{callers}"), *callers).await?;
        let mut candidates = Vec::new();
        for count in raw.connections() {
            let mut connections = Vec::new();
            for place in 0..*count {
                // As callers are dealt out.
                let keys: Vec<_> = keys.iter().skip(place).step_by(*count).copied().collect();
                connections.extend(raw.decider(APPENDS, &keys, messages.clone()).await?);
            }
            let lanes = group_commit::callers(connections, *callers, workers);
            candidates.push(Entrant::new(Contender::Decider, 1, bytes, lanes));
        }
        entrants.push(best(bench, candidates).await?);
    }
    Ok(entrants)
}

/// Begins streams of sessions of their own, and answers their keys.
async fn begin(store: &Store, name: &str, streams: usize) -> anyhow::Result<Vec<StreamKey>> {
    let begin = async |n| {
        let stream = ours::stream(&format!("session-{name}-{n}"), "request/1")?;
        stream_key(&store.events().store_event(&stream, NewEvent::priming(None)).await?)
    };
    try_join_all((0..streams).map(begin)).await
}

/// The candidate that a first round finds fastest; a single one needs none.
async fn best(bench: &Bench<'_>, mut candidates: Vec<Entrant>) -> anyhow::Result<Entrant> {
    ensure!(!candidates.is_empty(), "no connections to try");
    let (mut best, mut best_rate) = (0, 0.0);
    if candidates.len() > 1 {
        for (place, candidate) in candidates.iter_mut().enumerate() {
            let rate = candidate.run(bench.effort.round).await?.rate;
            if rate > best_rate {
                (best, best_rate) = (place, rate);
            }
        }
    }
    Ok(candidates.swap_remove(best))
}

/// The real shape: one stream a request, with a priming event, a progress notification and a
/// response.
pub(crate) async fn requests(bench: &Bench<'_>) -> anyhow::Result<Vec<Append>> {
    let store = ours::open(&bench.engine.store_url("requests")).await?;
    let messages = Messages::new(REQUEST_BYTES)?;
    let (mut entrants, mut workers) = (Vec::new(), JoinSet::new());
    for lanes in REQUEST_LANES {
        let lanes = Requests::lanes(&store, "requests", lanes, &messages);
        entrants.push(Entrant::new(Contender::Store, 1, REQUEST_BYTES, lanes));
    }
    if let Some(raw) = bench.engine.raw() {
        let rows = BATCHES[0] * EVENTS_PER_REQUEST;
        let mut limit = best_raw(bench, raw, rows, &messages, REQUEST_BYTES).await?;
        limit.rows = BATCHES[0];
        entrants.push(as_requests(limit));
        let (callers, bytes) = (REQUEST_LANES.into_iter(), REQUEST_BYTES);
        let (who, workers) = (Contender::GroupCommit, &mut workers);
        let joined = group_commits(bench, raw, who, callers, &messages, bytes, workers).await?;
        entrants.extend(joined.into_iter().map(as_requests));
        for connections in raw.naive_connections() {
            let lanes = raw_lanes(raw, *connections, 1, &messages).await?;
            let naive = Entrant::new(Contender::Naive, 1, REQUEST_BYTES, lanes);
            entrants.push(as_requests(naive));
        }
    }
    let (rounds, round) = (bench.effort.rounds, bench.effort.round);
    let progress = bench.progress("one stream a request", entrants.len() * (rounds + 1));
    let results = alternate(entrants, rounds, round, &progress).await?;
    workers.join_all().await;
    store.maintenance().close().await?;
    bench.engine.clean().await?;
    Ok(results)
}

/// Counts the rows of another lane as requests: three events each.
struct AsRequests(Box<dyn Lane>);

fn as_requests(mut entrant: Entrant) -> Entrant {
    let lanes = entrant.lanes.into_iter();
    entrant.lanes = lanes.map(|lane| -> Box<dyn Lane> { Box::new(AsRequests(lane)) }).collect();
    entrant
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
