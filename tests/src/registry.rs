//! The one list of all rules and their checks, from which the tests come as well.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::context::Ctx;
use crate::failure::Outcome;
use crate::need::Need;
use crate::proofs::PROOFS;

/// One check of one rule of the contract.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Check {
    /// The rule, such as `A2`.
    pub rule: &'static str,
    /// What the rule promises.
    pub sentence: &'static str,
    /// The name of the check and of its test.
    pub name: &'static str,
    /// What a harness must offer for it.
    pub needs: &'static [Need],
    /// Whether it measures time or memory, which needs a process of its own.
    pub measures: bool,
    /// How long it may take, given how long the harness lets a check take.
    pub(crate) deadline: fn(Duration) -> Duration,
    pub(crate) run: for<'a> fn(&'a Ctx) -> BoxFuture<'a, Outcome>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The check or proof called `name`.
#[must_use]
pub fn check(name: &str) -> Option<&'static Check> {
    CHECKS.iter().chain(PROOFS).find(|check| check.name == name)
}

/// Calls the macro `$callback` of this crate with `$args` and the whole list. Each rule has its
/// sentence and its checks; each check its needs, and `measures` if it needs its own process.
#[doc(hidden)]
#[macro_export]
macro_rules! __checks {
    ($callback:ident $args:tt) => {
        $crate::$callback! { $args
            A1 "When `store_event` returns an ID, the event is durable and survives `kill -9`." {
                durable::a1_an_acknowledged_event_survives_kill_9 [kill];
            }
            A2 "Sequential appends replay in that order; concurrent ones in one order, the same for every reader, for good." {
                append::a2_sequential_appends_replay_in_that_order [];
                append::a2_concurrent_appends_have_one_order_for_every_reader [];
            }
            A3 "IDs are unique across streams, sessions, instances, restarts, deletions and restored backups, and never mean two things." {
                ids::a3_ids_are_unique_across_streams_sessions_and_deletions [];
                ids::a3_ids_are_unique_across_restarts [reopen];
                ids::a3_ids_are_unique_across_instances [second_instance];
                ids::a3_ids_are_unique_across_restored_backups [reopen lose_tail];
            }
            A4 "An ID is 1 to 128 characters of `[A-Za-z0-9_-]`, holds at least 96 bits from a CSPRNG, and shows neither session nor stream ID." {
                ids::a4_ids_are_short_and_show_neither_session_nor_stream [];
                ids::a4_ids_cannot_be_guessed [];
            }
            A5 "Message bytes, `retry` and priming-ness come back exactly: newlines, unicode, 4 MiB, empty object." {
                exact::a5_events_come_back_exactly [];
                exact::a5_events_come_back_exactly_after_reopening [reopen];
                exact::a5_followed_events_come_back_exactly [follow];
            }
            A6 "A rejected append changes nothing, not even the stream's existence. One caller's bad event never fails another's." {
                reject::a6_a_rejected_append_changes_nothing [];
                reject::a6_a_bad_event_fails_no_other [];
            }
            A7 "A cancelled append is stored whole or not at all, and harms no other." {
                reject::a7_a_cancelled_append_is_whole_or_absent_and_harms_no_other [];
            }
            A8 "Any valid session and stream ID works: separators, underscores, unicode, one a prefix of another; the same stream ID in two sessions is two streams." {
                names::a8_any_valid_name_works [];
                names::a8_the_same_stream_id_in_two_sessions_is_two_streams [];
            }
            A9 "An append to a complete stream is `StreamComplete` and changes nothing." {
                reject::a9_a_complete_stream_takes_no_append [];
                reject::a9_of_many_completing_appends_one_is_taken [];
            }
            A10 "If a connection dies during a commit, the event is stored once or the caller hears `OutcomeUnknown`; never twice, never a false success." {
                cuts::a10_a_cut_commit_is_never_doubled_and_never_a_false_success [cut];
                cuts::a10_while_the_connection_is_down_nothing_is_claimed [cut];
            }
            L1 "`stream_id_for_event_id` names the stream of every ID that replay accepts, and answers `None` for anything else." {
                lookup::l1_look_up_names_the_stream_of_every_stored_event [];
                lookup::l1_look_up_agrees_with_replay_about_removed_events [retention];
            }
            L2 "No string makes it panic, and its cost does not depend on how much is stored." {
                lookup::l2_no_string_makes_look_up_fail [];
                measured::l2_the_cost_of_look_up_does_not_depend_on_what_is_stored [] measures;
            }
            P1 "Strictly after the given event, complete, in order, original IDs, this stream only." {
                replay::p1_replay_gives_exactly_what_follows_the_event [];
                replay::p1_long_and_large_streams_replay_whole [];
            }
            P2 "Replay consumes nothing." {
                replay::p2_replay_consumes_nothing [];
            }
            P3 "At the tail it is empty, and the verdict is `CaughtUp`." {
                replay::p3_at_the_tail_replay_is_empty_and_caught_up [];
            }
            P4 "The verdict is known before the first event." {
                replay::p4_the_verdict_comes_first_and_counts_the_events [];
            }
            P5 "Never silently partial: if any later event was removed, `EventsExpired`, and a replay after its `resume_after` gives all that is left." {
                expired::p5_a_replay_with_a_hole_is_events_expired [retention];
            }
            P6 "If only the anchor was removed and all its successors are kept, replay works." {
                expired::p6_a_removed_anchor_with_all_successors_kept_replays [retention];
            }
            P7 "An ID of another session, of a session when the scope is session-less, or a session-less one in a session's scope, is `UnknownEvent`, exactly like one that never existed." {
                scopes::p7_an_id_from_another_scope_is_unknown [];
                scopes::p7_an_expired_id_from_another_scope_is_unknown [retention];
            }
            P8 "Memory is bounded by one page, in bytes, per open replay, not by the stream." {
                measured::p8_an_open_replay_holds_a_page_and_not_the_stream [] measures;
            }
            P9 "If trimming overtakes a running replay, it ends with an error, never with a hole." {
                expired::p9_a_replay_overtaken_by_trimming_has_no_hole [retention];
            }
            P10 "Malformed, empty, huge, truncated and bit-flipped IDs, and IDs of writes that a failover or an old backup lost, are `UnknownEvent`." {
                ids::p10_malformed_and_altered_ids_are_unknown [];
                ids::p10_ids_of_lost_writes_are_unknown [reopen lose_tail];
            }
            F1 "Replay then live: exactly once, in order, no hole and no repeat where they meet." {
                follow::f1_replay_and_live_meet_without_hole_or_repeat [follow];
                follow::f1_a_fresh_reader_waits_for_an_absent_stream [follow];
                follow::f1_a_begun_stream_is_followed_from_its_oldest_event [follow];
            }
            F2 "Events appended through another instance arrive too, within the backend's stated wake-up bound." {
                wake_up::f2_events_of_another_instance_arrive_in_time [follow second_instance] measures;
                wake_up::f2_events_of_another_process_arrive_in_time [follow second_instance kill] measures;
            }
            F3 "It ends after the completing event, at `at_most`, at `close()` (all with `None`), or when dropped; nothing is left running." {
                follow_end::f3_a_follow_ends_after_the_completing_event [follow];
                follow_end::f3_a_follow_ends_at_its_time_limit [follow];
                follow_end::f3_close_ends_a_follow [follow maintenance];
                follow_end::f3_a_dropped_follow_leaves_nothing_running [follow];
            }
            F4 "A slow follower delays no append and no other follower, loses nothing, and uses bounded memory." {
                follow::f4_a_slow_follower_delays_nobody_and_loses_nothing [follow];
                measured::f4_slow_followers_use_bounded_memory [follow] measures;
            }
            F5 "If its stream is deleted (`UnknownEvent`) or outruns it (`EventsExpired`), it ends with that one error." {
                follow_end::f5_deleting_the_stream_ends_a_follow [follow];
                follow_end::f5_deleting_through_another_instance_ends_a_follow [follow second_instance];
                follow_end::f5_a_stream_that_outruns_a_follow_ends_it [follow retention];
            }
            F6 "Losing the database connection ends in delivery after reconnection, or in `Unavailable`; never in silence." {
                cuts::f6_a_follow_outlives_a_cut_or_says_so [follow cut];
                cuts::f6_a_replay_outlives_a_cut_or_says_so [cut];
            }
            F7 "A follow with `TakeOver` ends older ones of that stream (with `None`), on any instance; nothing new goes to an old one once it has seen that." {
                take_over::f7_taking_over_ends_older_follows [follow];
                take_over::f7_taking_over_ends_older_follows_on_other_instances [follow second_instance];
                take_over::f7_joining_and_other_streams_end_nothing [follow];
            }
            O1 "A stream whose owner renews is not idle, however long it is silent." {
                leases::o1_a_renewed_stream_is_not_idle [leases retention];
            }
            O2 "When a lease lapses on an incomplete stream, exactly one instance may append its end." {
                leases::o2_a_lapsed_lease_goes_to_exactly_one [leases retention];
                leases::o2_a_lapsed_lease_goes_to_exactly_one_instance [leases retention second_instance];
                leases::o2_a_running_lease_stays_with_its_owner [leases retention];
                leases::o2_renew_creates_and_revives_nothing [leases retention];
            }
            T1 "`stream_ttl`: since the last append or renewal; exact at read, whether or not a sweep has run." {
                ttl::t1_an_idle_stream_expires [retention];
                ttl::t1_an_idle_stream_is_swept [retention maintenance];
            }
            T2 "`event_ttl`: an event's own age; exact at read, whether or not a sweep has run." {
                ttl::t2_an_old_event_expires [retention];
                ttl::t2_an_old_event_is_swept [retention maintenance];
            }
            T3 "`max_events_per_stream`; exact at read, whether or not a sweep has run." {
                caps::t3_only_the_newest_events_are_kept [retention];
                caps::t3_events_above_the_cap_are_swept [retention maintenance];
            }
            T4 "`max_bytes_per_stream`; exact at read, whether or not a sweep has run." {
                caps::t4_only_the_newest_bytes_are_kept [retention];
                caps::t4_bytes_above_the_cap_are_swept [retention maintenance];
            }
            T5 "`completed_stream_ttl`; exact at read, whether or not a sweep has run." {
                ttl::t5_a_complete_stream_expires [retention];
                ttl::t5_a_complete_stream_is_swept [retention maintenance];
            }
            T6 "`max_total_bytes` in all, `max_bytes_per_session`: swept within one interval, never refused. Least recently appended or renewed streams first: complete ones whole, live ones (incomplete, unexpired) down to their newest event, so live ones alone may exceed the cap." {
                totals::t6_the_least_recent_streams_make_room_in_all [retention maintenance];
                totals::t6_the_least_recent_streams_make_room_in_their_session [retention maintenance];
                totals::t6_a_renewed_stream_is_recent [retention maintenance leases];
                totals::t6_the_background_sweep_keeps_the_total [retention maintenance];
            }
            T7 "The newest event of a live stream always survives the caps. Accounting is exact after every deletion." {
                totals::t7_the_newest_event_of_a_live_stream_survives_the_caps [retention maintenance];
                accounting::t7_usage_is_exact_after_every_deletion [retention maintenance];
            }
            T8 "A sweep really frees rows or keys, in bounded steps, spares what is live, and may run on several instances at once." {
                sweeps::t8_a_sweep_frees_what_is_removed_and_spares_the_rest [retention maintenance];
                sweeps::t8_appends_go_on_during_a_long_sweep [retention maintenance];
                sweeps::t8_several_instances_may_sweep_at_once [retention maintenance second_instance];
            }
            T9 "Removal takes a prefix of a stream. While a stream lives, and for `tombstone_ttl` after it wholly expired (from that moment, not from the sweep), an ID with a removed successor is `EventsExpired`; the newest removed ID replays what is left. An append to an expired, incomplete stream first moves its first seq past the old events; after the tombstone an append gets a new key. Deletion leaves no tombstone of streams." {
                tombstones::t9_removal_takes_a_prefix [retention];
                tombstones::t9_an_expired_stream_is_remembered_from_its_expiry [retention];
                tombstones::t9_a_late_sweep_does_not_prolong_the_memory [retention maintenance];
                tombstones::t9_an_append_revives_an_expired_incomplete_stream [retention];
                tombstones::t9_an_append_revives_a_swept_incomplete_stream [retention maintenance];
                tombstones::t9_an_expired_complete_stream_stays_complete_until_forgotten [retention];
                tombstones::t9_deletion_leaves_no_tombstone [retention];
            }
            T10 "A changed configuration applies to what is already stored. Where instances differ, the strictest sweeper wins." {
                configured::t10_a_changed_configuration_applies_to_what_is_stored [retention reopen];
                configured::t10_the_strictest_sweeper_wins [retention maintenance second_instance];
            }
            T11 "`max_streams_per_session` (incomplete ones), and `max_followers_per_session` on each instance: `LimitReached`, and others are not affected. No per-session limit applies to session-less streams." {
                configured::t11_a_session_may_have_so_many_incomplete_streams [retention];
                configured::t11_a_session_may_have_so_many_followers [retention follow];
            }
            D1 "Deletion is complete." {
                deletion::d1_deletion_is_complete [];
                deletion::d1_deletion_gives_back_every_byte [maintenance];
            }
            D2 "Deletion is repeatable." {
                deletion::d2_deletion_is_repeatable [];
            }
            D3 "Deletion touches nothing else (a session whose ID is a prefix of another's)." {
                deletion::d3_deletion_touches_nothing_else [];
            }
            D4 "The names are usable again, with fresh IDs, and old IDs stay unknown. (For a deleted session: once its tombstone is gone.)" {
                deletion::d4_a_deleted_stream_can_be_used_again [];
                deletion::d4_a_deleted_session_can_be_used_again_once_its_mark_is_gone [retention];
            }
            R1 "After reopening: same events, IDs and order, and sequences continue." {
                restart::r1_reopening_changes_nothing_and_sequences_continue [reopen];
            }
            R2 "Two instances append to one stream while a third follows it: the follower sees every event once, in replay order." {
                restart::r2_a_third_instance_sees_what_two_append [follow second_instance];
            }
            R3 "Random `kill -9`: nothing acknowledged is lost, nothing torn shows." {
                durable::r3_random_kills_lose_and_tear_nothing [kill];
            }
            S1 "A record round-trips." {
                sessions::s1_a_record_round_trips [sessions];
                sessions::s1_a_record_round_trips_through_a_restart [sessions reopen];
            }
            S2 "A record expires unless used." {
                sessions::s2_a_record_expires_unless_used [sessions retention];
                sessions::s2_an_unused_record_is_swept [sessions retention maintenance];
            }
            S3 "A record is deleted with its events on every instance." {
                sessions::s3_a_record_is_deleted_with_its_events [sessions retention];
                sessions::s3_a_record_is_deleted_on_every_instance [sessions retention second_instance];
            }
            S4 "A `store` or append racing a delete leaves nothing behind." {
                races::s4_nothing_survives_a_race_with_delete [sessions];
                races::s4_nothing_survives_a_race_on_two_instances [sessions second_instance];
            }
        }
    };
}

