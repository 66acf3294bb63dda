//! The proofs: tests that try a whole store at random instead of one rule with a plan. The one
//! list of them, and `proof_suite!`, which emits one `#[test]` each.

use std::env;
use std::time::Duration;

use crate::registry::Check;

/// Emits one `#[test]` for every proof: the model test, the crash tests and the history tests.
///
/// It takes what [`compliance_suite!`](crate::compliance_suite) takes, and `server_kill` among the
/// offers. A proof whose need the harness does not offer shows as ignored. How much is tried is
/// set by environment variables, which `docs/proofs.md` lists.
///
/// ```no_run
/// # use mcp_event_store_compliance::{Harness, HarnessError, Opened, async_trait};
/// # use mcp_event_store_core::{Clock, Settings};
/// struct MyHarness { /* a directory, a schema, a key prefix … */ }
///
/// #[async_trait]
/// impl Harness for MyHarness {
///     async fn create() -> Result<Self, HarnessError> { todo!() }
///     async fn open(&self, settings: &Settings, clock: &Clock) -> Result<Opened, HarnessError> {
///         todo!()
///     }
///     fn address(&self) -> String { todo!() }
///     async fn tear_down(self: Box<Self>) -> Result<(), HarnessError> { todo!() }
/// }
///
/// mcp_event_store_compliance::proof_suite!(MyHarness, offers: [
///     reopen, sessions, maintenance, leases, retention, follow,
/// ]);
/// ```
#[macro_export]
macro_rules! proof_suite {
    ($harness:ty $(,)?) => {
        $crate::proof_suite!($harness, offers: [
            reopen, second_instance, kill, cut, lose_tail, sessions, maintenance, leases,
            retention, follow, server_kill,
        ]);
    };
    ($harness:ty, offers: [$($need:ident),* $(,)?] $(,)?) => {
        $crate::__proofs! { __suite [$harness, [$($need)*]] }
    };
}

/// Calls the macro `$callback` of this crate with `$args` and the whole list.
#[doc(hidden)]
#[macro_export]
macro_rules! __proofs {
    ($callback:ident $args:tt) => {
        $crate::$callback! { $args
            model "Whatever is done to a store, in whatever order, it answers as the contract says." {
                model::model_fixed_scripts_go_as_the_contract_says
                    [sessions maintenance leases retention follow];
                model::model_random_scripts_go_as_the_contract_says
                    [sessions maintenance leases retention follow];
            }
            crash "What was acknowledged is there, whole, in order, once; nothing else is there but what was under way." {
                crash::crash_a_killed_process_loses_nothing_it_acknowledged [kill];
                crash::crash_a_killed_server_loses_nothing_it_acknowledged [server_kill follow];
                crash::crash_cut_commits_are_stored_once_or_not_claimed [cut follow];
            }
            history "Instances that append, follow, trim and delete at once all see pieces of one order." {
                history::history_of_two_instances_is_one_order
                    [second_instance follow maintenance retention];
                history::history_of_three_instances_is_one_order
                    [second_instance follow maintenance retention];
            }
        }
    };
}

macro_rules! __proof_statics {
    (() $($rule:ident $sentence:literal {
        $($module:ident :: $name:ident [$($need:ident)*];)*
    })*) => {
        /// Every proof.
        pub static PROOFS: &[Check] = &[$($(Check {
            rule: stringify!($rule),
            sentence: $sentence,
            name: stringify!($name),
            needs: &[$($crate::__need!($need)),*],
            measures: false,
            deadline: crate::$module::deadline,
            run: |ctx| Box::pin(crate::$module::$name(ctx)),
        }),*),*];
    };
}
pub(crate) use __proof_statics;

crate::__proofs! { __proof_statics () }

/// The number in the environment variable `name`, or `default` without one.
///
/// # Panics
/// If it is no number: a run that was meant to be long must not be short without a word.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Err(_) => default,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, not a number")),
    }
}

/// `at_least`, or longer if `steps` that take `each` need more.
pub(crate) fn time_for(steps: u64, each: Duration, at_least: Duration) -> Duration {
    at_least.max(each.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_proof_is_named_after_its_kind() {
        for proof in PROOFS {
            assert!(proof.name.starts_with(&format!("{}_", proof.rule)), "{proof:?}");
        }
    }

    #[test]
    fn long_runs_get_more_time() {
        let minute = Duration::from_secs(60);
        assert_eq!(time_for(10, Duration::from_secs(1), minute), minute);
        assert_eq!(time_for(100, Duration::from_secs(1), minute), Duration::from_secs(100));
    }
}
