//! D1 to D4: what deletion takes, and what it leaves alone.

use std::time::Duration;

use mcp_event_store_core::{Deleted, Error, EventId, StreamRef};

use crate::context::{Ctx, keeping};
use crate::failure::{Outcome, ensure, expect_match, same};
use crate::instance::Instance;
use crate::tools::{ids, in_sequence, lone, session, stream, text};

/// Fails unless nothing of `one` is left.
pub(crate) async fn is_gone(store: &Instance, one: &StreamRef, ids: &[EventId]) -> Outcome {
    same("the events of a deleted stream", &0, &store.read(one).await?.len())?;
    for id in ids {
        store.unknown(one.scope(), id, "a deleted event").await?;
        same("the stream of a deleted event", &None, &store.look_up(id).await?)?;
    }
    Ok(())
}

/// Fails unless `one` has exactly these events.
async fn is_there(store: &Instance, one: &StreamRef, all: &[EventId]) -> Outcome {
    same("the events of a spared stream", &all.to_vec(), &ids(&store.read(one).await?))?;
    let replay = ids(&store.replay(one, &all[0]).await?);
    same("a replay of a spared stream", &all[1..].to_vec(), &replay)?;
    for id in all {
        same("the stream of a spared event", &Some(one), &store.look_up(id).await?.as_ref())?;
    }
    Ok(())
}

fn counts(deleted: &Deleted) -> (u64, u64, bool) {
    (deleted.streams, deleted.events, deleted.session_record)
}

pub(crate) async fn d1_deletion_is_complete(ctx: &Ctx) -> Outcome {
    const MANY: usize = 600;
    let store = ctx.open().await?;
    for one in [stream("s", "a"), lone("a")] {
        let mut all = store.fill(&one, 5).await?;
        all.push(store.complete(&one, "end").await?);
        let deleted = store.delete_stream(&one).await?;
        same("streams, events, record", &(1, 6, false), &counts(&deleted))?;
        is_gone(&store, &one, &all).await?;
    }
    let long = stream("s", "long");
    let all = store.fill(&long, MANY).await?;
    let deleted = store.delete_stream(&long).await?;
    same("streams, events, record", &(1, MANY as u64, false), &counts(&deleted))?;
    is_gone(&store, &long, &all).await?;

    let mut streams = Vec::new();
    for n in 0..20 {
        let one = stream("t", &n.to_string());
        let all = store.fill(&one, 3).await?;
        streams.push((one, all));
    }
    let deleted = store.delete_session(&session("t")).await?;
    same("streams, events, record", &(20, 60, false), &counts(&deleted))?;
    for (one, all) in &streams {
        is_gone(&store, one, all).await?;
    }
    Ok(())
}

pub(crate) async fn d1_deletion_gives_back_every_byte(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    store.fill(&stream("u", "spared"), 3).await?;
    let empty = store.usage().await?;
    store.fill(&stream("s", "a"), 7).await?;
    let one = store.usage().await?;
    store.fill(&stream("s", "b"), 5).await?;
    store.complete(&stream("s", "b"), "end").await?;
    store.fill(&lone("a"), 4).await?;
    let all = store.usage().await?;
    let deleted = store.delete_stream(&lone("a")).await?;
    let after = store.usage().await?;
    same("the bytes given back", &(all.bytes - after.bytes), &deleted.bytes)?;
    store.delete_stream(&stream("s", "b")).await?;
    same("the usage without them", &one, &store.usage().await?)?;
    let deleted = store.delete_session(&session("s")).await?;
    same("the usage without any of it", &empty, &store.usage().await?)?;
    same("the bytes given back", &(one.bytes - empty.bytes), &deleted.bytes)
}

pub(crate) async fn d2_deletion_is_repeatable(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let never = (stream("never", "a"), lone("never"), session("never"));
    for (one, alone, whole) in [(stream("s", "a"), lone("a"), session("s")), never] {
        if whole == session("s") {
            store.fill(&one, 3).await?;
            store.fill(&alone, 3).await?;
            store.fill(&stream("s", "b"), 3).await?;
            store.delete_stream(&one).await?;
            store.delete_stream(&alone).await?;
            let deleted = store.delete_session(&whole).await?;
            same("streams, events, record", &(1, 3, false), &counts(&deleted))?;
        }
        let usage = store.usage_if_told().await?;
        for _ in 0..3 {
            let nothing = [
                store.delete_stream(&one).await?,
                store.delete_stream(&alone).await?,
                store.delete_session(&whole).await?,
            ];
            same("what is deleted again", &[Deleted::default(); 3], &nothing)?;
        }
        same("the usage", &usage, &store.usage_if_told().await?)?;
    }
    Ok(())
}

