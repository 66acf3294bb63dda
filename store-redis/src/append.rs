//! Group commit: one call for all groups where there is one server, one for each bucket in a
//! cluster, all under way at once.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use mcp_event_store_core::backend::{Appended, Group};
use mcp_event_store_core::{Error, Result, Settings};
use redis::Value;

use crate::call::{Call, Redis};
use crate::error::{Effect, malformed};
use crate::keys::{Bucket, bucket_of};
use crate::rows::{Reader, array, double, event_to_bytes, integer, millis, session_text};
use crate::scripts;

/// Why a script refused a group.
const COMPLETE: i64 = 1;
const SESSION_DELETED: i64 = 2;
const LIMIT_REACHED: i64 = 3;

/// Groups of one call, by their place in the batch.
type Part = Vec<usize>;

/// What every append is given after the terms.
pub(crate) struct Waker<'a> {
    pub(crate) channel: &'a str,
    pub(crate) instance: [u8; 8],
}

/// Commits `groups`, each of which is answered by itself.
pub(crate) async fn append(
    redis: &Redis,
    groups: &[Group],
    settings: &Settings,
    terms: &[u8],
    waker: &Waker<'_>,
) -> Result<Vec<Result<Appended>>> {
    let parts = parts(redis, groups);
    let calls = parts.iter().map(|part| async {
        let call = call(groups, part, waker)?;
        let answers = array(redis.run(&call, terms).await?)?;
        if answers.len() == part.len() { Ok(answers) } else { Err(malformed("missing answers")) }
    });
    let mut results: Vec<Result<Appended>> = groups.iter().map(|_| Err(Error::Closed)).collect();
    for (part, answers) in parts.iter().zip(join_all(calls).await) {
        match answers {
            Ok(answers) => {
                for (at, answer) in part.iter().zip(answers) {
                    results[*at] = appended(&answer, settings);
                }
            }
            Err(error) => part.iter().for_each(|at| results[*at] = Err(error.clone())),
        }
    }
    Ok(results)
}

fn parts(redis: &Redis, groups: &[Group]) -> Vec<Part> {
    if !redis.nodes.is_cluster() {
        return vec![(0..groups.len()).collect()];
    }
    let mut by_bucket: BTreeMap<Bucket, Part> = BTreeMap::new();
    for (at, group) in groups.iter().enumerate() {
        by_bucket.entry(bucket_of(&group.stream)).or_default().push(at);
    }
    by_bucket.into_values().collect()
}

fn call(groups: &[Group], part: &[usize], waker: &Waker<'_>) -> Result<Call> {
    let mut buckets: Vec<_> = part.iter().map(|at| bucket_of(&groups[*at].stream)).collect();
    buckets.sort_unstable();
    buckets.dedup();
    let mut args = vec![waker.channel.as_bytes().to_vec(), waker.instance.to_vec()];
    for group in part.iter().map(|at| &groups[*at]) {
        let bucket = buckets.binary_search(&bucket_of(&group.stream)).unwrap_or_default() + 1;
        push_group(&mut args, group, bucket)?;
    }
    Ok(Call { script: &scripts::APPEND, effect: Effect::Once, buckets, args })
}

/// The arguments of one group: see `scripts/append.lua`.
fn push_group(args: &mut Vec<Vec<u8>>, group: &Group, bucket: usize) -> Result<()> {
    let session = session_text(group.stream.session.as_ref());
    let name = group.stream.stream.as_str();
    let leases = leases(group);
    let completes = group.events.last().is_some_and(|event| event.completes_stream);
    let mut head = Vec::with_capacity(27 + session.len() + name.len());
    head.extend(small(bucket)?);
    head.extend(small(group.events.len())?);
    head.push(u8::from(completes));
    head.extend(small(leases.len())?);
    head.extend(group.candidate_key.0);
    head.extend(small(session.len())?);
    head.extend(small(name.len())?);
    head.extend(session.as_bytes());
    head.extend(name.as_bytes());
    args.push(head);
    args.extend(group.events.iter().map(event_to_bytes));
    args.extend(leases);
    Ok(())
}

fn small(number: usize) -> Result<[u8; 2]> {
    let fits = u16::try_from(number).map(u16::to_be_bytes);
    fits.map_err(|_| Error::invalid("batch", "has more than 65535 parts; append less at once"))
}

/// The leases that a group's events take, each as ttl and owner.
fn leases(group: &Group) -> Vec<Vec<u8>> {
    let leases = group.events.iter().filter_map(|event| event.lease.as_ref());
    let packed = leases.map(|lease| {
        let mut packed = double(millis(lease.ttl)).to_vec();
        packed.extend(lease.owner.as_bytes());
        packed
    });
    packed.collect()
}

/// What the script answered for one group.
fn appended(answer: &Value, settings: &Settings) -> Result<Appended> {
    let Value::BulkString(packed) = answer else {
        return Err(match integer(answer)? {
            COMPLETE => Error::StreamComplete,
            SESSION_DELETED => Error::SessionDeleted,
            LIMIT_REACHED => {
                let allowed = settings.limits.max_streams_per_session.unwrap_or_default();
                Error::LimitReached { limit: "max_streams_per_session", allowed }
            }
            _ => malformed("an unknown refusal"),
        });
    };
    let mut fields = Reader::new(packed);
    Ok(Appended {
        key: fields.key()?,
        first_seq: fields.count()?,
        stored_at: fields.time()?,
        reader_epoch: fields.count()?,
    })
}
