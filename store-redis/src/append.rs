//! Group commit: one call for all groups where there is one server, one for each bucket in a
//! cluster, all under way at once.

use std::collections::BTreeMap;
use std::iter;

use futures_util::future::join_all;
use mcp_event_store_core::backend::{Appended, Group, Known};
use mcp_event_store_core::{Clock, Error, RawJson, Result, Settings, StreamRef, Timestamp};
use redis::Value;

use crate::args::Args;
use crate::call::{Call, Redis};
use crate::error::{Effect, malformed};
use crate::extension::{Extension, in_time};
use crate::keys::{Bucket, bucket_of};
use crate::rows::{
    Reader, Row, bytes, double, integer, millis, session_text, terms, time, write_all, write_event,
};
use crate::scripts;

/// What the script answers where it stored a group as this instance knew it.
const EXTENDED: i64 = 0;
/// Why it refused one.
const COMPLETE: i64 = 1;
const SESSION_DELETED: i64 = 2;
const LIMIT_REACHED: i64 = 3;

/// What every script that wakes followers is given after the terms.
pub(crate) struct Waker<'a> {
    pub(crate) channel: &'a str,
    pub(crate) instance: [u8; 8],
}

/// Commits groups.
pub(crate) struct Appender<'a> {
    pub(crate) redis: &'a Redis,
    pub(crate) settings: &'a Settings,
    pub(crate) clock: &'a Clock,
    pub(crate) waker: Waker<'a>,
    /// Streams as the last append of this instance left them.
    pub(crate) known: &'a Known<StreamRef, Row>,
}

/// A group, and what becomes of its stream if that is as this instance knows it.
struct Planned<'a> {
    group: &'a Group,
    extension: Option<Extension>,
}

impl Appender<'_> {
    /// Commits `groups`, each of which is answered by itself.
    pub(crate) async fn append(&self, groups: &[Group]) -> Vec<Result<Appended>> {
        if !self.redis.nodes.is_cluster() {
            return self.call(groups.iter().collect()).await;
        }
        let parts = parts(groups);
        let calls =
            parts.iter().map(|part| self.call(part.iter().map(|at| &groups[*at]).collect()));
        let mut results: Vec<Result<Appended>> =
            groups.iter().map(|_| Err(Error::Closed)).collect();
        for (part, answers) in parts.iter().zip(join_all(calls).await) {
            part.iter().zip(answers).for_each(|(at, answer)| results[*at] = answer);
        }
        results
    }

    /// Commits groups in one call, and remembers what became of them: nothing, if nobody knows.
    async fn call(&self, groups: Vec<&Group>) -> Vec<Result<Appended>> {
        let planned = groups.iter().map(|group| self.plan(group)).collect();
        let rows = self.run(planned).await;
        let rows = rows.unwrap_or_else(|e| groups.iter().map(|_| Err(e.clone())).collect());
        let answer = |(row, group): (&Result<Row>, &&Group)| match row {
            Ok(row) => Ok(appended(row, group.events.len())),
            Err(error) => Err(error.clone()),
        };
        let answers = rows.iter().zip(&groups).map(answer).collect();
        let open = |row: Result<Row>| row.ok().filter(|row| !row.meta.complete);
        let rows = groups.iter().zip(rows).map(|(group, row)| (group.stream.clone(), open(row)));
        self.known.note(rows);
        answers
    }

    fn plan<'a>(&self, group: &'a Group) -> Planned<'a> {
        let known = self.known.get(&group.stream);
        let extension =
            known.and_then(|row| Extension::of(row, &group.events, self.settings, self.clock));
        Planned { group, extension }
    }

    /// Each group's stream as it is now, or why it was refused.
    async fn run(&self, groups: Vec<Planned<'_>>) -> Result<Vec<Result<Row>>> {
        let terms = terms(self.clock, Some(self.settings));
        let answer = self.redis.run(&call(&groups, &self.waker)?, &terms).await?;
        self.rows(groups, answer).map_err(unreadable)
    }

    fn rows(&self, groups: Vec<Planned<'_>>, answer: Value) -> Result<Vec<Result<Row>>> {
        let answers = match answer {
            Value::Array(answers) => answers,
            time => iter::once(time).chain(groups.iter().map(|_| Value::Int(EXTENDED))).collect(),
        };
        let mut answers = answers.into_iter();
        let now = bytes(answers.next().ok_or_else(|| malformed("no time"))?)?;
        let now = Reader::new(&now).time()?;
        if answers.len() != groups.len() {
            return Err(malformed("missing answers"));
        }
        let row = |(group, answer)| {
            self.row(group, answer, now).unwrap_or_else(|error| Err(unreadable(error)))
        };
        Ok(groups.into_iter().zip(answers).map(row).collect())
    }

    /// What the answer to a group says: its stream as it is now, or why it was refused.
    fn row(&self, planned: Planned<'_>, answer: Value, now: Timestamp) -> Result<Result<Row>> {
        let Planned { group, extension } = planned;
        if let Value::BulkString(packed) = answer {
            let mut fields = Reader::new(&packed);
            let key = fields.key()?;
            return Row::read(key, fields.rest(), Some(group.stream.clone())).map(Ok);
        }
        Ok(Err(match integer(&answer)? {
            EXTENDED => {
                let extension = extension.ok_or_else(|| malformed("an unknown stream"))?;
                return Ok(Ok(extension.into_row(&group.events, now)));
            }
            COMPLETE => Error::StreamComplete,
            SESSION_DELETED => Error::SessionDeleted,
            LIMIT_REACHED => {
                let allowed = self.settings.limits.max_streams_per_session.unwrap_or_default();
                Error::LimitReached { limit: "max_streams_per_session", allowed }
            }
            _ => return Err(malformed("an unknown refusal")),
        }))
    }
}

