//! The second half of T7: the books agree with what is stored, to the byte.

use std::collections::BTreeMap;
use std::time::Duration;

use mcp_event_store_core::{EVENT_OVERHEAD_BYTES, STREAM_OVERHEAD_BYTES, StreamRef, Usage};

use crate::checks::caps::removed_by_bytes;
use crate::context::{Ctx, keeping};
use crate::failure::{Outcome, same};
use crate::instance::Instance;
use crate::tools::{lone, padded, random, session, stream};

/// What a store ought to hold.
#[derive(Default)]
struct Books {
    /// The sizes of each stream's kept messages.
    streams: BTreeMap<StreamRef, Vec<usize>>,
    tombstones: Vec<StreamRef>,
}

impl Books {
    fn usage(&self) -> Usage {
        let kept = || self.streams.values().flatten();
        let names = self.streams.keys().chain(&self.tombstones);
        let overhead = names.map(|name| name.name_bytes() + STREAM_OVERHEAD_BYTES);
        Usage {
            sessions: 0,
            streams: self.streams.len() as u64,
            tombstones: self.tombstones.len() as u64,
            events: kept().count() as u64,
            bytes: kept().map(|size| *size as u64 + EVENT_OVERHEAD_BYTES).chain(overhead).sum(),
        }
    }

    #[track_caller]
    fn agree_with(&self, what: &str, usage: Usage) -> Outcome {
        same(format!("the usage {what}"), &self.usage(), &usage)
    }

    async fn append(&mut self, store: &Instance, to: &StreamRef, count: usize) -> Outcome {
        for n in 0..count {
            let size = 10 + usize::try_from(random(500)).unwrap();
            store.try_append(to, padded(n, size)).await??;
            self.streams.entry(to.clone()).or_default().push(size);
        }
        Ok(())
    }
}

pub(crate) async fn t7_usage_is_exact_after_every_deletion(ctx: &Ctx) -> Outcome {
    const CAP: u64 = 2000;
    let settings = keeping(|r| {
        r.max_events_per_stream = Some(12);
        r.max_bytes_per_stream = Some(CAP);
        r.stream_ttl = Some(Duration::from_secs(60));
        r.tombstone_ttl = Duration::from_secs(100);
    });
    let store = ctx.open_with(&settings).await?;
    let mut books = Books::default();
    books.agree_with("of an empty store", store.usage().await?)?;
    let short: Vec<_> = ["a", "b"].iter().flat_map(|s| [stream(s, "é"), lone(s)]).collect();
    for to in &short {
        books.append(&store, to, 3).await?;
    }
    books.agree_with("after appends", store.usage().await?)?;

    let long = [stream("a", "long"), stream("c", "long"), lone("long")];
    for to in &long {
        books.append(&store, to, 20).await?;
        let sizes = books.streams.get_mut(to).unwrap();
        let removed = removed_by_bytes(sizes, CAP).max(sizes.len() - 12);
        sizes.drain(..removed);
    }
    store.sweep().await?;
    books.agree_with("after trimming", store.usage().await?)?;

    for to in [&short[0], &short[1], &long[1]] {
        store.delete_stream(to).await?;
        books.streams.remove(to);
        books.agree_with("after deleting a stream", store.usage().await?)?;
    }
    store.delete_session(&session("a")).await?;
    books.streams.retain(|to, _| to.session != Some(session("a")));
    books.agree_with("after deleting a session", store.usage().await?)?;

    expiry(ctx, &store, &mut books).await
}

/// Streams become tombstones, are revived, and are forgotten.
async fn expiry(ctx: &Ctx, store: &Instance, books: &mut Books) -> Outcome {
    ctx.pass(30);
    let young = stream("c", "young");
    books.append(store, &young, 2).await?;
    ctx.pass(40);
    store.sweep().await?;
    let expired = std::mem::take(&mut books.streams);
    for (name, sizes) in expired {
        if name == young {
            books.streams.insert(name, sizes);
        } else {
            books.tombstones.push(name);
        }
    }
    books.agree_with("after streams expired", store.usage().await?)?;

    let revived = books.tombstones.pop().unwrap();
    books.append(store, &revived, 2).await?;
    books.agree_with("after an append to a tombstone", store.usage().await?)?;
    let deleted = books.tombstones.pop().unwrap();
    store.delete_stream(&deleted).await?;
    books.agree_with("after deleting a tombstone", store.usage().await?)?;

    ctx.pass(1000);
    // One sweep may leave tombstones for the next, though they are due already.
    store.sweep().await?;
    store.sweep().await?;
    let usage = store.usage().await?;
    same("the usage when all is forgotten", &Usage::default(), &usage)
}
