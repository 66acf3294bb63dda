//! The suite against stores that are broken on purpose: each must fail the rule that it breaks.
//!
//! Each is a thin wrapper over the in-memory store with one defect. What is asserted is that at
//! least one check of the rule fails because of the rule, not because of the harness, a panic or
//! a deadline; a store that is not broken passes the same checks.

#![allow(clippy::unwrap_used)]

#[path = "../harness/mod.rs"]
mod harness;

mod append;
mod connection;
mod defect;
mod deletion;
mod follow;
mod forgetful;
mod lease;
mod proofs;
mod replay;
mod retention;

use mcp_event_store_compliance::{
    CHECKS, Check, Failure, FailureKind, Harness, Need, in_own_process, run, run_check,
};

use defect::{Broken, Defect};

/// What the in-memory store behind a link offers, broken or not.
const OFFERS: &[Need] = &[
    Need::Reopen,
    Need::SecondInstance,
    Need::Cut,
    Need::Sessions,
    Need::Maintenance,
    Need::Leases,
    Need::Retention,
    Need::Follow,
];

/// The checks of `rule` that can run here. Those that measure are [run alone](measured).
fn checks(rule: &str) -> Vec<&'static Check> {
    let runs =
        |check: &&Check| !check.measures && check.needs.iter().all(|need| OFFERS.contains(need));
    let checks: Vec<_> = CHECKS.iter().filter(|check| check.rule == rule).filter(runs).collect();
    assert!(!checks.is_empty(), "no check of {rule} can run here");
    checks
}

/// Runs the checks of `rule`, and gives the names of those that the store fails for that rule.
fn failed<H: Harness>(rule: &str) -> Vec<&'static str> {
    let mut failed = Vec::new();
    for check in checks(rule) {
        let Err(failure) = run_check::<H>(check, OFFERS) else { continue };
        breaks_the_rule(&failure, check);
        failed.push(check.name);
    }
    failed
}

/// Asserts that the check failed because of its rule, and says so.
fn breaks_the_rule(failure: &Failure, check: &Check) {
    assert_eq!(failure.kind, FailureKind::RuleBroken, "{failure}");
    let text = failure.to_string();
    assert!(text.contains(check.rule) && text.contains(check.sentence), "{text}");
    println!("{text}\n");
}

/// Asserts that a store with the defect `D` fails `rule`, and that without it the rule is kept.
fn is_caught<D: Defect>(rule: &str) {
    let failed = failed::<Broken<D>>(rule);
    assert!(!failed.is_empty(), "{} is not caught by {rule}", std::any::type_name::<D>());
    for name in failed {
        let check = mcp_event_store_compliance::check(name).unwrap();
        run_check::<Broken<defect::None>>(check, OFFERS).unwrap();
    }
}

/// One test for each defect: its name, its type, and the rule that it breaks.
macro_rules! broken_stores {
    ($($test:ident: $defect:ty, $rule:ident;)*) => {
        $(#[test]
        fn $test() {
            is_caught::<$defect>(stringify!($rule));
        })*

        /// The rules that some store breaks.
        const BROKEN: &[&str] = &[$(stringify!($rule)),*];
    };
}

