//! The history tests: several instances on one scope, with appenders, readers, sweeps and a
//! deleter on all of them at once. Everyone takes down what it did and saw, and a checker, which
//! is pure code with tests of its own, says whether all of it can be pieces of one order.
//!
//! `MCP_EVENT_STORE_TEST_HISTORY_APPENDS` says how many events each appender appends.

mod check;
mod ends;
mod order;
mod readers;
mod record;
mod run;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use self::check::check;
use self::run::{Extent, meant_something, run};
use crate::context::Ctx;
use crate::failure::{Mismatch, Outcome};
use crate::proofs::{number, time_for};

const APPENDS: &str = "MCP_EVENT_STORE_TEST_HISTORY_APPENDS";
const DEFAULT_APPENDS: u64 = 150;

/// How long an append may take.
const EACH: Duration = Duration::from_millis(100);

/// How long things may go on at least.
const AT_LEAST: Duration = Duration::from_secs(20);

pub(crate) fn deadline(of_a_check: Duration) -> Duration {
    time_for(number(APPENDS, DEFAULT_APPENDS), 2 * EACH, of_a_check)
}

pub(crate) async fn history_of_two_instances_is_one_order(ctx: &Ctx) -> Outcome {
    history_of(ctx, 2).await
}

pub(crate) async fn history_of_three_instances_is_one_order(ctx: &Ctx) -> Outcome {
    history_of(ctx, 3).await
}

async fn history_of(ctx: &Ctx, instances: usize) -> Outcome {
    let start = Instant::now();
    let appends = number(APPENDS, DEFAULT_APPENDS);
    let extent = Extent { appends, at_most: time_for(appends, EACH, AT_LEAST) };
    let history = run(ctx, instances, extent).await?;
    let figures = check(&history);
    let figures =
        figures.map_err(|wrong| Mismatch::new("a history of one order for each stream", wrong))?;
    println!("history: {instances} instances: {figures:?}, {:?}", start.elapsed());
    meant_something(&figures)
}
