//! T1, T2 and T5: what time removes, from the moment it does, swept or not.

use std::time::Duration;

use mcp_event_store_core::{Lease, LeaseState, Settings};

use crate::checks::expired::first_are_removed;
use crate::context::{Ctx, keeping};
use crate::failure::{Outcome, same};
use crate::instance::Instance;
use crate::need::Need;
use crate::tools::{lone, stream};

/// Whether each look at the store comes after a sweep.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swept {
    Never,
    Always,
}

impl Swept {
    pub(crate) async fn sweep(self, store: &Instance) -> Outcome {
        if self == Self::Always {
            store.sweep().await?;
        }
        Ok(())
    }
}

const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

/// Fails unless the store holds so many streams and events after a sweep.
async fn holds(swept: Swept, store: &Instance, streams: u64, events: u64) -> Outcome {
    if swept == Swept::Always {
        let usage = store.usage().await?;
        same("the streams and events", &(streams, events), &(usage.streams, usage.events))?;
    }
    Ok(())
}

async fn an_idle_stream_expires(ctx: &Ctx, swept: Swept) -> Outcome {
    let store = ctx.open_with(&keeping(|r| r.stream_ttl = MINUTE)).await?;
    let (one, alone, done) = (stream("s", "a"), lone("a"), stream("s", "complete"));
    let ended = store.complete(&done, "end").await?;
    let mut appended = [store.fill(&one, 2).await?, store.fill(&alone, 2).await?];
    for _ in 0..3 {
        // Each append is activity, so it lives on, the first events as well.
        ctx.pass(50);
        swept.sweep(&store).await?;
        for (stream, appended) in [&one, &alone].into_iter().zip(&mut appended) {
            first_are_removed(&store, stream, appended, 0).await?;
            appended.push(store.append(stream, "more").await?);
        }
    }
    if ctx.offers(Need::Leases) {
        // So is each renewal, though not for the session-less stream beside it.
        ctx.pass(50);
        let state = store.renew(&one, &Lease::new("me", Duration::from_millis(1))).await?;
        same("the lease", &LeaseState::Held, &state)?;
        ctx.pass(50);
        swept.sweep(&store).await?;
        first_are_removed(&store, &one, &appended[0], 0).await?;
        first_are_removed(&store, &alone, &appended[1], appended[1].len()).await?;
    }
    ctx.pass(62);
    swept.sweep(&store).await?;
    for (stream, appended) in [&one, &alone].into_iter().zip(&appended) {
        first_are_removed(&store, stream, appended, appended.len()).await?;
    }
    // Idle is what an incomplete stream is; the complete one has a time of its own.
    first_are_removed(&store, &done, &[ended], 0).await?;
    holds(swept, &store, 1, 1).await
}

pub(crate) async fn t1_an_idle_stream_expires(ctx: &Ctx) -> Outcome {
    an_idle_stream_expires(ctx, Swept::Never).await
}

pub(crate) async fn t1_an_idle_stream_is_swept(ctx: &Ctx) -> Outcome {
    an_idle_stream_expires(ctx, Swept::Always).await
}

async fn an_old_event_expires(ctx: &Ctx, swept: Swept) -> Outcome {
    let store = ctx.open_with(&keeping(|r| r.event_ttl = MINUTE)).await?;
    for (one, ending) in [(stream("s", "a"), false), (lone("a"), true)] {
        let mut all = store.fill(&one, 3).await?;
        ctx.pass(40);
        all.push(store.append(&one, 4).await?);
        all.push(if ending {
            store.complete(&one, 5).await?
        } else {
            store.append(&one, 5).await?
        });
        ctx.pass(15);
        swept.sweep(&store).await?;
        first_are_removed(&store, &one, &all, 0).await?;
        ctx.pass(7);
        swept.sweep(&store).await?;
        first_are_removed(&store, &one, &all, 3).await?;
        ctx.pass(30);
        swept.sweep(&store).await?;
        first_are_removed(&store, &one, &all, 3).await?;
        ctx.pass(12);
        swept.sweep(&store).await?;
        first_are_removed(&store, &one, &all, 5).await?;
        if !ending {
            // The stream lives, and goes on where it was.
            all.push(store.append(&one, 6).await?);
            first_are_removed(&store, &one, &all, 5).await?;
            same("the sequence", &6, &store.read(&one).await?[0].seq)?;
            store.delete_stream(&one).await?;
        }
    }
    if swept == Swept::Always {
        same("the kept events", &0, &store.usage().await?.events)?;
    }
    Ok(())
}

pub(crate) async fn t2_an_old_event_expires(ctx: &Ctx) -> Outcome {
    an_old_event_expires(ctx, Swept::Never).await
}

pub(crate) async fn t2_an_old_event_is_swept(ctx: &Ctx) -> Outcome {
    an_old_event_expires(ctx, Swept::Always).await
}

fn complete_ones_for_a_minute() -> Settings {
    keeping(|r| {
        r.completed_stream_ttl = MINUTE;
        r.stream_ttl = Some(Duration::from_secs(20));
    })
}

async fn a_complete_stream_expires(ctx: &Ctx, swept: Swept) -> Outcome {
    let store = ctx.open_with(&complete_ones_for_a_minute()).await?;
    let (done, open) = (stream("s", "complete"), stream("s", "incomplete"));
    let mut all = store.fill(&done, 3).await?;
    let idle = store.fill(&open, 3).await?;
    ctx.pass(15);
    // From here on it has a minute, not the 20 s of an idle stream, nor a minute from its start.
    all.push(store.complete(&done, "end").await?);
    ctx.pass(10);
    swept.sweep(&store).await?;
    first_are_removed(&store, &open, &idle, idle.len()).await?;
    for _ in 0..4 {
        first_are_removed(&store, &done, &all, 0).await?;
        holds(swept, &store, 1, 4).await?;
        ctx.pass(11);
        swept.sweep(&store).await?;
    }
    first_are_removed(&store, &done, &all, 0).await?;
    ctx.pass(8);
    swept.sweep(&store).await?;
    first_are_removed(&store, &done, &all, all.len()).await?;
    holds(swept, &store, 0, 0).await
}

pub(crate) async fn t5_a_complete_stream_expires(ctx: &Ctx) -> Outcome {
    a_complete_stream_expires(ctx, Swept::Never).await
}

pub(crate) async fn t5_a_complete_stream_is_swept(ctx: &Ctx) -> Outcome {
    a_complete_stream_expires(ctx, Swept::Always).await
}
