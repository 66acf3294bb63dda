//! Runs one check: its scope, its runtime, its deadline, and the role it plays in a child process.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;

use crate::context::Ctx;
use crate::failure::{Failure, FailureKind, Mismatch, Outcome};
use crate::harness::Harness;
use crate::need::Need;
use crate::process::{self, Role};
use crate::registry::{self, Check};

/// Runs the check called `name` as the test at `path`, in the part that the environment gives it.
/// What `compliance_suite!` puts into each test.
///
/// # Panics
/// If the rule is not kept, or there is no such check.
pub fn run<H: Harness>(name: &str, path: &str, offers: &[Need]) {
    let check = registry::check(name).expect("a registered check");
    // The path of a test, as the test binary knows it, lacks the name of the crate.
    let path = path.split_once("::").map_or(path, |(_, path)| path);
    let play = |role| {
        if let Err(failure) = watched::<H>(check, offers, role, Some(path.to_owned())) {
            panic!("{failure}");
        }
    };
    match Role::of_this_process() {
        Role::Test if check.measures => process::run_alone(path, (check.deadline)(H::deadline())),
        role => play(role),
    }
}

/// Runs `measure` in a process that runs nothing but the test at `path`, from which this is
/// called, and one such process at a time. Time and memory are not worth measuring beside other
/// tests.
///
/// # Panics
/// If `measure` does.
pub fn in_own_process(path: &str, deadline: Duration, measure: impl FnOnce()) {
    match Role::of_this_process() {
        Role::Test => process::run_alone(path, deadline),
        Role::Alone | Role::Child(_) => measure(),
    }
}

/// Runs `check` in this process, on a scope of its own.
///
/// # Errors
/// What the rule promises and the store does not keep.
pub fn run_check<H: Harness>(check: &'static Check, offers: &[Need]) -> Result<(), Failure> {
    watched::<H>(check, offers, Role::Alone, None)
}

/// Plays the check on a thread of its own, so that a store which blocks every thread of the
/// runtime cannot keep the test from ending.
fn watched<H: Harness>(
    check: &'static Check,
    offers: &[Need],
    role: Role,
    path: Option<String>,
) -> Result<(), Failure> {
    let (tell, told) = sync_channel(1);
    let offers = offers.to_vec();
    let player = move || {
        let _ = tell.send(play::<H>(check, offers, role, path));
    };
    thread::Builder::new().name(check.name.to_owned()).spawn(player).expect("a thread");
    let deadline = (check.deadline)(H::deadline());
    match told.recv_timeout(deadline) {
        Ok(result) => result,
        Err(error) => {
            let came = match error {
                RecvTimeoutError::Timeout => "nothing",
                RecvTimeoutError::Disconnected => "the end of its thread",
            };
            let expected = format!("the end of the check within {deadline:?}");
            let late = Mismatch { kind: FailureKind::Deadline, ..Mismatch::new(expected, came) };
            Err(Failure::of(check, late, String::new()))
        }
    }
}

fn play<H: Harness>(
    check: &'static Check,
    offers: Vec<Need>,
    role: Role,
    path: Option<String>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let result = runtime.block_on(async {
        let ctx = Ctx::new::<H>(offers, role, path)
            .await
            .map_err(|mismatch| Failure::of(check, mismatch, String::new()))?;
        let outcome = missing_need(check, &ctx).and(played(check, &ctx).await);
        let address = ctx.address();
        let outcome = ctx.finish(outcome).await;
        outcome.map_err(|mismatch| Failure::of(check, mismatch, address))
    });
    runtime.shutdown_background();
    result
}

/// An ignored test can be run all the same; it then says why it was ignored.
fn missing_need(check: &Check, ctx: &Ctx) -> Outcome {
    match check.needs.iter().find(|need| !ctx.offers(**need)) {
        Some(need) => Err(Mismatch::harness(format!("a harness that offers `{need}`"), "none")),
        None => Ok(()),
    }
}

async fn played(check: &'static Check, ctx: &Ctx) -> Outcome {
    if missing_need(check, ctx).is_err() {
        return Ok(());
    }
    match AssertUnwindSafe((check.run)(ctx)).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => {
            let came = Mismatch::new("no panic", panic_text(panic.as_ref()));
            Err(Mismatch { kind: FailureKind::Panic, ..came })
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
