//! What a backend wrote last.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rows of one generation. A stream's is a thousand bytes at most, and usually a few hundred.
const REMEMBERED: usize = 4096;

/// Rows that a backend wrote last, so that the next append need not look them up: the 4,096 that were
/// used last, and as many before them at most.
///
/// Where others can change a row, a commit has to check that it still is as it is remembered.
#[derive(Debug)]
pub struct Known<K, V> {
    /// Nothing awaits under it.
    rows: Mutex<Generations<K, V>>,
}

/// No row is in both.
#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self { rows: Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() }) }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Known<K, V> {
    /// What is remembered.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V> {
        let mut rows = self.lock();
        if let Some(row) = rows.young.get(key) {
            return Some(row.clone());
        }
        let (key, row) = rows.old.remove_entry(key)?;
        rows.put(key, row.clone());
        Some(row)
    }

    /// Remembers rows as they are now, and forgets those of which nothing is given.
    pub fn note(&self, changed: impl IntoIterator<Item = (K, Option<V>)>) {
        let mut rows = self.lock();
        for (key, row) in changed {
            rows.old.remove(&key);
            match row {
                Some(row) => rows.put(key, row),
                None => drop(rows.young.remove(&key)),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Generations<K, V>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, V> Generations<K, V> {
    /// Puts a row that is not an old one.
    fn put(&mut self, key: K, row: V) {
        if self.young.len() >= REMEMBERED && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_remembered_until_they_are_forgotten() {
        let known = Known::default();
        known.note([(1, Some('a')), (2, Some('b'))]);
        known.note([(1, Some('c'))]);
        assert_eq!([1, 2, 3].map(|n| known.get(&n)), [Some('c'), Some('b'), None]);
        known.note([(1, None)]);
        assert_eq!([1, 2].map(|n| known.get(&n)), [None, Some('b')]);
    }

    #[test]
    fn those_that_are_used_are_kept_and_others_are_forgotten() {
        let known = Known::default();
        for n in 0..5 * REMEMBERED {
            known.note([(n, Some(n))]);
            // The first of all is asked for again and again.
            assert_eq!([0, n].map(|n| known.get(&n)), [Some(0), Some(n)]);
            let rows = known.lock();
            assert!(rows.young.len() <= REMEMBERED && rows.old.len() <= REMEMBERED);
        }
        let left = (0..5 * REMEMBERED).filter(|n| known.get(n).is_some()).count();
        assert!((REMEMBERED..=2 * REMEMBERED).contains(&left), "{left}");
        assert_eq!(known.get(&1), None);
    }

    #[test]
    fn an_old_row_is_replaced_and_forgotten() {
        let known = Known::default();
        known.note([(1, Some('a')), (2, Some('a'))]);
        known.note((3..3 + REMEMBERED).map(|n| (n, Some('x'))));
        known.note([(1, Some('b')), (2, None)]);
        assert_eq!([1, 2].map(|n| known.get(&n)), [Some('b'), None]);
    }
}
