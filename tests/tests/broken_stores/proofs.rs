//! The proofs against stores that are broken on purpose: they find what no plan was made for.

use mcp_event_store_compliance::{FailureKind, Need, check, run, run_check};

use super::defect::{self, Broken, Defect};
use super::{OFFERS, append, connection, deletion, follow, forgetful, lease, replay, retention};

/// How many times a proof, which tries at random, is run until it finds a defect. Some defects show
/// in one script of a hundred.
const RUNS: usize = 20;

/// Asserts that `proof` fails for a store with the defect `D`.
fn is_caught<D: Defect>(proof: &str) {
    let proof = check(proof).unwrap();
    let found = (0..RUNS).find_map(|_| run_check::<Broken<D>>(proof, OFFERS).err());
    let failure = found.unwrap();
    println!("{failure}\n");
    assert_eq!(failure.kind, FailureKind::RuleBroken, "{failure}");
}

macro_rules! caught {
    ($proof:literal: $($test:ident: $defect:ty;)*) => {
        $(#[test]
        fn $test() {
            is_caught::<$defect>($proof);
        })*
    };
}

caught! {
    "model_random_scripts_go_as_the_contract_says":
    model_catches_a_store_that_ignores_case: append::IgnoresCase;
    model_catches_a_store_that_forgets_retry: append::ForgetsRetry;
    model_catches_a_store_that_appends_to_complete_streams: append::NeverComplete;
    model_catches_a_store_that_always_recovers: replay::AlwaysRecovers;
    model_catches_a_store_that_replays_a_part: replay::ReplaysAPart;
    model_catches_a_store_that_needs_the_anchor: replay::NeedsTheAnchor;
    model_catches_a_store_that_leaks_other_sessions: replay::LeaksSessions;
    model_catches_a_store_that_ends_quietly_when_deleted: follow::EndsQuietly;
    model_catches_a_store_that_takes_nothing_over: follow::TakesNothingOver;
    model_catches_a_store_that_grants_a_lease_twice: lease::GrantsTwice;
    model_catches_a_store_that_keeps_one_too_many: retention::KeepsOneTooMany;
    model_catches_a_store_that_ignores_completed_stream_ttl: retention::IgnoresCompletedTtl;
    model_catches_a_store_that_keeps_its_first_settings: retention::KeepsFirstSettings;
    model_catches_a_store_without_limits: retention::HasNoLimits;
    model_catches_a_store_without_totals: retention::IgnoresTotals;
    model_catches_a_store_that_miscounts: retention::Miscounts;
    model_catches_a_store_that_leaves_the_record: deletion::LeavesTheRecord;
    model_catches_a_store_that_leaves_events: deletion::LeavesEvents;
}

caught! {
    "history_of_two_instances_is_one_order":
    history_catches_a_store_that_loses_one_append: append::LosesOneAppend;
    history_catches_a_store_that_reorders: append::Reorders;
    history_catches_a_store_that_reads_past_a_commit: follow::ReadsPastACommit;
    history_catches_a_store_that_has_a_hole_at_the_junction: follow::HoleAtTheJunction;
    history_catches_a_store_that_repeats_at_the_junction: follow::RepeatsAtTheJunction;
    history_catches_a_store_that_takes_nothing_over: follow::TakesNothingOver;
    history_catches_a_store_that_skips_what_was_trimmed: replay::SkipsWhatWasTrimmed;
    history_catches_a_store_that_leaves_events: deletion::LeavesEvents;
    history_catches_a_store_that_keeps_one_too_many: retention::KeepsOneTooMany;
}

caught! {
    "crash_cut_commits_are_stored_once_or_not_claimed":
    crash_catches_a_store_that_retries_blindly: connection::RetriesBlindly;
    crash_catches_a_store_that_claims_success: connection::ClaimsSuccess;
}

#[test]
#[should_panic(expected = "crash is not kept")]
fn crash_catches_a_store_that_forgets_what_it_acknowledged() {
    let proof = "crash_a_killed_process_loses_nothing_it_acknowledged";
    let test = concat!(module_path!(), "::crash_catches_a_store_that_forgets_what_it_acknowledged");
    run::<forgetful::Forgetful>(proof, test, &[Need::Kill]);
}

#[test]
fn a_store_that_is_not_broken_passes_every_proof() {
    let runs = |needs: &[Need]| needs.iter().all(|need| OFFERS.contains(need));
    for proof in mcp_event_store_compliance::PROOFS.iter().filter(|proof| runs(proof.needs)) {
        run_check::<Broken<defect::None>>(proof, OFFERS).unwrap();
    }
}
