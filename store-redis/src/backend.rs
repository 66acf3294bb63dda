//! [`RedisBackend`]: the engine's operations, each a script.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use mcp_event_store_core::backend::{
    Appended, Backend, Candidates, Cursor, Found, Group, Known, Page, PageLimit, Removal,
    StreamKey, StreamMeta, Wakeup,
};
use mcp_event_store_core::{
    Clock, Deleted, Durability, Error, Lease, LeaseState, Result, SessionId, SessionRecord,
    Settings, StreamRef, Timestamp, Usage,
};

use crate::append::{Appender, Waker};
use crate::call::{Call, Redis};
use crate::config::RedisOptions;
use crate::error::NO_RIGHTS;
use crate::keys::{bucket_of, bucket_of_session, channel, place};
use crate::rows::{Row, integer, string, terms};
use crate::sweep::Dirty;
use crate::target::Target;
use crate::{leases, listing, read, scripts, sessions, sweep, wakeups};

/// The version of what is stored. A change of any key or value raises it.
const VERSION: &str = "1";

/// Streams in Redis.
pub struct RedisBackend {
    redis: Arc<Redis>,
    clock: Clock,
    /// Tells this instance's messages from those of others.
    instance: [u8; 8],
    channel: String,
    dirty: Dirty,
    /// Guards nothing else; nothing awaits under it.
    unconfirmed: Mutex<Unconfirmed>,
    /// Streams as the last append of this instance left them.
    known: Known<StreamRef, Row>,
}

/// Streams with events that too few replicas may have.
#[derive(Default)]
struct Unconfirmed {
    /// Each with the number of the batch that made it so.
    streams: HashMap<StreamRef, u64>,
    batches: u64,
}

/// Leaves the servers out, whose URL may hold a password.
impl std::fmt::Debug for RedisBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisBackend").field("prefix", &self.redis.prefix).finish_non_exhaustive()
    }
}

impl RedisBackend {
    /// Connects to the servers at `url`.
    ///
    /// # Errors
    /// `InvalidInput` for a URL or an option that cannot be, and for `committed` durability that a
    /// server does not keep, or keys of a newer version; `Unavailable` if no server can be reached; `Backend` if it refuses
    /// the user or is too old.
    pub async fn open(
        url: &str,
        options: &RedisOptions,
        durability: Durability,
        clock: Clock,
    ) -> Result<Self> {
        if options.wait_replicas.is_some() && options.wait_timeout >= options.response_timeout {
            let reason = "must be shorter than response_timeout";
            return Err(Error::invalid("redis.wait_timeout", reason));
        }
        let mut instance = [0; 8];
        getrandom::fill(&mut instance)
            .map_err(|e| Error::backend("the operating system gives no random numbers", e))?;
        let redis = Redis::open(Target::parse(url)?, options, durability).await?;
        let channel = channel(&redis.prefix);
        let probe = Call::new(&scripts::PROBE, 0).arg(&channel).arg(VERSION);
        let version = redis.run(&probe, &terms(&clock, None)).await.map_err(lack_of_rights)?;
        check_version(&string(version)?)?;
        Ok(Self {
            redis: Arc::new(redis),
            clock,
            instance,
            channel,
            dirty: Dirty::default(),
            unconfirmed: Mutex::default(),
            known: Known::default(),
        })
    }

    fn terms(&self, settings: &Settings) -> Vec<u8> {
        terms(&self.clock, Some(settings))
    }

    /// For scripts that need no settings.
    fn time_only(&self) -> Vec<u8> {
        terms(&self.clock, None)
    }

    fn waker(&self) -> Waker<'_> {
        Waker { channel: &self.channel, instance: self.instance }
    }

    /// Remembers which of `groups` replicas may lack, so that looking them up again does not take
    /// the master's word for it.
    fn note_unconfirmed(&self, groups: &[Group], results: &[Result<Appended>]) {
        if !self.redis.waits() {
            return;
        }
        let mut unconfirmed = self.unconfirmed();
        unconfirmed.batches += 1;
        let batch = unconfirmed.batches;
        for (group, result) in groups.iter().zip(results) {
            if matches!(result, Err(Error::OutcomeUnknown { .. })) {
                unconfirmed.streams.insert(group.stream.clone(), batch);
            }
        }
    }

    /// Waits for replicas to have what was appended to `stream`, if that is open. They then have
    /// whatever its server was given until now, but not what was added meanwhile.
    async fn confirm(&self, stream: &StreamRef) -> Result<()> {
        let until = {
            let unconfirmed = self.unconfirmed();
            if !unconfirmed.streams.contains_key(stream) {
                return Ok(());
            }
            unconfirmed.batches
        };
        let bucket = bucket_of(stream);
        self.redis.confirm(bucket, &self.time_only()).await?;
        let all = !self.redis.nodes.is_cluster();
        let is_open =
            |other: &StreamRef, batch: u64| batch > until || !(all || bucket_of(other) == bucket);
        self.unconfirmed().streams.retain(|other, batch| is_open(other, *batch));
        Ok(())
    }

    fn unconfirmed(&self) -> MutexGuard<'_, Unconfirmed> {
        self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_version(version: &str) -> Result<()> {
    if version == VERSION {
        return Ok(());
    }
    let reason = format!(
        "has keys of version {version}, and this program knows {VERSION}: use the newer program, or \
         choose another prefix"
    );
    Err(Error::invalid("redis.key_prefix", reason))
}