/// Names that a careless pattern or prefix takes for `a` or its streams.
const LOOKALIKES: [&str; 17] = [
    "ab", "a/", "a:", "a_", "a b", "A", "aa", "a/b", "a:b", "b", "%", "_", "*", "?", "[a]", "a%",
    "a\\",
];

pub(crate) async fn d3_deletion_touches_nothing_else(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let mut spared = Vec::new();
    for name in LOOKALIKES {
        for one in [stream(name, "a"), stream(name, "b"), stream("other", name), lone(name)] {
            let all = store.fill(&one, 2).await?;
            spared.push((one, all));
        }
    }
    for one in [stream("other", "a"), lone("a")] {
        let all = store.fill(&one, 2).await?;
        spared.push((one, all));
    }
    for name in ["a", "b", "ab", "%", "_", "*"] {
        store.fill(&stream("a", name), 2).await?;
    }
    // One stream of the session first, with neighbours in the same session.
    store.delete_stream(&stream("a", "a")).await?;
    same("its neighbour", &2, &store.read(&stream("a", "ab")).await?.len())?;
    store.delete_stream(&stream("a", "%")).await?;
    same("its neighbour", &2, &store.read(&stream("a", "b")).await?.len())?;
    let rest = store.delete_session(&session("a")).await?;
    same("streams and events", &(4, 8), &(rest.streams, rest.events))?;
    for (one, all) in &spared {
        is_there(&store, one, all).await?;
    }
    // A session that is a pattern, and a session-less stream.
    for gone in ["%", "*", "_"] {
        store.delete_session(&session(gone)).await?;
        store.delete_stream(&lone(gone)).await?;
        spared.retain(|(one, _)| match &one.session {
            Some(session) => session.as_str() != gone,
            None => one.stream.as_str() != gone,
        });
    }
    for (one, all) in &spared {
        is_there(&store, one, all).await?;
        store.append(one, "more").await?;
    }
    Ok(())
}

/// Fills `one` anew and fails unless it has nothing in common with what was deleted.
async fn used_again(store: &Instance, one: &StreamRef, old: &[EventId]) -> Outcome {
    let fresh = store.fill(one, 4).await?;
    in_sequence("the stream that is used again", 1, &store.read(one).await?)?;
    is_there(store, one, &fresh).await?;
    for id in old {
        ensure(!fresh.contains(id), "fresh IDs", format!("{} again", id.as_str()))?;
        store.unknown(one.scope(), id, "an event of the deleted stream").await?;
        same("the stream of a deleted event", &None, &store.look_up(id).await?)?;
    }
    Ok(())
}

pub(crate) async fn d4_a_deleted_stream_can_be_used_again(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    for one in [stream("s", "a"), lone("a")] {
        let mut old = Vec::new();
        for round in 0..4 {
            old.extend(store.fill(&one, 3).await?);
            if round % 2 == 0 {
                old.push(store.complete(&one, "end").await?);
            }
            store.delete_stream(&one).await?;
            used_again(&store, &one, &old).await?;
            store.delete_stream(&one).await?;
        }
    }
    Ok(())
}

pub(crate) async fn d4_a_deleted_session_can_be_used_again_once_its_mark_is_gone(
    ctx: &Ctx,
) -> Outcome {
    let settings = keeping(|r| r.tombstone_ttl = Duration::from_secs(100));
    let store = ctx.open_with(&settings).await?;
    let one = stream("s", "a");
    let mut old = Vec::new();
    for _ in 0..2 {
        old.extend(store.fill(&one, 3).await?);
        store.delete_session(&session("s")).await?;
        for _ in 0..2 {
            for stream in [&one, &stream("s", "another")] {
                let answer = store.try_append(stream, text("too early")).await?;
                expect_match!(answer, Err(Error::SessionDeleted), "an append after the deletion");
            }
            is_gone(&store, &one, &old).await?;
            ctx.pass(45);
        }
        ctx.pass(15);
        used_again(&store, &one, &old).await?;
        store.delete_stream(&one).await?;
    }
    Ok(())
}
