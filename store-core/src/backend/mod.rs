//! What a database must do for the engine: commit groups, read pages, find, remove.
//!
//! Everything subtle (event IDs, verdicts, paging, following, retention at read, what a sweep
//! removes) is in the engine; a backend is storage with a handful of atomic operations. The
//! decisions that must be made inside a commit are pure functions on [`StreamMeta`] in
//! [`policy`](self), so that embedded backends share them and SQL or scripts can copy them.

mod known;
mod meta;
mod policy;
mod types;

use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::error::Result;
use crate::event::{Lease, LeaseState, SessionRecord, Timestamp};
use crate::id::{SessionId, StreamRef};
use crate::retention::Settings;
use crate::store::{Deleted, Usage};

pub use known::Known;
pub use meta::{HeldLease, Stamp, StreamMeta, Version, event_bytes};
pub use policy::AppendPlan;
pub use types::{
    Appended, Candidates, Cursor, Found, Group, Page, PageEvent, PageLimit, PendingEvent, Removal,
    Remove, SessionState, StreamKey, Tag, Wakeup,
};

/// A database, as the engine sees it.
///
/// # To ensure correctness
///
/// - Every method is atomic: its effect is there whole or not at all, also after a crash.
/// - A read sees one snapshot, in which every commit that returned is visible.
/// - Time is the database server's clock where there is one, else the machine's, plus the offset
///   of the [`Clock`](crate::Clock).
/// - Sequences come from the stream's own row, under a lock that lasts until the commit, so that
///   a reader never sees a later event before an earlier one.
/// - Creating a stream locks its session's row before any stream's; streams are locked in one
///   order everywhere.
/// - Drivers' errors are classified by code. `Unavailable` means that nothing was stored;
///   `OutcomeUnknown` is for a commit whose answer was lost.
/// - The engine never cancels a write. A read may be dropped at any point and leaves nothing open.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// A short name for metrics and errors, such as `sqlite`.
    fn name(&self) -> &'static str;

    /// How many batches are worth having in flight; streams are hashed onto as many writers. With
    /// one, a batch and a step of a sweep are never in flight at once.
    fn writers(&self) -> usize;

    /// Places a freshly drawn key, for databases in which a key's first bytes choose a node.
    fn place_key(&self, stream: &StreamRef, key: StreamKey) -> StreamKey;

    /// Commits `groups` in one transaction, durably, and answers each.
    ///
    /// Each group is a different stream and is stored whole or refused whole; a refused group
    /// fails no other. [`StreamMeta::plan_append`] says what to do with each, and
    /// [`SessionState::check_new_stream`] whether a stream may be created. The groups' order is
    /// free.
    ///
    /// # Errors
    /// `Unavailable` and the like: nothing of any group is stored. `OutcomeUnknown`: all of it or
    /// nothing. A database whose groups lie on several servers answers a group with either.
    async fn append(&self, groups: &[Group], settings: &Settings) -> Result<Vec<Result<Appended>>>;

    /// A stream by its name, expired or not; `None` only if there is no row of it.
    async fn find(&self, stream: &StreamRef) -> Result<Option<Found>>;

    /// Events of a stream after `after`, at least one if there is one, then up to `limit`.
    async fn read(&self, key: &StreamKey, after: u64, limit: PageLimit) -> Result<Option<Page>>;

    /// How much of a stream is read at a time, once a replay's first page has told how it stands.
    fn later_pages(&self) -> PageLimit {
        PageLimit::PAGE
    }

    /// Applies [`StreamMeta::plan_renew`].
    async fn renew(
        &self,
        stream: &StreamRef,
        lease: &Lease,
        settings: &Settings,
    ) -> Result<LeaseState>;

    /// Raises the stream's reader epoch and returns the new one; `None` if there is no such key.
    async fn take_over(&self, key: &StreamKey) -> Result<Option<u64>>;

    /// Deletes a stream: its name is free at once, its rows may be freed by
    /// [`reclaim`](Self::reclaim).
    async fn delete_stream(&self, stream: &StreamRef) -> Result<Deleted>;

    /// Deletes a session's record and streams, and marks it as deleted.
    async fn delete_session(&self, session: &SessionId) -> Result<Deleted>;

    /// The session's record if it is neither absent nor unused for `session_ttl`; renews it.
    async fn load_session(
        &self,
        session: &SessionId,
        settings: &Settings,
    ) -> Result<Option<SessionRecord>>;

    /// Stores or replaces a session's record.
    ///
    /// # Errors
    /// `SessionDeleted` while the session's mark is remembered.
    async fn store_session(
        &self,
        session: &SessionId,
        record: &SessionRecord,
        settings: &Settings,
    ) -> Result<()>;

    /// Renews a session's record; `false` if there is none or it has expired.
    async fn touch_session(&self, session: &SessionId, settings: &Settings) -> Result<bool>;

    /// A page of the streams that a sweep should look at. It holds every stream that fits, and
    /// may hold others: the engine looks again. `None` as the cursor starts, and ends.
    async fn candidates(
        &self,
        which: &Candidates,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<(Vec<StreamMeta>, Option<Cursor>)>;

    /// Sessions whose streams hold at least `min_bytes`, with their bytes, after `after` in the
    /// order of the backend's choice.
    async fn large_sessions(
        &self,
        min_bytes: u64,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<(SessionId, u64)>>;

    /// Removes what still is as the sweep saw it, each removal of another stream; answers how many
    /// events each took, `None` where it did not apply any more.
    async fn remove(&self, removals: &[Removal]) -> Result<Vec<Option<u64>>>;

    /// Frees at most `max_events` rows of removed events; answers how many, 0 when none is left.
    async fn reclaim(&self, max_events: u64) -> Result<u64>;

    /// Forgets at most `limit` expired records, overdue deletion marks and empty sessions;
    /// answers how many.
    async fn forget_sessions(&self, settings: &Settings, limit: usize) -> Result<u64>;

    /// Claims background sweeping for `instance` and `ttl`, unless another's claim lasts. A `ttl`
    /// of zero gives the claim back.
    async fn claim_sweep(&self, instance: &str, ttl: Duration) -> Result<bool>;

    /// What is stored.
    async fn usage(&self) -> Result<Usage>;

    /// The time that everything here is measured by.
    async fn now(&self) -> Result<Timestamp>;

    /// Tells when streams may have changed, through this handle or others. It survives lost
    /// connections, after which it says [`Wakeup::Any`]. Dropping it stops the watching.
    fn wakeups(&self) -> BoxStream<'static, Wakeup>;

    /// Whether the database answers.
    async fn ping(&self) -> Result<()>;

    /// Gives back connections, threads and locks.
    async fn close(&self) -> Result<()>;
}
