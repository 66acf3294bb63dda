//! What a backend wrote last.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rows that are remembered. A stream's is a thousand bytes at most, and usually a few hundred.
const REMEMBERED: usize = 4096;

/// Rows that a backend wrote last, so that the next append need not look them up.
///
/// Where others can change a row, a commit has to check that it still is as it is remembered.
#[derive(Debug)]
pub struct Known<K, V> {
    /// Nothing awaits under it.
    rows: Mutex<HashMap<K, V>>,
}

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self { rows: Mutex::default() }
    }
}

impl<K: Eq + Hash, V: Clone> Known<K, V> {
    /// What is remembered.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V> {
        self.lock().get(key).cloned()
    }

    /// Remembers rows as they are now, and forgets those of which nothing is given. Of too many, all
    /// that were remembered before are forgotten.
    pub fn note(&self, changed: impl IntoIterator<Item = (K, Option<V>)>) {
        let mut known = self.lock();
        for (key, row) in changed {
            let Some(row) = row else {
                known.remove(&key);
                continue;
            };
            if known.len() >= REMEMBERED && !known.contains_key(&key) {
                known.clear();
            }
            known.insert(key, row);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, V>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn they_are_no_more_than_so_many() {
        let known = Known::default();
        for n in 0..=2 * REMEMBERED {
            known.note([(n, Some(n))]);
            assert_eq!(known.get(&n), Some(n));
            assert!((1..=REMEMBERED).contains(&known.lock().len()));
        }
    }
}
