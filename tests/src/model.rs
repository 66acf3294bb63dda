//! The model test: random scripts, played on a store and on a tiny reference at once.
//!
//! Whatever differs is shrunk to a script of a few steps, which is printed. Each script has a seed
//! of its own; `MCP_EVENT_STORE_TEST_MODEL_SEED` plays that one again, and
//! `MCP_EVENT_STORE_TEST_MODEL_CASES` says how many are played.
//!
//! The reference allows what the contract leaves open and no more. That is: what a follow that
//! must end still gives before it does; which of several take-overs that wait for an absent stream
//! on different instances stays; which of two reasons a refused follow is told; the order in which
//! tombstones of one moment make room; and, if the harness says so, which streams make room (T6).

mod append;
mod choice;
mod draw;
mod fixed;
mod next;
mod play;
mod read;
mod reader;
mod reference;
mod script;
mod shrink;
mod stream;
mod sweep;
mod upkeep;

use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use self::script::Script;
use self::shrink::Failing;
use crate::context::Ctx;
use crate::failure::{FailureKind, Mismatch, Outcome};
use crate::proofs::{number, time_for};
use crate::tools::random;

const CASES: &str = "MCP_EVENT_STORE_TEST_MODEL_CASES";
const SEED: &str = "MCP_EVENT_STORE_TEST_MODEL_SEED";
const DEFAULT_CASES: u64 = 150;

/// How long one script may take, on a slow disk.
const EACH: Duration = Duration::from_secs(3);

/// How long a failed script is shrunk.
const SHRINK_FOR: Duration = Duration::from_secs(60);

/// How long an operation may take while a script is shrunk, so that one which hangs can be.
const SHRINKING: Duration = Duration::from_secs(1);

fn cases() -> u64 {
    if std::env::var_os(SEED).is_some() { 1 } else { number(CASES, DEFAULT_CASES) }
}

pub(crate) fn deadline(of_a_check: Duration) -> Duration {
    time_for(cases(), EACH, of_a_check) + 2 * SHRINK_FOR
}

/// Plays every script that once failed, and some that show what is meant.
pub(crate) async fn model_fixed_scripts_go_as_the_contract_says(ctx: &Ctx) -> Outcome {
    for (name, script) in fixed::scripts() {
        let (outcome, scope) = played(ctx, &script, Run::Kept).await?;
        outcome
            .map_err(|mismatch| told(mismatch, &format!("the script {name:?}"), &script, &scope))?;
    }
    Ok(())
}

/// Plays random scripts until one fails, and shrinks that.
pub(crate) async fn model_random_scripts_go_as_the_contract_says(ctx: &Ctx) -> Outcome {
    // What proptest draws from cannot be sent to another thread: nothing awaits while there is one.
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        let first = number(SEED, random(u64::from(u32::MAX)));
        let start = Instant::now();
        let mut steps = 0;
        for seed in (first..).take(usize::try_from(cases()).unwrap_or(usize::MAX)) {
            steps += one_case(seed, &|script, run| runtime.block_on(played(ctx, script, run)))?;
        }
        println!("model: {} scripts, {steps} steps, {:?}", cases(), start.elapsed());
        Ok(())
    })
}

/// What became of a script, and the scope that was kept if it failed.
type Played = Outcome<(Outcome, String)>;

/// Why a script is played.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    First,
    Shrinking,
    /// If it fails its scope stays.
    Kept,
}

/// Plays `script` on a scope of its own.
async fn played(ctx: &Ctx, script: &Script, run: Run) -> Played {
    let mut scope = ctx.elsewhere().await?;
    if run == Run::Shrinking {
        scope = scope.with_patience(SHRINKING);
    }
    let address = scope.address();
    let outcome = play::play(&scope, script).await;
    if run == Run::Kept || outcome.is_ok() {
        return Ok((scope.finish(outcome).await, address));
    }
    scope.finish(Ok(())).await?;
    Ok((outcome, address))
}

/// Plays the script of `seed`; how many steps it has.
fn one_case(seed: u64, play: &dyn Fn(&Script, Run) -> Played) -> Outcome<usize> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let tree = draw::script().new_tree(&mut runner);
    let tree = tree.map_err(|reason| Mismatch::harness("a random script", reason))?;
    let script = tree.current();
    let steps = script.steps.len();
    let (Err(mismatch), _) = play(&script, Run::First)? else { return Ok(steps) };
    let shrinking = |script: &Script| Ok(play(script, Run::Shrinking)?.0);
    let failing = Failing { script, mismatch };
    let Failing { script, mismatch } = failing.shrink(Instant::now() + SHRINK_FOR, &shrinking)?;
    // Once more, for a scope to look into.
    let (again, scope) = play(&script, Run::Kept)?;
    let mismatch = again.err().unwrap_or(mismatch);
    Err(told(mismatch, &format!("{SEED}={seed}"), &script, &scope))
}

/// Prints the script that failed, and says where to find it.
fn told(mismatch: Mismatch, name: &str, script: &Script, scope: &str) -> Mismatch {
    println!("{name} fails; shrunk, and kept in {scope}:\n{script}");
    // A panic of the store is one of the play, which the runner tells by itself.
    let kind = match mismatch.kind {
        FailureKind::Harness => FailureKind::Harness,
        _ => FailureKind::RuleBroken,
    };
    let steps = script.steps.len();
    Mismatch { kind, ..mismatch.within(format!("{name}, {steps} steps as printed above")) }
}