macro_rules! __statics {
    (() $($rule:ident $sentence:literal {
        $($module:ident :: $name:ident [$($need:ident)*] $($measures:ident)?;)*
    })*) => {
        /// Every check of every rule.
        pub static CHECKS: &[Check] = &[$($(Check {
            rule: stringify!($rule),
            sentence: $sentence,
            name: stringify!($name),
            needs: &[$($crate::__need!($need)),*],
            measures: stringify!($($measures)?).len() > 0,
            deadline: std::convert::identity,
            run: |ctx| Box::pin(crate::checks::$module::$name(ctx)),
        }),*),*];
    };
}
pub(crate) use __statics;

crate::__checks! { __statics () }

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeSet, HashSet};

    /// The rules of the contract: how many each letter has.
    const RULES: [(char, usize); 9] = [
        ('A', 10),
        ('L', 2),
        ('P', 10),
        ('F', 7),
        ('O', 2),
        ('T', 11),
        ('D', 4),
        ('R', 3),
        ('S', 4),
    ];

    #[test]
    fn every_rule_has_a_check() {
        let checked: BTreeSet<_> = CHECKS.iter().map(|check| check.rule.to_owned()).collect();
        let rules: BTreeSet<_> = RULES
            .iter()
            .flat_map(|(letter, last)| (1..=*last).map(move |n| format!("{letter}{n}")))
            .collect();
        assert_eq!(checked, rules);
    }

    #[test]
    fn every_check_is_named_once_and_after_its_rule() {
        let mut names = HashSet::new();
        for check in CHECKS {
            let prefix = format!("{}_", check.rule.to_lowercase());
            assert!(check.name.starts_with(&prefix), "{check:?} belongs to {}", check.rule);
            assert!(names.insert(check.name), "{check:?} is listed twice");
        }
    }
}