/// The script has run: what was stored must not be sent again.
fn unreadable(error: Error) -> Error {
    Error::outcome_unknown("Redis gave an answer that cannot be read", error)
}

fn appended(row: &Row, events: usize) -> Appended {
    let meta = &row.meta;
    Appended {
        key: meta.key,
        first_seq: meta.last_seq + 1 - events as u64,
        stored_at: meta.newest_at,
        reader_epoch: meta.reader_epoch,
    }
}

/// Groups of one call in a cluster, by their place in the batch.
fn parts(groups: &[Group]) -> Vec<Vec<usize>> {
    let mut by_bucket: BTreeMap<Bucket, Vec<usize>> = BTreeMap::new();
    for (at, group) in groups.iter().enumerate() {
        by_bucket.entry(bucket_of(&group.stream)).or_default().push(at);
    }
    by_bucket.into_values().collect()
}

/// The arguments are those of `scripts/extend.lua`.
fn call(groups: &[Planned<'_>], waker: &Waker<'_>) -> Result<Call> {
    let mut buckets: Vec<_> =
        groups.iter().map(|planned| bucket_of(&planned.group.stream)).collect();
    buckets.sort_unstable();
    buckets.dedup();
    let [from, until] = in_time(groups.iter().filter_map(|planned| planned.extension.as_ref()));
    let events = || groups.iter().flat_map(|planned| &planned.group.events);
    let messages = events().filter_map(|event| event.message.as_ref()).map(RawJson::len);
    let mut args = Args::with_capacity(
        4 + 8 * groups.len() + 4 * events().count(),
        256 + 512 * groups.len() + 64 * events().count() + messages.sum::<usize>(),
    );
    args.push(waker.channel);
    args.push(waker.instance);
    args.write(|bytes| write_all([time(from), time(until)], bytes));
    args.write(|names| write_names(groups, names))?;
    for planned in groups {
        let bucket = buckets.binary_search(&bucket_of(&planned.group.stream)).unwrap_or_default();
        push_group(&mut args, planned, bucket + 1)?;
    }
    Ok(Call { script: &scripts::APPEND, effect: Effect::Once, buckets, args })
}

/// What wakes the groups' followers.
fn write_names(groups: &[Planned<'_>], names: &mut Vec<u8>) -> Result<()> {
    for Planned { group, .. } in groups {
        let session = session_text(group.stream.session.as_ref());
        let name = group.stream.stream.as_str();
        names.extend_from_slice([small(session.len())?, small(name.len())?].as_flattened());
        names.extend_from_slice(session.as_bytes());
        names.extend_from_slice(name.as_bytes());
    }
    Ok(())
}

fn push_group(args: &mut Args, planned: &Planned<'_>, bucket: usize) -> Result<()> {
    let Planned { group, extension } = planned;
    let leases = || group.events.iter().filter_map(|event| event.lease.as_ref());
    let completes = group.events.last().is_some_and(|event| event.completes_stream);
    let counts = [small(bucket)?, small(group.events.len())?, small(leases().count())?];
    args.write(|head| {
        head.extend_from_slice(counts.as_flattened());
        head.extend([u8::from(completes), u8::from(extension.is_some())]);
    });
    args.push(session_text(group.stream.session.as_ref()));
    args.push(group.stream.stream.as_str());
    args.push(group.candidate_key.0);
    if let Some(extension) = extension {
        extension.push_args(args);
    }
    for (at, event) in group.events.iter().enumerate() {
        if let Some(extension) = extension {
            extension.push_event_args(at, args);
        }
        args.write(|field| write_event(event, field));
    }
    for lease in leases() {
        args.write(|packed| {
            packed.extend_from_slice(&double(millis(lease.ttl)));
            packed.extend_from_slice(lease.owner.as_bytes());
        });
    }
    Ok(())
}

fn small(number: usize) -> Result<[u8; 2]> {
    let fits = u16::try_from(number).map(u16::to_be_bytes);
    fits.map_err(|_| Error::invalid("batch", "has more than 65535 parts; append less at once"))
}
