//! What a sweep of the reference removes.

use mcp_event_store_core::Retention;

use super::reference::Reference;
use super::script::SESSIONS;
use super::stream::millis;

impl Reference {
    /// T1 to T5, and T6 within sessions.
    pub(crate) fn sweep(&mut self, r: &Retention) {
        let now = self.now;
        for s in self.rows().collect::<Vec<_>>() {
            let stream = &mut self.streams[s];
            if stream.is_expired(now, r) {
                stream.expire(stream.expires_at(r).expect("it has expired"));
            } else {
                stream.removed = stream.hidden(now, r);
            }
        }
        if let Some(max) = r.max_bytes_per_session {
            for session in 0..SESSIONS.len() {
                let rows: Vec<_> = self.rows_of(session).collect();
                self.shrink(rows, max);
            }
        }
    }

    /// By how many bytes everything exceeds its cap.
    pub(crate) fn excess(&self, r: &Retention) -> u64 {
        r.max_total_bytes.map_or(0, |max| self.usage().bytes.saturating_sub(max))
    }

    /// T6 over all streams, in the order of their last use.
    pub(crate) fn sweep_total(&mut self, r: &Retention) {
        if let Some(max) = r.max_total_bytes {
            let rows: Vec<_> = self.rows().collect();
            self.shrink(rows, max);
        }
    }

    /// T9 and S2: what need not be remembered any more.
    pub(crate) fn forget(&mut self, r: &Retention) {
        for s in self.rows().collect::<Vec<_>>() {
            if self.streams[s].is_forgotten(self.now, r) {
                self.remove(self.streams[s].place);
            }
        }
        for session in self.sessions.values_mut() {
            if session.is_unused(self.now, r) {
                session.record = None;
            }
            if session.deleted_at.is_some_and(|at| at + millis(r.tombstone_ttl) <= self.now) {
                session.deleted_at = None;
            }
        }
    }

    /// Takes `rows` down to `max` bytes: the least recently used first, complete ones whole, live
    /// ones as little as suffices and not their newest event; then tombstones, oldest first.
    fn shrink(&mut self, mut rows: Vec<usize>, max: u64) {
        let bytes = |this: &Self| -> u64 { rows.iter().map(|s| this.streams[*s].bytes()).sum() };
        let mut excess = bytes(self).saturating_sub(max);
        rows.sort_by_key(|s| self.streams[*s].active_at);
        for s in rows
            .iter()
            .filter(|s| self.streams[**s].expired_at.is_none())
            .copied()
            .collect::<Vec<_>>()
        {
            let stream = &mut self.streams[s];
            let before = stream.bytes();
            if excess > 0 && stream.complete {
                stream.expire(self.now);
            }
            while !stream.complete && stream.kept().len() > 1 && before - stream.bytes() < excess {
                stream.removed += 1;
            }
            excess = excess.saturating_sub(before - stream.bytes());
        }
        rows.retain(|s| self.streams[*s].expired_at.is_some());
        rows.sort_by_key(|s| self.streams[*s].expired_at);
        for s in rows {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(self.streams[s].own_bytes());
            self.evicted.push(s);
            self.remove(self.streams[s].place);
        }
    }
}