/// What it means that the probe failed. Scripts report a lack of rights by a code that says nothing,
/// and the probe does nothing that could fail for another reason.
fn lack_of_rights(error: Error) -> Error {
    match error {
        Error::Backend { cause, .. } => Error::Backend { message: NO_RIGHTS.into(), cause },
        other => other,
    }
}

#[async_trait]
impl Backend for RedisBackend {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn writers(&self) -> usize {
        self.redis.nodes.writers()
    }

    fn place_key(&self, stream: &StreamRef, key: StreamKey) -> StreamKey {
        place(key, bucket_of(stream))
    }

    async fn append(&self, groups: &[Group], settings: &Settings) -> Result<Vec<Result<Appended>>> {
        let (redis, clock, waker) = (&self.redis, &self.clock, self.waker());
        let appender = Appender { redis, settings, clock, waker, known: &self.known };
        let results = appender.append(groups).await;
        self.note_unconfirmed(groups, &results);
        Ok(results)
    }

    async fn find(&self, stream: &StreamRef) -> Result<Option<Found>> {
        self.confirm(stream).await?;
        read::find(&self.redis, stream, &self.time_only()).await
    }

    async fn read(&self, key: &StreamKey, after: u64, limit: PageLimit) -> Result<Option<Page>> {
        read::read(&self.redis, key, after, limit, &self.time_only()).await
    }

    async fn renew(
        &self,
        stream: &StreamRef,
        lease: &Lease,
        settings: &Settings,
    ) -> Result<LeaseState> {
        leases::renew(&self.redis, stream, lease, &self.terms(settings)).await
    }

    async fn take_over(&self, key: &StreamKey) -> Result<Option<u64>> {
        leases::take_over(&self.redis, key, &self.time_only(), &self.waker()).await
    }

    async fn delete_stream(&self, stream: &StreamRef) -> Result<Deleted> {
        self.dirty.add(bucket_of(stream));
        sessions::delete_stream(&self.redis, stream, &self.time_only(), &self.waker()).await
    }

    async fn delete_session(&self, session: &SessionId) -> Result<Deleted> {
        self.dirty.add(bucket_of_session(session));
        sessions::delete_session(&self.redis, session, &self.time_only(), &self.waker()).await
    }

    async fn load_session(
        &self,
        session: &SessionId,
        settings: &Settings,
    ) -> Result<Option<SessionRecord>> {
        sessions::use_record(&self.redis, session, &self.terms(settings)).await
    }

    async fn store_session(
        &self,
        session: &SessionId,
        record: &SessionRecord,
        settings: &Settings,
    ) -> Result<()> {
        sessions::store_record(&self.redis, session, record, &self.terms(settings)).await
    }

    async fn touch_session(&self, session: &SessionId, settings: &Settings) -> Result<bool> {
        Ok(self.load_session(session, settings).await?.is_some())
    }

    async fn candidates(
        &self,
        which: &Candidates,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<(Vec<StreamMeta>, Option<Cursor>)> {
        listing::candidates(&self.redis, which, after, limit, &self.time_only()).await
    }

    async fn large_sessions(
        &self,
        min_bytes: u64,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<(SessionId, u64)>> {
        sweep::large_sessions(&self.redis, min_bytes, after, limit, &self.time_only()).await
    }

    async fn remove(&self, removals: &[Removal]) -> Result<Vec<Option<u64>>> {
        sweep::remove(&self.redis, removals, &self.time_only(), &self.dirty).await
    }

    async fn reclaim(&self, max_events: u64) -> Result<u64> {
        sweep::reclaim(&self.redis, max_events, &self.time_only(), &self.dirty).await
    }

    async fn forget_sessions(&self, settings: &Settings, limit: usize) -> Result<u64> {
        sessions::forget(&self.redis, &self.terms(settings), limit).await
    }

    async fn claim_sweep(&self, instance: &str, ttl: Duration) -> Result<bool> {
        if !ttl.is_zero() {
            // Now and then is often enough.
            self.redis.nodes.check_again().await?;
        }
        sweep::claim(&self.redis, instance, ttl, &self.time_only()).await
    }

    async fn usage(&self) -> Result<Usage> {
        sweep::usage(&self.redis, &self.time_only()).await
    }

    async fn now(&self) -> Result<Timestamp> {
        let now = self.redis.run(&Call::new(&scripts::NOW, 0), &self.time_only()).await?;
        Ok(Timestamp(integer(&now)?))
    }

    fn wakeups(&self) -> BoxStream<'static, Wakeup> {
        wakeups::watch(self.redis.clone(), self.instance).boxed()
    }

    async fn ping(&self) -> Result<()> {
        self.now().await.map(drop)
    }

    async fn close(&self) -> Result<()> {
        self.redis.nodes.close();
        Ok(())
    }
}
