//! Where the lists that have an order begin.
//!
//! Sweeps empty these lists from the front, and to RocksDB a deleted entry is one to step over
//! until it is compacted away. So listings remember the time before which there is nothing. It is
//! kept in memory: after a restart the first listing finds it again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mcp_event_store_core::Timestamp;

use crate::index::List;

/// The beginnings.
#[derive(Default)]
pub(crate) struct Marks {
    /// Nothing awaits under it.
    lists: Mutex<BTreeMap<List, Mark>>,
}

struct Mark {
    /// There is no entry before this.
    first: Timestamp,
    /// The earliest entry that was put since the last listing began.
    put: Timestamp,
    /// How many listings have begun.
    turns: u64,
}

/// A listing from the beginning.
pub(crate) struct Turn {
    list: List,
    /// How many had begun with it.
    number: u64,
    /// Where to begin.
    pub(crate) first: Timestamp,
}

const START: Timestamp = Timestamp(i64::MIN);
const END: Timestamp = Timestamp(i64::MAX);

impl Marks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<List, Mark>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a listing: must come before its first read, so that what is committed between the two
    /// is either seen or noted.
    pub(crate) fn begin(&self, list: List) -> Turn {
        let mut lists = self.lock();
        let mark = lists.entry(list).or_insert(Mark { first: START, put: END, turns: 0 });
        mark.turns += 1;
        mark.put = END;
        Turn { list, number: mark.turns, first: mark.first }
    }

    /// The listing found no entry before `first`.
    pub(crate) fn end(&self, Turn { list, number, .. }: &Turn, first: Timestamp) {
        if let Some(mark) = self.lock().get_mut(list)
            && mark.turns == *number
        {
            mark.first = first.min(mark.put);
        }
    }

    /// An entry at `at` was committed, just now.
    pub(crate) fn put(&self, list: List, at: Timestamp) {
        if let Some(mark) = self.lock().get_mut(&list) {
            mark.first = mark.first.min(at);
            mark.put = mark.put.min(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_entry_is_before_the_mark() {
        let marks = Marks::default();
        let begin = || marks.begin(List::Aged);
        let turn = begin();
        assert_eq!(turn.first, START);
        marks.end(&turn, Timestamp(50));
        assert_eq!(begin().first, Timestamp(50));
        marks.put(List::Aged, Timestamp(60));
        marks.put(List::Complete, Timestamp(1));
        assert_eq!(begin().first, Timestamp(50));
        marks.put(List::Aged, Timestamp(40));
        assert_eq!(begin().first, Timestamp(40));
        // What is put during a listing may not have been seen by it.
        let turn = begin();
        marks.put(List::Aged, Timestamp(45));
        marks.end(&turn, Timestamp(90));
        assert_eq!(begin().first, Timestamp(45));
        // Of two at a time only the later one counts.
        let turns = [begin(), begin()];
        marks.end(&turns[0], Timestamp(99));
        assert_eq!(begin().first, Timestamp(45));
    }
}
