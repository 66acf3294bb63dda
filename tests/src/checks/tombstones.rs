//! T9: what is remembered of removed events, for how long, and what comes after.

use std::time::Duration;

use mcp_event_store_core::{Error, EventId, Settings, StreamRef};

use crate::checks::caps::removed_by_bytes;
use crate::checks::expired::{first_are_removed, is_expired};
use crate::context::{Ctx, keeping};
use crate::failure::{Outcome, expect_match, same};
use crate::instance::Instance;
use crate::need::Need;
use crate::tools::{ids, in_sequence, lone, padded, random, stream, text};

/// Expires after 60 s, is forgotten after 160 s.
fn short_lived() -> Settings {
    keeping(|r| {
        r.stream_ttl = Some(Duration::from_secs(60));
        r.completed_stream_ttl = Some(Duration::from_secs(60));
        r.tombstone_ttl = Duration::from_secs(100);
    })
}

fn both() -> [StreamRef; 2] {
    [stream("s", "a"), lone("a")]
}

/// Fails unless nothing is remembered of these events.
async fn forgotten(store: &Instance, one: &StreamRef, ids: &[EventId]) -> Outcome {
    for id in ids {
        store.unknown(one.scope(), id, "an event that is forgotten").await?;
        same("the stream of a forgotten event", &None, &store.look_up(id).await?)?;
    }
    Ok(())
}

/// Fails unless the name is free for a new stream, in which the old IDs mean nothing.
async fn begins_anew(store: &Instance, one: &StreamRef, old: &[EventId]) -> Outcome {
    let fresh = store.fill(one, 3).await?;
    let read = store.read(one).await?;
    in_sequence("the new stream", 1, &read)?;
    same("the new stream", &fresh, &ids(&read))?;
    forgotten(store, one, old).await?;
    first_are_removed(store, one, &fresh, 0).await
}

pub(crate) async fn t9_removal_takes_a_prefix(ctx: &Ctx) -> Outcome {
    const CAP: u64 = 2500;
    const COUNT: usize = 8;
    // Time passes in steps of 20 s, so no age comes near 70 s.
    let settings = keeping(|r| {
        r.event_ttl = Some(Duration::from_secs(70));
        r.max_events_per_stream = Some(COUNT as u64);
        r.max_bytes_per_stream = Some(CAP);
    });
    let store = ctx.open_with(&settings).await?;
    for one in both() {
        let (mut all, mut sizes, mut ages) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..60 {
            let size = 10 + usize::try_from(random(700)).unwrap();
            all.push(store.try_append(&one, padded(n, size)).await??);
            sizes.push(size);
            ages.push(0);
            if random(3) == 0 {
                ctx.pass(20);
                for age in &mut ages {
                    *age += 20;
                }
            }
            if random(10) == 0 && ctx.offers(Need::Maintenance) {
                store.sweep().await?;
            }
            let old = ages.iter().filter(|age| **age > 70).count();
            let many = all.len().saturating_sub(COUNT);
            let removed = old.max(many).max(removed_by_bytes(&sizes, CAP));
            first_are_removed(&store, &one, &all, removed).await?;
        }
    }
    Ok(())
}

pub(crate) async fn t9_an_expired_stream_is_remembered_from_its_expiry(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&short_lived()).await?;
    for (n, one) in [both(), both()].concat().iter().enumerate() {
        let mut all = store.fill(one, 3).await?;
        if n >= 2 {
            all.push(store.complete(one, "end").await?);
        }
        ctx.pass(65);
        first_are_removed(&store, one, &all, all.len()).await?;
        ctx.pass(85);
        first_are_removed(&store, one, &all, all.len()).await?;
        ctx.pass(15);
        forgotten(&store, one, &all).await?;
        begins_anew(&store, one, &all).await?;
        store.delete_stream(one).await?;
    }
    Ok(())
}

pub(crate) async fn t9_a_late_sweep_does_not_prolong_the_memory(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&short_lived()).await?;
    for one in both() {
        let all = store.fill(&one, 3).await?;
        ctx.pass(150);
        store.sweep().await?;
        first_are_removed(&store, &one, &all, all.len()).await?;
        same("tombstones", &1, &store.usage().await?.tombstones)?;
        ctx.pass(15);
        forgotten(&store, &one, &all).await?;
        store.sweep().await?;
        forgotten(&store, &one, &all).await?;
        same("tombstones", &0, &store.usage().await?.tombstones)?;
        begins_anew(&store, &one, &all).await?;
        store.delete_stream(&one).await?;
    }
    Ok(())
}

/// The stream goes on where it was, and what had expired stays away.
async fn revives(ctx: &Ctx, store: &Instance, one: &StreamRef, old: &[EventId]) -> Outcome {
    let mut all = old.to_vec();
    all.push(store.append(one, "revived").await?);
    first_are_removed(store, one, &all, old.len()).await?;
    in_sequence("the revived stream", all.len() as u64, &store.read(one).await?)?;
    is_expired(store, one, &old[0], &old[old.len() - 1]).await?;
    // It is as live as any, and remembered for as long.
    ctx.pass(50);
    all.push(store.append(one, "again").await?);
    ctx.pass(50);
    first_are_removed(store, one, &all, old.len()).await?;
    ctx.pass(65);
    first_are_removed(store, one, &all, all.len()).await?;
    ctx.pass(100);
    forgotten(store, one, &all).await
}

pub(crate) async fn t9_an_append_revives_an_expired_incomplete_stream(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&short_lived()).await?;
    for one in both() {
        let old = store.fill(&one, 4).await?;
        ctx.pass(150);
        revives(ctx, &store, &one, &old).await?;
    }
    Ok(())
}

pub(crate) async fn t9_an_append_revives_a_swept_incomplete_stream(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&short_lived()).await?;
    for one in both() {
        let old = store.fill(&one, 4).await?;
        ctx.pass(70);
        store.sweep().await?;
        ctx.pass(75);
        store.sweep().await?;
        revives(ctx, &store, &one, &old).await?;
    }
    Ok(())
}

pub(crate) async fn t9_an_expired_complete_stream_stays_complete_until_forgotten(
    ctx: &Ctx,
) -> Outcome {
    let store = ctx.open_with(&short_lived()).await?;
    for one in both() {
        let mut all = store.fill(&one, 2).await?;
        all.push(store.complete(&one, "end").await?);
        for seconds in [65, 40, 45] {
            ctx.pass(seconds);
            let late = store.try_append(&one, text("late")).await?;
            expect_match!(
                late,
                Err(Error::StreamComplete),
                "an append within the tombstone's time"
            );
            first_are_removed(&store, &one, &all, all.len()).await?;
            if ctx.offers(Need::Maintenance) {
                store.sweep().await?;
            }
        }
        ctx.pass(15);
        begins_anew(&store, &one, &all).await?;
        store.delete_stream(&one).await?;
    }
    Ok(())
}

pub(crate) async fn t9_deletion_leaves_no_tombstone(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&short_lived()).await?;
    for one in both() {
        for (seconds, swept) in [(0, false), (70, false), (70, true)] {
            let all = store.fill(&one, 3).await?;
            ctx.pass(seconds);
            if swept && ctx.offers(Need::Maintenance) {
                store.sweep().await?;
            }
            store.delete_stream(&one).await?;
            forgotten(&store, &one, &all).await?;
            if let Some(usage) = store.usage_if_told().await? {
                same("tombstones and streams", &(0, 0), &(usage.tombstones, usage.streams))?;
            }
            begins_anew(&store, &one, &all).await?;
            store.delete_stream(&one).await?;
        }
    }
    Ok(())
}
