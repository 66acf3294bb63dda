//! Sweeping, and what it does to appends.

use std::time::{Duration, Instant};

use anyhow::ensure;
use mcp_event_store::Store;

use super::Bench;
use super::size::commit_all;
use crate::messages::Messages;
use crate::ours::{self, Appends, Requests};
use crate::race::{Entrant, Round};
use crate::report::{Contender, Sweep};
use crate::stats::{Spread, float};

const MESSAGE_BYTES: usize = 500;
const LANES: usize = 64;
const EVENTS_PER_REQUEST: u64 = 3;

/// A little longer than a complete stream is kept.
const UNTIL_EXPIRED: Duration = Duration::from_millis(1100);

/// Rounds of: store requests, let them expire, append alone, append during a sweep.
pub(crate) async fn sweep(bench: &Bench<'_>) -> anyhow::Result<Sweep> {
    let progress = bench.progress("sweeping", bench.effort.rounds + 1);
    let store = ours::open_forgetful(&bench.engine.store_url("sweep")).await?;
    let messages = Messages::new(MESSAGE_BYTES)?;
    let lanes = Appends::lanes(&store, "beside", LANES, &messages)?;
    let mut appends = Entrant::new(Contender::Store, 1, MESSAGE_BYTES, lanes);
    let (mut rates, mut quiet, mut sweeping) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=bench.effort.rounds {
        let requests = Requests::lanes(&store, &format!("swept-{round}"), LANES, &messages);
        let each = bench.effort.swept_requests.div_ceil(LANES as u64);
        commit_all(requests, each).await?;
        tokio::time::sleep(UNTIL_EXPIRED).await;
        let alone = appends.run(bench.effort.round).await?;
        let (rate, beside) = during_sweep(&store, &mut appends, each * LANES as u64).await?;
        if round > 0 {
            rates.push(rate);
            quiet.push(alone);
            sweeping.push(beside);
        }
        progress.step();
    }
    store.maintenance().close().await?;
    bench.engine.clean().await?;
    let p99 = |rounds: &[Round]| Spread::of(rounds.iter().map(|round| round.times.micros(0.99)));
    let rate = |rounds: &[Round]| Spread::of(rounds.iter().map(|round| round.rate));
    Ok(Sweep {
        lanes: LANES,
        rate: Spread::of(rates),
        quiet_rate: rate(&quiet),
        sweeping_rate: rate(&sweeping),
        quiet_p99_us: p99(&quiet),
        sweeping_p99_us: p99(&sweeping),
    })
}

/// Sweeps until `requests` are gone, with `appends` beside it. Answers the events that went a
/// second, and what the appends did.
async fn during_sweep(
    store: &Store,
    appends: &mut Entrant,
    requests: u64,
) -> anyhow::Result<(f64, Round)> {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let maintenance = store.maintenance();
    let sweep = tokio::spawn(async move {
        let (started, mut expired) = (Instant::now(), 0);
        loop {
            let swept = maintenance.sweep().await?;
            expired += swept.expired_streams;
            if swept.expired_streams == 0 && swept.freed_events == 0 {
                break;
            }
        }
        let elapsed = started.elapsed();
        // Nobody listens if the appends have failed.
        let _ = stop.send(true);
        anyhow::Ok((expired, elapsed))
    });
    let beside = appends.run_until(move || *stopped.borrow()).await?;
    let (expired, elapsed) = sweep.await??;
    ensure!(expired == requests, "{expired} streams were swept and not {requests}");
    Ok((float(requests * EVENTS_PER_REQUEST) / elapsed.as_secs_f64(), beside))
}
