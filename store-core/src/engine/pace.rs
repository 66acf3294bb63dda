//! How fast a sweep goes beside appends.
//!
//! SQLite and RocksDB have one writer, and whoever appends waits for the sweep's step that is under
//! way. There commits of appends and steps take turns, and a step is only as large as takes no
//! longer than a commit. So an append waits for one step at most, and that about doubles the time
//! it takes; and a sweep gets about half of the writer's time. Where the database has several
//! writers nobody takes turns: steps are as small, and a sweep rests after each for as long as it
//! took. While nobody appends, steps are as large as they may be, and follow each other at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

/// Whoever appended within this time is taken to append again. Long enough for one who does so now
/// and then, and short beside the time between two sweeps.
const COMPANY: Duration = Duration::from_secs(1);

/// The smallest step is this part of the largest: each step pays for a commit, and smaller ones
/// would not keep up with appends.
const SMALLEST: usize = 4;

/// What a handle's appends and its sweep know of each other. Those of other handles are not seen:
/// beside their appends a sweep goes as on an idle store.
#[derive(Debug)]
pub(super) struct Pace {
    /// Fair, so that neither side can take two turns while the other waits. Guards nothing;
    /// `None` where the database has more than one writer.
    turn: Option<Mutex<()>>,
    opened: Instant,
    /// Milliseconds from `opened` until which the last append counts.
    company_until: AtomicU64,
    /// What a commit of appends takes, the wait for its turn left out: a mean in which each commit
    /// weighs an eighth.
    commit_micros: AtomicU64,
}

impl Pace {
    pub(super) fn new(writers: usize) -> Self {
        Self {
            turn: (writers <= 1).then(Mutex::default),
            opened: Instant::now(),
            company_until: AtomicU64::new(0),
            commit_micros: AtomicU64::new(0),
        }
    }

    /// Waits until it is one's turn to write; it ends when the answer is dropped.
    pub(super) async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        match &self.turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }

    /// Lets appends have the server for themselves for as long as a step took, where nobody takes turns
    /// and somebody appends.
    pub(super) async fn rest(&self, step: Duration) {
        if self.turn.is_none() && self.step_time().is_some() {
            tokio::time::sleep(step).await;
        }
    }

    /// A commit of appends took `time`.
    pub(super) fn committed(&self, time: Duration) {
        let time = number(time.as_micros());
        let mean = match self.commit_micros.load(Ordering::Relaxed) {
            0 => time,
            mean => mean - mean / 8 + time / 8,
        };
        // Of two writers at once one may be forgotten: the next commits tell the same.
        self.commit_micros.store(mean, Ordering::Relaxed);
        let until = self.opened.elapsed() + COMPANY;
        self.company_until.store(number(until.as_millis()), Ordering::Relaxed);
    }

    /// What a commit of appends took lately.
    pub(super) fn commit_time(&self) -> Duration {
        Duration::from_micros(self.commit_micros.load(Ordering::Relaxed))
    }

    /// How long a step may take; `None` while nobody appends.
    pub(super) fn step_time(&self) -> Option<Duration> {
        let now = number(self.opened.elapsed().as_millis());
        let is_company = now < self.company_until.load(Ordering::Relaxed);
        is_company.then(|| self.commit_time())
    }
}

fn number(wide: u128) -> u64 {
    u64::try_from(wide).unwrap_or(u64::MAX)
}

/// The size of one kind of step, by how long the last ones took.
#[derive(Debug)]
pub(super) struct StepSize {
    size: usize,
    most: usize,
}

impl StepSize {
    /// At most `most`; the first step is the smallest.
    pub(super) fn new(most: usize) -> Self {
        Self { size: smallest(most), most }
    }

    /// How many the next step may take.
    pub(super) fn get(&self) -> usize {
        self.size
    }

    /// A step that did `done` took `time`, and may take `allowed`. It shrinks faster than it grows,
    /// so that most steps take less than is allowed.
    pub(super) fn adapt(&mut self, done: usize, time: Duration, allowed: Option<Duration>) {
        match allowed {
            None => self.size = self.most,
            Some(allowed) if time > allowed => {
                self.size = (self.size / 2).max(smallest(self.most));
            }
            // Less than a whole step tells nothing of what a larger one takes.
            Some(_) if done < self.size => {}
            Some(_) => self.size = (self.size + self.size.div_ceil(4)).min(self.most),
        }
    }
}

fn smallest(most: usize) -> usize {
    (most / SMALLEST).max(1)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const MOST: usize = 256;
    const ALLOWED: Duration = Duration::from_millis(2);

    fn sizes(from: StepSize, time: Duration, steps: usize) -> Vec<usize> {
        let mut size = from;
        let mut step = || {
            size.adapt(size.get(), time, Some(ALLOWED));
            size.get()
        };
        (0..steps).map(|_| step()).collect()
    }

    #[test]
    fn a_slow_step_halves_the_next_down_to_the_smallest() {
        let largest = StepSize { size: MOST, most: MOST };
        assert_eq!(sizes(largest, ALLOWED * 2, 5), [128, 64, 64, 64, 64]);
    }

    #[test]
    fn quick_steps_grow_up_to_the_largest() {
        let quick = sizes(StepSize::new(MOST), ALLOWED, 12);
        assert_eq!(quick[..3], [80, 100, 125]);
        assert_eq!(quick[10..], [MOST, MOST]);
    }

    #[test]
    fn a_quick_part_of_a_step_changes_nothing() {
        let mut size = StepSize::new(MOST);
        let before = size.get();
        size.adapt(before - 1, Duration::ZERO, Some(ALLOWED));
        assert_eq!(size.get(), before);
    }

    #[test]
    fn steps_are_as_large_as_they_may_be_while_nobody_appends() {
        let mut size = StepSize::new(MOST);
        size.adapt(1, ALLOWED * 100, None);
        assert_eq!(size.get(), MOST);
    }

    #[test]
    fn a_step_takes_at_least_one() {
        assert_eq!(sizes(StepSize::new(1), ALLOWED * 2, 3), [1, 1, 1]);
    }

    #[test]
    fn a_step_may_take_as_long_as_commits_took_lately() {
        let mut pace = Pace::new(1);
        assert_eq!(pace.step_time(), None);
        pace.committed(ALLOWED);
        assert_eq!(pace.step_time(), Some(ALLOWED));
        pace.committed(ALLOWED * 9);
        assert_eq!(pace.step_time(), Some(ALLOWED * 2));
        pace.opened -= COMPANY * 2;
        assert_eq!(pace.step_time(), None);
    }

    #[tokio::test]
    async fn a_sweep_rests_only_beside_appends_that_take_no_turns() {
        let goes_on = |pace: &Pace| pace.rest(ALLOWED).now_or_never().is_some();
        let (alone, among_others) = (Pace::new(1), Pace::new(2));
        assert!(goes_on(&alone) && goes_on(&among_others), "nobody appends");
        alone.committed(ALLOWED);
        among_others.committed(ALLOWED);
        assert!(goes_on(&alone) && !goes_on(&among_others));
        among_others.rest(ALLOWED).await;
    }

    #[tokio::test]
    async fn only_one_writer_has_turns() {
        let alone = Pace::new(1);
        let turn = alone.turn().await;
        assert!(turn.is_some() && alone.turn.as_ref().unwrap().try_lock().is_err());
        drop(turn);
        assert!(alone.turn.as_ref().unwrap().try_lock().is_ok());

        let among_others = Pace::new(2);
        among_others.committed(ALLOWED);
        assert!(among_others.turn().await.is_none());
        assert_eq!(among_others.step_time(), Some(ALLOWED));
    }
}
