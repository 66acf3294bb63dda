//! The crash tests: a process, a server or a connection dies again and again while many append,
//! and what each caller had heard is compared with what is stored.
//!
//! What was acknowledged must be there, whole, in each writer's order, once. What nobody heard of
//! may be there once. Sequences have no hole, and IDs keep their meaning over all rounds.
//! `MCP_EVENT_STORE_TEST_CRASH_ROUNDS` says how many rounds there are.

pub(crate) mod child;
mod follow;
pub(crate) mod kill;
pub(crate) mod ledger;
mod outage;
pub(crate) mod patience;

use std::time::{Duration, Instant};

use self::kill::kill_children;
use self::ledger::Figures;
use self::outage::{Outage, outages};
use crate::context::Ctx;
use crate::failure::{Outcome, ensure};
use crate::proofs::{number, time_for};

const ROUNDS: &str = "MCP_EVENT_STORE_TEST_CRASH_ROUNDS";

/// Rounds with a process that is killed.
const KILLS: u64 = 50;

/// Rounds with a server that is killed.
const SERVER_KILLS: u64 = 50;

/// Rounds with a cut.
const CUTS: u64 = 100;

/// Rounds that share a scope; then comes a fresh one.
const ROUNDS_A_SCOPE: u64 = 10;

/// How long a round may take.
const EACH: Duration = Duration::from_secs(10);

pub(crate) fn deadline(of_a_check: Duration) -> Duration {
    time_for(number(ROUNDS, CUTS), EACH, of_a_check)
}

pub(crate) async fn crash_a_killed_process_loses_nothing_it_acknowledged(ctx: &Ctx) -> Outcome {
    if ctx.is_child() {
        return child::append_until_killed(ctx).await;
    }
    let (rounds, start) = (number(ROUNDS, KILLS), Instant::now());
    let mut figures = Figures::default();
    let mut done = 0;
    while done < rounds {
        let batch = ROUNDS_A_SCOPE.min(rounds - done);
        let scope = ctx.elsewhere().await?;
        let killed = kill_children(&scope, batch).await;
        let address = scope.address();
        let (outcome, of_batch) = match killed {
            Ok(figures) => (Ok(()), figures),
            Err(mismatch) => {
                (Err(mismatch.within(format!("kept in {address}"))), Figures::default())
            }
        };
        scope.finish(outcome).await?;
        figures += of_batch;
        done += batch;
        println!("crash: {done} of {rounds} kills, {:?}", start.elapsed());
    }
    meant_something("kills of a process", rounds, &figures, start)
}

pub(crate) async fn crash_a_killed_server_loses_nothing_it_acknowledged(ctx: &Ctx) -> Outcome {
    let (rounds, start) = (number(ROUNDS, SERVER_KILLS), Instant::now());
    let figures = outages(ctx, Outage::ServerKilled, rounds).await?;
    meant_something("kills of the server", rounds, &figures, start)
}

pub(crate) async fn crash_cut_commits_are_stored_once_or_not_claimed(ctx: &Ctx) -> Outcome {
    let (rounds, start) = (number(ROUNDS, CUTS), Instant::now());
    let figures = outages(ctx, Outage::Cut, rounds).await?;
    meant_something("cuts", rounds, &figures, start)
}

/// Prints the figures, and fails unless enough was acknowledged to be looked for.
fn meant_something(what: &str, rounds: u64, figures: &Figures, start: Instant) -> Outcome {
    println!("crash: {rounds} {what}: {figures:?}, {:?}", start.elapsed());
    let enough = figures.acknowledged as u64 >= 3 * rounds;
    ensure(enough, "three acknowledged events a round", format!("{figures:?}"))
}
