//! P1 to P4: what a replay gives.

use futures_util::{FutureExt, StreamExt};
use mcp_event_store_core::{Error, EventId, ReplayMode, Verdict};

use crate::context::Ctx;
use crate::failure::{Outcome, expect_match, same};
use crate::instance::within;
use crate::tools::{ids, lone, numbers, padded, same_events, stream, texts, together};

pub(crate) async fn p1_replay_gives_exactly_what_follows_the_event(ctx: &Ctx) -> Outcome {
    const LAST: usize = 12;
    let store = ctx.open().await?;
    let streams = [stream("s", "a"), stream("s", "b"), stream("t", "a"), lone("a")];
    let mut appended = vec![Vec::new(); streams.len()];
    for n in 1..=LAST {
        for (stream, ids) in streams.iter().zip(&mut appended) {
            ids.push(store.append(stream, n).await?);
        }
    }
    for (stream, appended) in streams.iter().zip(&appended) {
        for anchor in 1..=LAST {
            let replay = store.replay(stream, &appended[anchor - 1]).await?;
            let expected = numbers(anchor + 1, LAST);
            let what = format!("a replay after event {anchor}");
            same_events(what, anchor as u64 + 1, (&expected, &appended[anchor..]), &replay)?;
        }
        let read = store.read(stream).await?;
        same_events("a read", 1, (&numbers(1, LAST), appended), &read)?;
        let times: Vec<_> = read.iter().map(|event| event.stored_at).collect();
        same("times that never go back", &true, &times.is_sorted())?;
    }
    Ok(())
}

pub(crate) async fn p1_long_and_large_streams_replay_whole(ctx: &Ctx) -> Outcome {
    const LONG: usize = 2600;
    let store = ctx.open().await?;
    let long = stream("s", "long");
    let mut appended = Vec::new();
    // Hundreds at a time, each hundred after the last: faster than one by one, and in order
    // where it matters.
    for start in (0..LONG).step_by(100) {
        let one = |n: usize| {
            let (store, long) = (store.clone(), long.clone());
            async move { store.append(&long, n).await }
        };
        for id in together((start..start + 100).map(one)).await? {
            appended.push(id?);
        }
    }
    let read = store.read(&long).await?;
    same("the length of a long stream", &LONG, &read.len())?;
    for anchor in [1, 2, 255, 256, 257, 511, 512, 513, 768, 1024, 1280, 1281, LONG - 1] {
        let replay = store.replay(&long, &read[anchor - 1].id).await?;
        same(format!("what follows event {anchor}"), &ids(&read[anchor..]), &ids(&replay))?;
    }

    let large = stream("s", "large");
    let sizes = [1_000_000, 10, 262_144, 262_143, 10, 131_072, 131_072, 10, 3_000_000, 10];
    let mut appended = Vec::new();
    for (n, size) in sizes.into_iter().enumerate() {
        appended.push(store.try_append(&large, padded(n, size)).await??);
    }
    for anchor in 1..sizes.len() {
        let replay = store.replay(&large, &appended[anchor - 1]).await?;
        same("the IDs of large events", &appended[anchor..].to_vec(), &ids(&replay))?;
        let lengths: Vec<_> = texts(&replay).iter().map(|text| text.len() + 2).collect();
        same("the sizes of large events", &sizes[anchor..].to_vec(), &lengths)?;
    }
    Ok(())
}

pub(crate) async fn p2_replay_consumes_nothing(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let one = stream("s", "a");
    let appended = store.fill(&one, 300).await?;
    let usage = store.usage_if_told().await?;
    let whole = store.replay(&one, &appended[0]).await?;
    for after in [0, 100, 298, 299, 0, 0] {
        let again = store.replay(&one, &appended[after]).await?;
        same("another replay", &whole[after..].to_vec(), &again)?;
        // One that is given up after an event.
        let left = store.try_open(one.scope(), &appended[0]).await??;
        let first = within(store.patience, "an event", left.events.into_future()).await?.0;
        same("a first event", &whole.first(), &first.transpose()?.as_ref())?;
        store.look_up(&appended[after]).await?;
    }
    // Nor does one that its reader left in the middle of a page, however many there are.
    let mut stalled = Vec::new();
    for _ in 0..40 {
        let mut events = store.try_open(one.scope(), &appended[0]).await??.events;
        for _ in 0..appended.len() {
            if events.next().now_or_never().is_none() {
                break;
            }
        }
        stalled.push(events);
    }
    let reader = |_| {
        let (store, one, first) = (store.clone(), one.clone(), appended[0].clone());
        async move { store.replay(&one, &first).await }
    };
    for replay in together((0..8).map(reader)).await? {
        same("replays at the same time", &whole, &replay?)?;
    }
    drop(stalled);
    same("the usage", &usage, &store.usage_if_told().await?)
}

pub(crate) async fn p3_at_the_tail_replay_is_empty_and_caught_up(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    for one in [stream("s", "a"), lone("a")] {
        for n in 0..3 {
            let tail = if n < 2 {
                store.append(&one, n).await?
            } else {
                store.complete(&one, "end").await?
            };
            let replay = store.try_open(one.scope(), &tail).await??;
            same("the verdict at the tail", &Verdict::CaughtUp, &replay.verdict)?;
            same("the stream of a replay", &one, &replay.stream)?;
            same("the events at the tail", &0, &store.replay(&one, &tail).await?.len())?;
        }
    }
    let absent = store.events.read_stream(&stream("s", "absent"), ReplayMode::Stored).await?;
    same("the verdict of an absent stream", &Verdict::CaughtUp, &absent.verdict)?;
    let nothing = store.read(&stream("s", "absent")).await?;
    same("the events of an absent stream", &0, &nothing.len())
}

pub(crate) async fn p4_the_verdict_comes_first_and_counts_the_events(ctx: &Ctx) -> Outcome {
    const LAST: usize = 600;
    let store = ctx.open().await?;
    let one = stream("s", "a");
    let appended = store.fill(&one, LAST).await?;
    for after in [1, 2, 299, 344, 599] {
        let replay = store.try_open(one.scope(), &appended[after - 1]).await??;
        let left = LAST - after;
        let expected = Verdict::Recovered { events: left as u64 };
        same(format!("the verdict after event {after}"), &expected, &replay.verdict)?;
        same("the stream of a replay", &one, &replay.stream)?;
        // What is appended later belongs to live, not to what was stored.
        store.append(&stream("s", "other"), "later").await?;
        let events = within(store.patience, "the end", replay.events.count()).await?;
        same("as many events as the verdict said", &left, &events)?;
    }
    let replay = store.try_open(one.scope(), &appended[0]).await??;
    store.append(&one, "too late for this replay").await?;
    let events = within(store.patience, "the end", replay.events.count()).await?;
    same("the first snapshot's events", &(LAST - 1), &events)?;
    // An ID that cannot be replayed is refused at once, not by the stream of events.
    let unknown = EventId::new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let refused = store.try_open(one.scope(), &unknown).await?;
    expect_match!(refused, Err(Error::UnknownEvent), "an unknown ID");
    Ok(())
}
