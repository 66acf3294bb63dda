//! The decisions that a commit or a read takes from a stream's metadata, the time and the
//! settings: pure functions, so that all backends decide alike.

use super::meta::{HeldLease, StreamMeta};
use super::types::{PageEvent, SessionState};
use crate::error::{Error, Result};
use crate::event::{Lease, LeaseState, Timestamp};
use crate::retention::{Limits, Retention};

/// What an append does to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendPlan {
    /// There is no stream of that name: create it with the candidate key.
    Create,
    /// What is left of an older stream is forgotten: delete it, then create.
    Replace,
    /// Append.
    Extend,
    /// The stream had expired: remove all its events first, take the tombstone away, append. It
    /// counts as a new stream of its session.
    Revive,
}

impl StreamMeta {
    /// When the stream expires as a whole if nothing else happens, or when it did.
    #[must_use]
    pub fn expires_at(&self, retention: &Retention) -> Option<Timestamp> {
        if self.expired_at.is_some() {
            return self.expired_at;
        }
        if self.complete {
            return Some(self.active_at.plus(retention.completed_stream_ttl?));
        }
        let idle = self.active_at.plus(retention.stream_ttl?);
        Some(self.lease.as_ref().map_or(idle, |lease| idle.max(lease.until)))
    }

    /// Whether the stream has expired as a whole (T1, T5, T6). A tombstone has, also before its
    /// time on a clock that was set back: an append to it has to revive it.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp, retention: &Retention) -> bool {
        self.is_tombstone() || self.expires_at(retention).is_some_and(|at| at <= now)
    }

    /// Whether even its tombstone is over (T9).
    #[must_use]
    pub fn is_forgotten(&self, now: Timestamp, retention: &Retention) -> bool {
        self.expires_at(retention).is_some_and(|at| at.plus(retention.tombstone_ttl) <= now)
    }

    /// Whether the stream takes more events and has not expired.
    #[must_use]
    pub fn is_live(&self, now: Timestamp, retention: &Retention) -> bool {
        !self.complete && !self.is_expired(now, retention)
    }

    /// Whether retention keeps `event` of this stream (T2, T3, T4), given that the stream has not
    /// expired. If an event is kept, so are all after it.
    #[must_use]
    pub fn keeps(&self, event: &PageEvent, now: Timestamp, retention: &Retention) -> bool {
        let young = retention.event_ttl.is_none_or(|ttl| event.stored_at.plus(ttl) > now);
        let newer_events = self.last_seq - event.seq;
        let among_newest = retention.max_events_per_stream.is_none_or(|max| newer_events < max);
        let message_bytes = event.message.as_ref().map_or(0, |m| m.len() as u64);
        let before = event.running_bytes - super::event_bytes(message_bytes);
        let fits = newer_events == 0
            || retention.max_bytes_per_stream.is_none_or(|max| self.total_bytes - before <= max);
        young && among_newest && fits
    }

    /// What an append at `now` does to `stream`, if its name is taken.
    ///
    /// # Errors
    /// `StreamComplete` while a complete stream or its tombstone is remembered.
    pub fn plan_append(
        stream: Option<&Self>,
        now: Timestamp,
        retention: &Retention,
    ) -> Result<AppendPlan> {
        let Some(meta) = stream else { return Ok(AppendPlan::Create) };
        if meta.is_forgotten(now, retention) {
            Ok(AppendPlan::Replace)
        } else if meta.complete {
            Err(Error::StreamComplete)
        } else if meta.is_expired(now, retention) {
            Ok(AppendPlan::Revive)
        } else {
            Ok(AppendPlan::Extend)
        }
    }

    /// Applies a revival: every event is removed and the tombstone taken away.
    pub fn revive(&mut self) {
        if self.kept_events() > 0 {
            self.remove_all();
        }
        self.expired_at = None;
        self.lease = None;
    }

    /// Extends or takes the lease, if that is possible, and says who holds it.
    pub fn plan_renew(
        &mut self,
        lease: &Lease,
        now: Timestamp,
        retention: &Retention,
    ) -> LeaseState {
        if self.is_expired(now, retention) {
            return LeaseState::Gone;
        }
        if self.complete {
            return LeaseState::Complete;
        }
        match &self.lease {
            Some(held) if !self.lease_is_free_for(&lease.owner, now) => {
                LeaseState::Other { remaining: now.until(held.until) }
            }
            _ => {
                let until = now.plus(lease.ttl);
                self.lease = Some(HeldLease { owner: lease.owner.clone(), until });
                self.active_at = self.active_at.max(now);
                LeaseState::Held
            }
        }
    }
}

impl SessionState {
    /// Whether a stream may be created in this session.
    ///
    /// # Errors
    /// `SessionDeleted` while its deletion is remembered; `LimitReached` for its open streams.
    pub fn check_new_stream(
        &self,
        now: Timestamp,
        retention: &Retention,
        limits: &Limits,
    ) -> Result<()> {
        self.check_not_deleted(now, retention)?;
        match limits.max_streams_per_session {
            Some(allowed) if self.open_streams >= allowed => {
                Err(Error::LimitReached { limit: "max_streams_per_session", allowed })
            }
            _ => Ok(()),
        }
    }

    /// Whether anything may be stored under the session's name.
    ///
    /// # Errors
    /// `SessionDeleted` while its deletion is remembered.
    pub fn check_not_deleted(&self, now: Timestamp, retention: &Retention) -> Result<()> {
        match self.deleted_at {
            Some(at) if at.plus(retention.tombstone_ttl) > now => Err(Error::SessionDeleted),
            _ => Ok(()),
        }
    }
}
