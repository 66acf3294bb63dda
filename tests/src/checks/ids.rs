//! A3, A4 and P10: what event IDs are, and what is no event ID.

use std::collections::HashSet;

use mcp_event_store_core::{EventId, StreamRef};

use crate::context::{Ctx, unlimited};
use crate::disguise;
use crate::failure::{Mismatch, Outcome, ensure, same};
use crate::instance::Instance;
use crate::tools::{lone, stream, text, texts, together};

/// Adds `ids` to those seen so far, and fails if one was there already.
fn all_new(seen: &mut HashSet<EventId>, ids: impl IntoIterator<Item = EventId>) -> Outcome {
    for id in ids {
        let came = format!("{} a second time", id.as_str());
        ensure(seen.insert(id), "IDs that were never used before", came)?;
    }
    Ok(())
}

/// A few streams that have as much in common as two streams can.
fn neighbours() -> Vec<StreamRef> {
    vec![stream("s", "a"), stream("s", "b"), stream("t", "a"), lone("a"), lone("s")]
}

async fn fill_all(store: &Instance, streams: &[StreamRef], each: usize) -> Outcome<Vec<EventId>> {
    let fill = |stream: &StreamRef| {
        let (store, stream) = (store.clone(), stream.clone());
        async move { store.fill(&stream, each).await }
    };
    let filled: Outcome<Vec<_>> = together(streams.iter().map(fill)).await?.into_iter().collect();
    Ok(filled?.concat())
}

pub(crate) async fn a3_ids_are_unique_across_streams_sessions_and_deletions(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let mut seen = HashSet::new();
    for _ in 0..5 {
        all_new(&mut seen, fill_all(&store, &neighbours(), 8).await?)?;
        for stream in neighbours() {
            store.delete_stream(&stream).await?;
        }
    }
    for id in &seen {
        for stream in neighbours() {
            store.unknown(stream.scope(), id, "the ID of a deleted event").await?;
        }
    }
    Ok(())
}

pub(crate) async fn a3_ids_are_unique_across_restarts(ctx: &Ctx) -> Outcome {
    let mut seen = HashSet::new();
    let mut store = ctx.open().await?;
    for _ in 0..4 {
        all_new(&mut seen, fill_all(&store, &neighbours(), 4).await?)?;
        store.delete_stream(&neighbours()[0]).await?;
        store = ctx.reopen(store, &unlimited()).await?;
    }
    Ok(())
}

pub(crate) async fn a3_ids_are_unique_across_instances(ctx: &Ctx) -> Outcome {
    let (one, two) = (ctx.open().await?, ctx.open().await?);
    let mut seen = HashSet::new();
    for _ in 0..3 {
        let both = [one.clone(), two.clone()]
            .map(|store| async move { fill_all(&store, &neighbours(), 8).await });
        for ids in together(both).await? {
            all_new(&mut seen, ids?)?;
        }
        one.delete_stream(&neighbours()[0]).await?;
        two.delete_stream(&neighbours()[3]).await?;
    }
    Ok(())
}

pub(crate) async fn a3_ids_are_unique_across_restored_backups(ctx: &Ctx) -> Outcome {
    let mut seen = HashSet::new();
    let store = ctx.open().await?;
    all_new(&mut seen, fill_all(&store, &neighbours(), 3).await?)?;
    store.shut().await?;
    ctx.back_up().await?;
    for _ in 0..3 {
        let store = ctx.open().await?;
        all_new(&mut seen, fill_all(&store, &neighbours(), 3).await?)?;
        all_new(&mut seen, fill_all(&store, &[stream("s", "new")], 3).await?)?;
        store.shut().await?;
        ctx.lose_tail().await?;
    }
    Ok(())
}

