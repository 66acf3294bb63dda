//! Makes a script that fails shorter and plainer, as long as it still fails.
//!
//! It works on the script and not on the random choices behind it: without its first steps a
//! script is another one, but it is often enough one that fails too.

use std::time::Instant;

use super::script::{Plan, Script, Shape, Step};
use crate::failure::{Mismatch, Outcome};

/// A script that fails, and how.
pub(super) struct Failing {
    pub(super) script: Script,
    pub(super) mismatch: Mismatch,
}

impl Failing {
    /// Tries what is simpler until `deadline`, or until nothing simpler fails. `play` fails if
    /// the harness does.
    pub(super) fn shrink(
        mut self,
        deadline: Instant,
        play: &dyn Fn(&Script) -> Outcome<Outcome>,
    ) -> Outcome<Self> {
        while Instant::now() < deadline {
            let simpler = Self::simpler_than(&self.script);
            let mut better = None;
            for script in simpler {
                if Instant::now() > deadline {
                    break;
                }
                if let Err(mismatch) = play(&script)? {
                    better = Some(Self { script, mismatch });
                    break;
                }
            }
            let Some(better) = better else { break };
            self = better;
        }
        Ok(self)
    }

    /// Every script that is a little simpler: the greatest simplifications first.
    fn simpler_than(script: &Script) -> impl Iterator<Item = Script> {
        let Script { plan, steps } = script.clone();
        let lengths = std::iter::successors(Some(steps.len() / 2), |length| Some(length / 2));
        let lengths: Vec<_> = lengths.take_while(|length| *length > 0).collect();
        let starts =
            |length: usize| (0..steps.len()).rev().step_by(length).map(move |s| (s, length));
        let cuts: Vec<_> = lengths.into_iter().flat_map(starts).collect();
        let all = steps.clone();
        let shorter = cuts.into_iter().map(move |(start, length)| {
            let mut left = all.clone();
            left.drain(start..(start + length).min(all.len()));
            Script { plan, steps: left }
        });
        let all = steps.clone();
        let plans = plan.simpler().into_iter();
        let less_kept = plans.map(move |plan| Script { plan, steps: all.clone() });
        let plainer = (0..steps.len()).flat_map(move |at| {
            let all = steps.clone();
            steps[at].simpler().into_iter().map(move |step| {
                let mut steps = all.clone();
                steps[at] = step;
                Script { plan, steps }
            })
        });
        shorter.chain(less_kept).chain(plainer)
    }
}

impl Plan {
    /// With one limit less.
    fn simpler(self) -> Vec<Self> {
        let mut simpler = Vec::new();
        macro_rules! without {
            ($($limit:ident)*) => {$(
                if self.$limit.is_some() {
                    simpler.push(Self { $limit: None, ..self });
                }
            )*};
        }
        without!(stream_ttl completed_ttl event_ttl session_ttl max_events max_stream_bytes);
        without!(max_session_bytes max_total_bytes max_event_bytes max_streams max_followers);
        simpler
    }
}

impl Step {
    /// The same on the first instance, or with one thing less.
    fn simpler(&self) -> Vec<Self> {
        let mut simpler = Vec::new();
        let mut on_the_first = self.clone();
        if let Some(on) = on_the_first.on_mut().filter(|on| **on > 0) {
            *on = 0;
            simpler.push(on_the_first);
        }
        match *self {
            Self::Append { on, place, event } => {
                let events = event.simpler().into_iter();
                simpler.extend(events.map(|event| Self::Append { on, place, event }));
            }
            Self::Replay { on, mut id } if id.scope.is_some() || id.altered.is_some() => {
                (id.scope, id.altered) = (None, None);
                simpler.push(Self::Replay { on, id });
            }
            Self::Follow { on, after, take_over: true } => {
                simpler.push(Self::Follow { on, after, take_over: false });
            }
            Self::FollowFromStart { on, place, take_over: true } => {
                simpler.push(Self::FollowFromStart { on, place, take_over: false });
            }
            Self::Reopen { on, close, plan: Some(plan) } => {
                simpler.push(Self::Reopen { on, close, plan: None });
                let plans = plan.simpler().into_iter();
                simpler.extend(plans.map(|p| Self::Reopen { on, close, plan: Some(p) }));
            }
            Self::Wait { hours } if hours > 1 => simpler.push(Self::Wait { hours: hours - 1 }),
            _ => {}
        }
        simpler
    }

    fn on_mut(&mut self) -> Option<&mut u8> {
        match self {
            Self::Append { on, .. }
            | Self::Burst { on, .. }
            | Self::Replay { on, .. }
            | Self::Read { on, .. }
            | Self::Follow { on, .. }
            | Self::FollowFromStart { on, .. }
            | Self::Renew { on, .. }
            | Self::DeleteStream { on, .. }
            | Self::DeleteSession { on, .. }
            | Self::StoreRecord { on, .. }
            | Self::LoadRecord { on, .. }
            | Self::TouchRecord { on, .. }
            | Self::Sweep { on }
            | Self::Reopen { on, .. } => Some(on),
            Self::Poll { .. } | Self::Drop { .. } | Self::Wait { .. } => None,
        }
    }
}

impl Shape {
    fn simpler(self) -> Vec<Self> {
        let all = [
            Self { lease: None, ..self },
            Self { retry_ms: None, ..self },
            Self { completes: false, ..self },
            Self { bytes: 0, ..self },
        ];
        all.into_iter().filter(|simpler| *simpler != self).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Fails as long as a sweep follows a wait, somewhere.
    fn play(script: &Script) -> Outcome {
        let wait = script.steps.iter().position(|step| matches!(step, Step::Wait { .. }));
        let left = wait.map_or(&[][..], |at| &script.steps[at..]);
        let fails = left.iter().any(|step| matches!(step, Step::Sweep { .. }));
        if fails { Err(Mismatch::new("nothing", "something")) } else { Ok(()) }
    }

    #[test]
    fn only_what_matters_is_left() {
        let wait = || Step::Wait { hours: 3 };
        let append =
            || Step::Append { on: 1, place: 1, event: Shape { bytes: 100, ..Shape::default() } };
        let mut steps: Vec<_> = (0..20).map(|_| append()).collect();
        steps.extend([wait(), append(), wait(), Step::Sweep { on: 1 }, append()]);
        let script = Script { plan: Plan { max_events: Some(1), ..Plan::default() }, steps };
        let mismatch = Mismatch::new("nothing", "something");
        let deadline = Instant::now() + Duration::from_secs(60);
        let shrunk =
            Failing { script, mismatch }.shrink(deadline, &|script| Ok(play(script))).unwrap();
        let steps = format!("{:?}", shrunk.script.steps);
        assert_eq!(steps, "[Wait { hours: 1 }, Sweep { on: 0 }]");
        assert_eq!(shrunk.script.plan.max_events, None);
    }
}
