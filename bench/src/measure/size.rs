//! What an event takes up.

use anyhow::ensure;

use super::Bench;
use crate::messages::Messages;
use crate::ours;
use crate::race::{Batches, Lane};
use crate::report::{Contender, Size};
use crate::stats::float;

const MESSAGE_BYTES: usize = 500;
const LANES: u64 = 64;
/// Events of a request's stream.
const EVENTS_PER_REQUEST: u64 = 3;

/// Stored bytes for an event: of long streams, of requests, and of the engine's own rows.
pub(crate) async fn sizes(bench: &Bench<'_>) -> anyhow::Result<Vec<Size>> {
    let progress = bench.progress("stored bytes", 3);
    let messages = Messages::new(MESSAGE_BYTES)?;
    let per_lane = bench.effort.sized_events / LANES;
    let mut sizes = Vec::new();
    for (name, events_per_stream) in [("long", per_lane), ("requests", EVENTS_PER_REQUEST)] {
        let before = bench.engine.stored_bytes().await?;
        let store = ours::open(&bench.engine.store_url(name)).await?;
        let lanes = usize::try_from(LANES)?;
        let (lanes, commits) = if name == "long" {
            (ours::Appends::lanes(&store, name, lanes, &messages)?, per_lane)
        } else {
            let lanes = ours::Requests::lanes(&store, name, lanes, &messages);
            (lanes, per_lane / EVENTS_PER_REQUEST)
        };
        commit_all(lanes, commits).await?;
        let events = store.maintenance().usage().await?.events;
        ensure!(events > 0, "nothing was stored");
        store.maintenance().close().await?;
        // Opening it again moves what RocksDB has in its log to where it stays.
        ours::open(&bench.engine.store_url(name)).await?.maintenance().close().await?;
        let grown = bench.engine.stored_bytes().await?.saturating_sub(before);
        sizes.push(Size {
            contender: Contender::Store,
            events_per_stream,
            message_bytes: MESSAGE_BYTES,
            bytes_per_event: float(grown) / float(events),
        });
        progress.step();
    }
    if let Some(raw) = bench.engine.raw() {
        let before = bench.engine.stored_bytes().await?;
        let lane = Batches { connection: raw.connection(messages).await?, rows: 64 };
        commit_all(vec![Box::new(lane)], bench.effort.sized_events.div_ceil(64)).await?;
        let events = bench.effort.sized_events.div_ceil(64) * 64;
        let grown = bench.engine.stored_bytes().await?.saturating_sub(before);
        sizes.push(Size {
            contender: Contender::Raw,
            events_per_stream: events / 64,
            message_bytes: MESSAGE_BYTES,
            bytes_per_event: float(grown) / float(events),
        });
        progress.step();
    }
    bench.engine.clean().await?;
    Ok(sizes)
}

/// Lets each lane commit `commits` times.
pub(crate) async fn commit_all(lanes: Vec<Box<dyn Lane>>, commits: u64) -> anyhow::Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for mut lane in lanes {
        tasks.spawn(async move {
            for _ in 0..commits {
                lane.commit().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}