pub(crate) async fn a4_ids_are_short_and_show_neither_session_nor_stream(ctx: &Ctx) -> Outcome {
    const SESSION: &str = "zebra-session-4711";
    const STREAM: &str = "quokka_stream_0815";
    let store = ctx.open().await?;
    for stream in [stream(SESSION, STREAM), lone(STREAM)] {
        for id in store.fill(&stream, 20).await? {
            let id = id.as_str();
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            ensure((1..=128).contains(&id.len()), "1 to 128 characters", id)?;
            ensure(id.chars().all(allowed), "characters of [A-Za-z0-9_-] alone", id)?;
            for name in [SESSION, STREAM] {
                let shown = disguise::shows(id, name);
                ensure(!shown, format!("an ID that does not show {name:?}"), id)?;
            }
        }
    }
    Ok(())
}

pub(crate) async fn a4_ids_cannot_be_guessed(ctx: &Ctx) -> Outcome {
    const SAMPLE: usize = 512;
    /// 96, less what the estimate from so small a sample may miss.
    const BITS: f64 = 88.0;
    let store = ctx.open().await?;
    let first_of = |n: usize| {
        let store = store.clone();
        async move { store.append(&stream("s", &format!("stream {n}")), "first").await }
    };
    let strangers: Outcome<Vec<_>> =
        together((0..SAMPLE).map(first_of)).await?.into_iter().collect();
    let mut namesakes = Vec::new();
    let name = stream("s", "again and again");
    for _ in 0..SAMPLE {
        namesakes.push(store.append(&name, "first").await?);
        store.delete_stream(&name).await?;
    }
    for (what, ids) in [("new streams", strangers?), ("one name", namesakes)] {
        let bits = disguise::entropy(&ids);
        let came = format!("{bits:.0} bits, in IDs such as {}, {}", ids[0], ids[1]);
        ensure(bits >= BITS, format!("96 random bits in the first IDs of {what}"), came)?;
    }
    Ok(())
}

pub(crate) async fn p10_malformed_and_altered_ids_are_unknown(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let one = stream("s", "a");
    let real = store.fill(&one, 5).await?;
    store.fill(&stream("s", "b"), 5).await?;
    let mut wrong: HashSet<String> = disguise::malformed();
    for id in [&real[0], &real[2], &real[4]] {
        wrong.extend(disguise::altered(id.as_str()));
    }
    for id in &real {
        wrong.remove(id.as_str());
    }
    for id in wrong {
        let shown: String = id.chars().take(80).collect();
        let id = EventId::new(id);
        store.unknown(one.scope(), &id, format!("the altered ID {shown:?}")).await?;
        let found = store.look_up(&id).await?;
        ensure(found.is_none(), format!("no stream for {shown:?}"), format!("{found:?}"))?;
    }
    // None of it did any harm.
    same("the events", &vec!["2", "3", "4", "5"], &texts(&store.replay(&one, &real[0]).await?))
}

pub(crate) async fn p10_ids_of_lost_writes_are_unknown(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let (old, new) = (stream("s", "old"), stream("s", "new"));
    let kept = store.fill(&old, 3).await?;
    store.shut().await?;
    ctx.back_up().await?;

    let store = ctx.open().await?;
    let mut lost = Vec::new();
    for n in 4..=6 {
        lost.push((&old, store.append(&old, n).await?));
        lost.push((&new, store.append(&new, n).await?));
    }
    store.shut().await?;
    ctx.lose_tail().await?;

    let store = ctx.open().await?;
    none_known(&store, &lost).await?;
    // The same places in the streams are taken again, by other events.
    for n in ["four", "five", "six"] {
        store.try_append(&old, text(n)).await??;
        store.try_append(&new, text(n)).await??;
    }
    none_known(&store, &lost).await?;
    let after = store.replay(&old, &kept[2]).await?;
    same("the events after the newest kept one", &vec!["four", "five", "six"], &texts(&after))
}

async fn none_known(store: &Instance, lost: &[(&StreamRef, EventId)]) -> Outcome {
    for (stream, id) in lost {
        store.unknown(stream.scope(), id, "the ID of a lost event").await?;
        if let Some(found) = store.look_up(id).await? {
            return Err(Mismatch::new("no stream for the ID of a lost event", found.stream));
        }
    }
    Ok(())
}
