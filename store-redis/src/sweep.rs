//! What a sweep removes, frees, sums up and claims.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mcp_event_store_core::backend::{Removal, Remove, Version};
use mcp_event_store_core::{Result, SessionId, Timestamp, Usage};
use redis::Value;

use crate::args::Args;
use crate::call::{Call, Redis};
use crate::error::malformed;
use crate::keys::{Bucket, all_buckets, bucket_of_key, bucket_of_session};
use crate::listing::packed_index;
use crate::rows::{array, double, integer, millis, numbers, string, text_of, time, unsigned};
use crate::scripts;

/// The bucket that knows who sweeps.
const CLAIM_BUCKET: Bucket = 0;

/// Buckets in which this instance removed something that waits to be freed, and what it freed as it
/// removed it.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    /// Guards the set alone; nothing awaits under it.
    buckets: Mutex<BTreeSet<Bucket>>,
    /// Events that nobody was told of yet.
    freed: AtomicU64,
}

impl Dirty {
    pub(crate) fn add(&self, bucket: Bucket) {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).insert(bucket);
    }

    fn take(&self) -> Vec<Bucket> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *buckets).into_iter().collect()
    }

    /// At most `most` of the events that were freed.
    fn take_freed(&self, most: u64) -> u64 {
        let take = |freed: u64| Some(freed.saturating_sub(most));
        let freed = self.freed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        freed.unwrap_or_default().min(most)
    }
}

/// Removals of one script, events that one frees, and streams that one books. While a script runs,
/// the server does nothing else: these take it about as long as a commit of many appends.
const REMOVALS_AT_ONCE: usize = 24;
const FREED_AT_ONCE: u64 = 96;
const BOOKED_AT_ONCE: u64 = 64;

/// Applies the removals that still fit; answers the events that each took.
pub(crate) async fn remove(
    redis: &Redis,
    removals: &[Removal],
    terms: &[u8],
    dirty: &Dirty,
) -> Result<Vec<Option<u64>>> {
    let mut taken = Vec::with_capacity(removals.len());
    for removals in removals.chunks(REMOVALS_AT_ONCE) {
        taken.extend(remove_at_once(redis, removals, terms, dirty).await?);
    }
    Ok(taken)
}

async fn remove_at_once(
    redis: &Redis,
    removals: &[Removal],
    terms: &[u8],
    dirty: &Dirty,
) -> Result<Vec<Option<u64>>> {
    let mut buckets: Vec<_> = removals.iter().map(|r| bucket_of_key(&r.key)).collect();
    buckets.sort_unstable();
    buckets.dedup();
    let mut taken = vec![None; removals.len()];
    for buckets in redis.chunks(&buckets) {
        let place = |r: &Removal| buckets.binary_search(&bucket_of_key(&r.key)).ok();
        let wanted = removals.iter().enumerate().filter_map(|(at, r)| Some((at, r, place(r)?)));
        let wanted: Vec<_> = wanted.collect();
        let mut call = Call::new(&scripts::REMOVE, 0);
        for (_, removal, bucket) in &wanted {
            call = call.arg(packed(removal, *bucket));
        }
        call.buckets = buckets.clone();
        let answers = array(redis.run(&call, terms).await?)?;
        let Some((freed, answers)) = answers.split_last() else {
            return Err(malformed("no removals"));
        };
        if answers.len() != wanted.len() {
            return Err(malformed("missing removals"));
        }
        let freed = unsigned(freed)?;
        dirty.freed.fetch_add(freed, Ordering::Relaxed);
        let mut waiting = 0;
        for ((at, ..), answer) in wanted.iter().zip(answers) {
            taken[*at] = u64::try_from(integer(answer)?).ok();
            waiting += taken[*at].unwrap_or_default();
        }
        if waiting > freed {
            for (_, removal, _) in &wanted {
                dirty.add(bucket_of_key(&removal.key));
            }
        }
    }
    Ok(taken)
}

/// A removal as `scripts/remove.lua` takes it.
fn packed(removal: &Removal, bucket: usize) -> Vec<u8> {
    let none = Version { last_seq: 0, active_at: Timestamp(0) };
    let (what, at, unchanged) = match removal.what {
        Remove::Prefix { through } => (0, double(through), none),
        Remove::Whole { at, unchanged } => (1, time(at), unchanged),
        Remove::Tombstone { unchanged } => (2, double(0), unchanged),
    };
    let mut packed = packed_index(bucket).to_vec();
    packed.push(what);
    packed.extend(removal.key.0);
    packed.extend(at);
    packed.extend(double(unchanged.last_seq));
    packed.extend(time(unchanged.active_at));
    packed
}

/// Those of `buckets` that have work of a kind: see `scripts/pending.lua`.
pub(crate) async fn pending(
    redis: &Redis,
    buckets: &[Bucket],
    kind: &str,
    terms: &[u8],
) -> Result<Vec<Bucket>> {
    let args = Args::from([kind]);
    let names: &[&str] = if kind == "g" { &["g", "y", "t"] } else { &["r", "k"] };
    named(redis.run_everywhere(&scripts::PENDING, buckets, names, &args, terms).await?)
}