broken_stores! {
    a2_catches_a_store_that_loses_one_append: append::LosesOneAppend, A2;
    a2_catches_a_store_that_reorders_what_comes_at_once: append::Reorders, A2;
    a3_catches_a_store_that_uses_an_id_again: append::ReusesIds, A3;
    a4_catches_a_store_that_counts_its_ids: append::CountsIds, A4;
    a4_catches_a_store_that_shows_the_stream_in_its_ids: append::ShowsTheStream, A4;
    a5_catches_a_store_that_tidies_messages_up: append::TidiesMessages, A5;
    a5_catches_a_store_that_forgets_retry: append::ForgetsRetry, A5;
    a6_catches_a_store_that_creates_the_stream_of_a_rejected_append: append::CreatesAnyway, A6;
    a7_catches_a_store_that_stores_a_cancelled_append_twice: append::StoresCancelledTwice, A7;
    a8_catches_a_store_that_ignores_case: append::IgnoresCase, A8;
    a8_catches_a_store_that_joins_names_with_a_separator: append::JoinsNames, A8;
    a9_catches_a_store_that_appends_to_complete_streams: append::NeverComplete, A9;
    a10_catches_a_store_that_retries_blindly: connection::RetriesBlindly, A10;
    a10_catches_a_store_that_claims_success: connection::ClaimsSuccess, A10;
    l1_catches_a_store_that_finds_deleted_events: replay::FindsDeleted, L1;
    l1_catches_a_store_that_finds_expired_events: replay::FindsExpired, L1;
    l2_catches_a_store_that_fails_on_odd_ids: replay::FailsOnOddIds, L2;
    p1_catches_a_store_that_repeats_the_anchor: replay::RepeatsTheAnchor, P1;
    p1_catches_a_store_that_skips_an_event_at_a_page: replay::SkipsAtThePage, P1;
    p2_catches_a_store_that_consumes_what_it_replays: replay::Consumes, P2;
    p3_catches_a_store_that_always_recovers: replay::AlwaysRecovers, P3;
    p4_catches_a_store_that_tells_errors_late: replay::TellsErrorsLate, P4;
    p5_catches_a_store_that_replays_a_part: replay::ReplaysAPart, P5;
    p6_catches_a_store_that_needs_the_anchor: replay::NeedsTheAnchor, P6;
    p7_catches_a_store_that_leaks_other_sessions: replay::LeaksSessions, P7;
    p7_catches_a_store_that_tells_foreign_ids_from_unknown_ones: replay::TellsForeignIds, P7;
    p9_catches_a_store_that_skips_what_was_trimmed: replay::SkipsWhatWasTrimmed, P9;
    p10_catches_a_store_that_trims_ids: replay::TrimsIds, P10;
    f1_catches_a_store_that_repeats_at_the_junction: follow::RepeatsAtTheJunction, F1;
    f1_catches_a_store_that_has_a_hole_at_the_junction: follow::HoleAtTheJunction, F1;
    f1_catches_a_store_that_begins_where_it_should_go_back: follow::BeginsAtTheTail, F1;
    f3_catches_a_store_that_follows_complete_streams_for_ever: follow::NeverEnds, F3;
    f3_catches_a_store_that_leaves_tasks_running: follow::LeavesTasks, F3;
    f4_catches_a_store_that_waits_for_slow_followers: follow::WaitsForSlowOnes, F4;
    f5_catches_a_store_that_ends_quietly_when_deleted: follow::EndsQuietly, F5;
    f6_catches_a_store_that_falls_silent: connection::FallsSilent, F6;
    f6_catches_a_store_that_ends_a_cut_replay_well: connection::EndsWell, F6;
    f7_catches_a_store_that_takes_nothing_over: follow::TakesNothingOver, F7;
    o1_catches_a_store_that_renews_nothing: lease::RenewsNothing, O1;
    o2_catches_a_store_that_grants_a_lease_twice: lease::GrantsTwice, O2;
    o2_catches_a_store_that_creates_by_renewing: lease::CreatesByRenewing, O2;
    t1_catches_a_store_that_ignores_stream_ttl: retention::IgnoresStreamTtl, T1;
    t2_catches_a_store_that_ignores_event_ttl: retention::IgnoresEventTtl, T2;
    t2_catches_a_store_that_is_late: retention::IsLate, T2;
    t3_catches_a_store_that_keeps_one_too_many: retention::KeepsOneTooMany, T3;
    t4_catches_a_store_that_counts_no_overhead: retention::CountsNoOverhead, T4;
    t5_catches_a_store_that_ignores_completed_stream_ttl: retention::IgnoresCompletedTtl, T5;
    t6_catches_a_store_without_totals: retention::IgnoresTotals, T6;
    t6_catches_a_store_that_refuses_above_the_total: retention::RefusesAboveTheTotal, T6;
    t7_catches_a_store_that_miscounts: retention::Miscounts, T7;
    t8_catches_a_store_whose_sweeps_do_nothing: retention::SweepsNothing, T8;
    t9_catches_a_store_that_forgets_tombstones: retention::ForgetsTombstones, T9;
    t9_catches_a_store_that_never_forgets: retention::NeverForgets, T9;
    t10_catches_a_store_that_keeps_its_first_settings: retention::KeepsFirstSettings, T10;
    t11_catches_a_store_without_limits: retention::HasNoLimits, T11;
    d1_catches_a_store_that_leaves_events: deletion::LeavesEvents, D1;
    d2_catches_a_store_that_deletes_only_once: deletion::DeletesOnce, D2;
    d3_catches_a_store_that_deletes_by_prefix: deletion::DeletesByPrefix, D3;
    d4_catches_a_store_that_blocks_deleted_names: deletion::BlocksNames, D4;
    r1_catches_a_store_that_forgets_sequences: deletion::ForgetsSequences, R1;
    r2_catches_a_store_that_reads_past_a_commit: follow::ReadsPastACommit, R2;
    s1_catches_a_store_that_tidies_records_up: deletion::TidiesRecords, S1;
    s2_catches_a_store_whose_records_do_not_expire: retention::IgnoresSessionTtl, S2;
    s3_catches_a_store_that_leaves_the_record: deletion::LeavesTheRecord, S3;
    s4_catches_a_store_without_deletion_marks: deletion::LeavesNoMark, S4;
}

