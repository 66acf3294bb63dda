//! P5, P6 and P9: replays where retention has removed something.

use std::time::Duration;

use futures_util::StreamExt;
use mcp_event_store_core::{Error, EventId, Settings, StreamRef, Verdict};

use crate::context::{Ctx, keeping};
use crate::failure::{Mismatch, Outcome, ensure, expect_match, same};
use crate::instance::{Instance, within};
use crate::tools::{ids, in_sequence, lone, padded, stream, text, texts};

/// Fails unless a replay after `id` is `EventsExpired` for `one`, naming `newest_removed`.
pub(crate) async fn is_expired(
    store: &Instance,
    one: &StreamRef,
    id: &EventId,
    newest_removed: &EventId,
) -> Outcome {
    match store.try_open(one.scope(), id).await? {
        Err(Error::EventsExpired { stream, resume_after }) => {
            same("the stream in EventsExpired", one, &stream)?;
            same("`resume_after`", &newest_removed.as_str(), &resume_after.as_str())
        }
        other => Err(Mismatch::new("EventsExpired at once", format!("{other:?}"))),
    }
}

/// Fails unless, of the events with `all` IDs, exactly the first `removed` are gone.
pub(crate) async fn first_are_removed(
    store: &Instance,
    one: &StreamRef,
    all: &[EventId],
    removed: usize,
) -> Outcome {
    let kept = &all[removed..];
    same("the kept events", &kept.to_vec(), &ids(&store.read(one).await?))?;
    for id in &all[..removed.saturating_sub(1)] {
        is_expired(store, one, id, &all[removed - 1]).await?;
        ensure(store.look_up(id).await?.is_none(), "no stream for an expired ID", "a stream")?;
    }
    for after in removed.max(1)..=all.len() {
        let replay = store.try_open(one.scope(), &all[after - 1]).await??;
        let expected = Verdict::of((all.len() - after) as u64);
        same(format!("the verdict after event {after}"), &expected, &replay.verdict)?;
        let came = ids(&store.replay(one, &all[after - 1]).await?);
        same(format!("a replay after event {after}"), &all[after..].to_vec(), &came)?;
    }
    Ok(())
}

/// Retention that keeps three of the events that [`append_seven`] appends, in each of three ways.
fn ways() -> [Settings; 3] {
    [
        keeping(|r| r.max_events_per_stream = Some(3)),
        keeping(|r| r.max_bytes_per_stream = Some(3 * (100 + 64))),
        keeping(|r| r.event_ttl = Some(Duration::from_secs(60))),
    ]
}

async fn append_seven(ctx: &Ctx, store: &Instance, to: &StreamRef) -> Outcome<Vec<EventId>> {
    let mut appended = Vec::new();
    for n in 1..=7 {
        if n == 5 {
            ctx.pass(40);
        }
        appended.push(store.try_append(to, padded(n, 100)).await??);
    }
    ctx.pass(30);
    Ok(appended)
}

pub(crate) async fn p5_a_replay_with_a_hole_is_events_expired(ctx: &Ctx) -> Outcome {
    for (way, settings) in ways().iter().enumerate() {
        let store = ctx.open_with(settings).await?;
        for one in [stream("s", &format!("way {way}")), lone(&format!("way {way}"))] {
            let all = append_seven(ctx, &store, &one).await?;
            for (n, id) in all.iter().take(3).enumerate() {
                let answer = store.try_replay(one.scope(), id).await?;
                let what = format!("a replay after event {} of 7, of which 3 are kept", n + 1);
                let after = expect_match!(
                    answer, Err(Error::EventsExpired { resume_after, .. }) => resume_after, what);
                let left = store.replay(&one, &after).await?;
                same("all that is left", &all[4..].to_vec(), &ids(&left))?;
            }
            first_are_removed(&store, &one, &all, 4).await?;
        }
        store.shut().await?;
    }
    Ok(())
}

pub(crate) async fn p6_a_removed_anchor_with_all_successors_kept_replays(ctx: &Ctx) -> Outcome {
    for (way, settings) in ways().iter().enumerate() {
        let store = ctx.open_with(settings).await?;
        let one = stream("s", &format!("way {way}"));
        let all = append_seven(ctx, &store, &one).await?;
        let replay = store.try_open(one.scope(), &all[3]).await??;
        same("the verdict", &Verdict::Recovered { events: 3 }, &replay.verdict)?;
        let came = store.replay(&one, &all[3]).await?;
        same("what follows the removed event", &all[4..].to_vec(), &ids(&came))?;
        in_sequence("what follows the removed event", 5, &came)?;
        store.shut().await?;
    }
    Ok(())
}

pub(crate) async fn p9_a_replay_overtaken_by_trimming_has_no_hole(ctx: &Ctx) -> Outcome {
    const KEPT: u64 = 600;
    let store = ctx.open_with(&keeping(|r| r.max_events_per_stream = Some(KEPT))).await?;
    for read_before in [0, 1, 100, 256, 300] {
        let one = stream("s", &format!("after {read_before}"));
        let first = store.append(&one, 1).await?;
        extend(&store, &one, KEPT - 1).await?;
        let mut replay = store.try_open(one.scope(), &first).await??.events;
        let mut came = Vec::new();
        for _ in 0..read_before {
            let event = within(store.patience, "an event", replay.next()).await?;
            came.push(expect_match!(event, Some(Ok(event)) => event, "an event"));
        }
        extend(&store, &one, 2 * KEPT).await?;
        if store.usage_if_told().await?.is_some() {
            store.sweep().await?;
        }
        let rest: Vec<_> = within(store.patience, "the end", replay.collect()).await?;
        let mut error = None;
        for event in rest {
            ensure(error.is_none(), "nothing after an error", format!("{event:?}"))?;
            match event {
                Ok(event) => came.push(event),
                Err(other) => error = Some(other),
            }
        }
        in_sequence("a replay that was overtaken", 2, &came)?;
        match error {
            None => same("a whole replay", &(KEPT - 1), &(came.len() as u64))?,
            Some(Error::EventsExpired { .. }) => {}
            Some(other) => return Err(Mismatch::new("EventsExpired", format!("{other:?}"))),
        }
        let left = texts(&store.read(&one).await?);
        same("the number of kept events", &KEPT, &(left.len() as u64))?;
    }
    Ok(())
}

/// Appends `count` events, many at a time.
async fn extend(store: &Instance, to: &StreamRef, count: u64) -> Outcome {
    let append = |n| {
        let (store, to) = (store.clone(), to.clone());
        async move { store.try_append(&to, text(n)).await }
    };
    for answer in crate::tools::together((0..count).map(append)).await? {
        answer??;
    }
    Ok(())
}
