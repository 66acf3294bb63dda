//! Lists of streams over all buckets, in one order.
//!
//! Each bucket gives the first few of its own order. What is before the last of any bucket that
//! has more is in its true place, and is listed; the next page goes on after it.

use std::collections::HashMap;
use std::sync::Arc;

use mcp_event_store_core::backend::{Candidates, Cursor, StreamKey, StreamMeta};
use mcp_event_store_core::{Result, SessionId, Timestamp};
use redis::Value;

use crate::args::Args;
use crate::call::{Call, Redis};
use crate::error::malformed;
use crate::extension::LARGE;
use crate::keys::{Bucket, all_buckets, bucket_of_key, bucket_of_session};
use crate::rows::{Reader, array, bytes, meta_from, text_of, unsigned};
use crate::scripts;

/// Streams that each bucket gives at a time.
const EACH: usize = 16;

/// A stream's place in the order.
type Place = (i64, StreamKey);

/// A page of the streams that a sweep should look at.
pub(crate) async fn candidates(
    redis: &Redis,
    which: &Candidates,
    after: Option<Cursor>,
    limit: usize,
    terms: &[u8],
) -> Result<(Vec<StreamMeta>, Option<Cursor>)> {
    let place =
        |cursor: Cursor| -> Result<Place> { Ok((cursor.at, Reader::new(&cursor.id).key()?)) };
    let after: Option<Place> = after.map(place).transpose()?;
    let (mut places, complete_to) = match which {
        Candidates::OfSession(session) => of_session(redis, session, "0", terms).await?,
        Candidates::TombstonesOf(session) => of_session(redis, session, "1", terms).await?,
        which => everywhere(redis, which, after, terms).await?,
    };
    places.sort_unstable();
    places.retain(|place| after.is_none_or(|after| *place > after));
    let found = places.len();
    places.retain(|place| complete_to.is_none_or(|to| *place <= to));
    places.truncate(limit);
    let next = places
        .last()
        .filter(|_| places.len() < found)
        .map(|(at, key)| Cursor { at: *at, id: Arc::from(key.0) });
    let next = next.or_else(|| complete_to.map(|(at, key)| Cursor { at, id: Arc::from(key.0) }));
    Ok((metas(redis, &places, terms).await?, next))
}

/// The first of each bucket, and up to which place none is missing.
async fn everywhere(
    redis: &Redis,
    which: &Candidates,
    after: Option<Place>,
    terms: &[u8],
) -> Result<(Vec<Place>, Option<Place>)> {
    let until = |at: &Timestamp| at.0.to_string();
    let all = || "+inf".to_owned();
    let (sets, until, min_bytes) = match which {
        Candidates::Idle(at) => ("i", until(at), 0),
        Candidates::Complete(at) => ("c", until(at), 0),
        Candidates::Tombstones(at) => ("d", until(at), 0),
        Candidates::Aged(at) => ("a", until(at), 0),
        Candidates::Large(bytes) if *bytes >= LARGE => ("l", all(), *bytes),
        Candidates::Large(bytes) => ("ic", all(), *bytes),
        _ => ("ic", all(), 0),
    };
    let (from, from_key) =
        after.map_or((String::new(), Vec::new()), |(at, key)| (at.to_string(), key.0.to_vec()));
    let mut args = Args::from([sets, &until, &text_of(min_bytes), &EACH.to_string(), &from]);
    args.push(from_key);
    let names: Vec<&str> = sets.split("").filter(|name| !name.is_empty()).collect();
    let answers =
        redis.run_everywhere(&scripts::LIST, &all_buckets(), &names, &args, terms).await?;
    let (mut places, mut complete_to) = (Vec::new(), None::<Place>);
    for (_, answer) in answers {
        for pair in array(answer)?.as_chunks::<2>().0 {
            let [more, listed] = pair;
            let listed = self::places(&bytes(listed.clone())?)?;
            if unsigned(more)? > 0
                && let Some(last) = listed.last()
            {
                complete_to = Some(complete_to.map_or(*last, |to| to.min(*last)));
            }
            places.extend(listed);
        }
    }
    Ok((places, complete_to))
}

async fn of_session(
    redis: &Redis,
    session: &SessionId,
    tombstones: &str,
    terms: &[u8],
) -> Result<(Vec<Place>, Option<Place>)> {
    let call = Call::new(&scripts::LIST_SESSION, bucket_of_session(session))
        .arg(session.as_str())
        .arg(tombstones);
    let listed = bytes(redis.run(&call, terms).await?)?;
    Ok((places(&listed)?, None))
}

fn places(packed: &[u8]) -> Result<Vec<Place>> {
    let (mut fields, mut places) = (Reader::new(packed), Vec::new());
    while !fields.is_empty() {
        places.push((fields.time()?.0, fields.key()?));
    }
    Ok(places)
}

/// The metadata of `places` that are still streams, in their order.
async fn metas(redis: &Redis, places: &[Place], terms: &[u8]) -> Result<Vec<StreamMeta>> {
    let mut buckets: Vec<Bucket> = places.iter().map(|(_, key)| bucket_of_key(key)).collect();
    buckets.sort_unstable();
    buckets.dedup();
    let mut metas = HashMap::new();
    for buckets in redis.chunks(&buckets) {
        let place = |key: &StreamKey| buckets.binary_search(&bucket_of_key(key)).ok();
        let wanted = places.iter().filter_map(|(_, key)| Some((place(key)?, *key)));
        let wanted: Vec<_> = wanted.collect();
        let mut call = Call::new(&scripts::METAS, 0);
        for (at, key) in &wanted {
            call = call.arg([&packed_index(*at)[..], &key.0].concat());
        }
        call.buckets = buckets.clone();
        let answers = array(redis.run(&call, terms).await?)?;
        if answers.len() != wanted.len() {
            return Err(malformed("missing streams"));
        }
        for ((_, key), answer) in wanted.into_iter().zip(answers) {
            if answer != Value::Nil {
                metas.insert(key, meta_from(key, &bytes(answer)?)?);
            }
        }
    }
    Ok(places.iter().filter_map(|(_, key)| metas.remove(key)).collect())
}

/// The place of a bucket in a script's `KEYS`.
pub(crate) fn packed_index(at: usize) -> [u8; 2] {
    u16::try_from(at + 1).unwrap_or(u16::MAX).to_be_bytes()
}