/// Runs a check that measures in the process of `test`, in which nothing else runs: memory that an
/// earlier store gave back would hide what this one takes.
fn measured<D: Defect>(test: &str, check: &str, judge: impl FnOnce(&Check, Result<(), Failure>)) {
    let check = mcp_event_store_compliance::check(check).unwrap();
    assert!(check.measures, "{} measures nothing", check.name);
    in_own_process(test, 2 * Broken::<D>::deadline(), || {
        judge(check, run_check::<Broken<D>>(check, OFFERS));
    });
}

/// Two tests for each check that measures: it fails a store with a defect, and passes one without.
macro_rules! measured_stores {
    ($($rule:ident, $check:ident: $test:ident: $defect:ty;)*) => {
        $(#[test]
        fn $test() {
            measured::<$defect>(stringify!($test), stringify!($check), |check, outcome| {
                breaks_the_rule(&outcome.expect_err("a store that is caught"), check);
            });
        })*

        mod not_broken {
            use super::{defect, measured};

            $(#[test]
            fn $check() {
                let test = concat!("not_broken::", stringify!($check));
                measured::<defect::None>(test, stringify!($check), |_, outcome| outcome.unwrap());
            })*
        }

        /// The rules that some store breaks in what is measured.
        const BROKEN_BY_MEASURE: &[&str] = &[$(stringify!($rule)),*];
    };
}

measured_stores! {
    L2, l2_the_cost_of_look_up_does_not_depend_on_what_is_stored:
        l2_catches_a_store_that_searches_everything: replay::SearchesEverything;
    P8, p8_an_open_replay_holds_a_page_and_not_the_stream:
        p8_catches_a_store_that_holds_whole_streams: replay::HoldsWholeStreams;
    F2, f2_events_of_another_instance_arrive_in_time:
        f2_catches_a_store_that_hears_only_itself: follow::HearsOnlyItself;
    F4, f4_slow_followers_use_bounded_memory:
        f4_catches_a_store_that_buffers_without_end: follow::BuffersWithoutEnd;
}

/// Rules whose checks kill another process, in which they run this very test.
const KILLED: [&str; 2] = ["A1", "R3"];

#[test]
#[should_panic(expected = "A1 is not kept")]
fn a1_catches_a_store_that_forgets_what_it_acknowledged() {
    let check = "a1_an_acknowledged_event_survives_kill_9";
    let test = concat!(module_path!(), "::a1_catches_a_store_that_forgets_what_it_acknowledged");
    run::<forgetful::Forgetful>(check, test, &[Need::Kill]);
}

#[test]
#[should_panic(expected = "R3 is not kept")]
fn r3_catches_a_store_that_forgets_what_it_acknowledged() {
    let check = "r3_random_kills_lose_and_tear_nothing";
    let test = concat!(module_path!(), "::r3_catches_a_store_that_forgets_what_it_acknowledged");
    run::<forgetful::Forgetful>(check, test, &[Need::Kill]);
}

#[test]
fn every_rule_is_broken_by_some_store() {
    for check in CHECKS.iter().filter(|check| !KILLED.contains(&check.rule)) {
        let is_broken = BROKEN.contains(&check.rule) || BROKEN_BY_MEASURE.contains(&check.rule);
        assert!(is_broken, "no store breaks {}", check.rule);
    }
}