/// Frees at most `max_events` removed events; answers how many, or how many were freed as they were
/// removed. Looks first where this instance removed something: most often a deletion has just been
/// there.
pub(crate) async fn reclaim(
    redis: &Redis,
    max_events: u64,
    terms: &[u8],
    dirty: &Dirty,
) -> Result<u64> {
    let freed = reclaim_in(redis, &dirty.take(), max_events, terms, dirty).await?;
    if freed > 0 {
        return Ok(freed);
    }
    let freed = dirty.take_freed(max_events);
    if freed > 0 {
        return Ok(freed);
    }
    let buckets = pending(redis, &all_buckets(), "g", terms).await?;
    reclaim_in(redis, &buckets, max_events, terms, dirty).await
}

async fn reclaim_in(
    redis: &Redis,
    buckets: &[Bucket],
    max_events: u64,
    terms: &[u8],
    dirty: &Dirty,
) -> Result<u64> {
    let mut freed = 0;
    for buckets in redis.chunks(buckets) {
        let mut more = true;
        while more && freed < max_events {
            let most = FREED_AT_ONCE.min(max_events - freed);
            let mut call = Call::new(&scripts::RECLAIM, 0).number(most);
            call.buckets.clone_from(&buckets);
            let [now_freed, left] = numbers(redis.run(&call, terms).await?)?;
            freed += now_freed;
            more = left > 0;
            if now_freed == 0 {
                break;
            }
        }
        if more {
            for bucket in buckets {
                dirty.add(bucket);
            }
        }
    }
    Ok(freed)
}

/// Books what was appended and removed since it was last booked.
async fn book(redis: &Redis, terms: &[u8]) -> Result<()> {
    let args = Args::from([text_of(BOOKED_AT_ONCE)]);
    let mut buckets = all_buckets();
    while !buckets.is_empty() {
        let answers = redis.run_everywhere(&scripts::BOOK, &buckets, &["u"], &args, terms).await?;
        buckets = named(answers)?;
    }
    Ok(())
}

/// The buckets that answers name by their index in `KEYS`.
fn named(answers: Vec<(Vec<Bucket>, Value)>) -> Result<Vec<Bucket>> {
    let mut found = Vec::new();
    for (buckets, answer) in answers {
        for at in array(answer)? {
            let at = usize::try_from(unsigned(&at)?).unwrap_or(usize::MAX);
            found.extend(buckets.get(at.wrapping_sub(1)));
        }
    }
    Ok(found)
}

/// Sessions whose streams hold at least `min_bytes`, by bucket and then by name.
pub(crate) async fn large_sessions(
    redis: &Redis,
    min_bytes: u64,
    after: Option<SessionId>,
    limit: usize,
    terms: &[u8],
) -> Result<Vec<(SessionId, u64)>> {
    book(redis, terms).await?;
    let args = Args::from([text_of(min_bytes)]);
    let buckets = all_buckets();
    let answers =
        redis.run_everywhere(&scripts::LARGE_SESSIONS, &buckets, &["z"], &args, terms).await?;
    let mut sessions = Vec::new();
    for (_, answer) in answers {
        let mut parts = array(answer)?.into_iter();
        while let (Some(session), Some(bytes)) = (parts.next(), parts.next()) {
            sessions.push((SessionId::new(string(session)?)?, unsigned(&bytes)?));
        }
    }
    let place = |session: &SessionId| (bucket_of_session(session), session.clone());
    sessions.sort_unstable_by_key(|(session, _)| place(session));
    let after = after.as_ref().map(place);
    sessions.retain(|(session, _)| after.as_ref().is_none_or(|after| place(session) > *after));
    sessions.truncate(limit);
    Ok(sessions)
}

/// What is stored.
pub(crate) async fn usage(redis: &Redis, terms: &[u8]) -> Result<Usage> {
    book(redis, terms).await?;
    let mut usage = Usage::default();
    let (buckets, names) = (all_buckets(), ["r", "i", "c", "d", "t"]);
    let none = Args::default();
    for (_, sums) in redis.run_everywhere(&scripts::USAGE, &buckets, &names, &none, terms).await? {
        let [sessions, streams, tombstones, events, bytes] = numbers(sums)?;
        usage.sessions += sessions;
        usage.streams += streams;
        usage.tombstones += tombstones;
        usage.events += events;
        usage.bytes += bytes;
    }
    Ok(usage)
}

/// Claims background sweeping; a `ttl` of zero gives it back.
pub(crate) async fn claim(
    redis: &Redis,
    instance: &str,
    ttl: Duration,
    terms: &[u8],
) -> Result<bool> {
    let call = Call::new(&scripts::CLAIM_SWEEP, CLAIM_BUCKET).arg(instance).number(millis(ttl));
    Ok(unsigned(&redis.run(&call, terms).await?)? > 0)
}
