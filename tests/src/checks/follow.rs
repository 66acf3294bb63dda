//! F1 and F4: replay that goes over into live, and followers that are slow.

use std::time::{Duration, Instant};

use mcp_event_store_core::{EventId, StreamRef, Verdict};

use crate::context::Ctx;
use crate::failure::{Outcome, ensure, same};
use crate::follower::Follower;
use crate::instance::Instance;
use crate::tools::{
    ids, in_sequence, lone, numbers, padded, random, same_events, stream, together,
};

const ROUNDS: usize = 4;
const EVENTS: usize = 300;
const FOLLOWERS: usize = 16;

pub(crate) async fn f1_replay_and_live_meet_without_hole_or_repeat(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    for round in 0..ROUNDS {
        let one = stream("s", &format!("round {round}"));
        // Some to begin with: less than a page, and more.
        let before = store.fill(&one, 1 + round * 150).await?;
        let followers = (0..FOLLOWERS).map(|n| {
            let (store, one, before) = (store.clone(), one.clone(), before.clone());
            async move { follow_while_appended(&store, &one, &before, n).await }
        });
        let (store, one, first) = (store.clone(), one.clone(), before.len() + 1);
        let writer = async move {
            for n in first..first + EVENTS {
                store.append(&one, n).await?;
            }
            store.complete(&one, first + EVENTS).await
        };
        let writer = tokio::spawn(writer);
        for outcome in together(followers).await? {
            outcome?;
        }
        writer.await.expect("no panic")?;
    }
    Ok(())
}

/// Begins to follow at some moment while events are appended, from some event on.
async fn follow_while_appended(
    store: &Instance,
    one: &StreamRef,
    before: &[EventId],
    n: usize,
) -> Outcome {
    let last = before.len() + EVENTS + 1;
    // Some at once, the others when so many events are stored: the junction falls anywhere.
    let start = before.len() + if n == 0 { 0 } else { usize::try_from(random(200)).unwrap() };
    let mut meanwhile = store.follow_from_start(one).await?;
    let seen = meanwhile.events(start).await?;
    drop(meanwhile);
    let after = if n.is_multiple_of(2) { 1 } else { seen.len() };
    let mut follower = store.follow(one, &seen[after - 1].id).await?;
    let (events, error) = follower.rest().await?;
    ensure(error.is_none(), "an end without an error", format!("{error:?}"))?;
    let texts = numbers(after + 1, last);
    let came = ids(&events);
    same_events("replay and live", after as u64 + 1, (&texts, &came), &events)?;
    let whole = store.replay(one, &seen[after - 1].id).await?;
    same("a follow and a replay of the same events", &whole, &events)
}

pub(crate) async fn f1_a_fresh_reader_waits_for_an_absent_stream(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    for one in [stream("s", "absent"), lone("absent")] {
        let mut follower = store.follow_from_start(&one).await?;
        same("the verdict of an absent stream", &Verdict::CaughtUp, &follower.verdict)?;
        follower.nothing_yet()?;
        // A look at it has not created it.
        same("the absent stream", &0, &store.delete_stream(&one).await?.streams)?;
        let appended = store.fill(&one, 3).await?;
        let events = follower.events(3).await?;
        same_events("the fresh stream", 1, (&numbers(1, 3), &appended), &events)?;
        let mut caught_up = store.follow(&one, &appended[2]).await?;
        same("the verdict at the tail", &Verdict::CaughtUp, &caught_up.verdict)?;
        follower.nothing_yet()?;
        caught_up.nothing_yet()?;
        let last = store.complete(&one, "end").await?;
        for follower in [&mut follower, &mut caught_up] {
            same("a live event", &last, &follower.event().await?.id)?;
            follower.end().await?;
        }
    }
    Ok(())
}

pub(crate) async fn f1_a_begun_stream_is_followed_from_its_oldest_event(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    for one in [stream("s", "begun"), lone("begun")] {
        // Again after a deletion, which ends the readers of what it deleted.
        for _ in 0..2 {
            let (first, mut new) = store.begin(&one, 1).await?;
            same("the verdict of a new stream", &Verdict::Recovered { events: 1 }, &new.verdict)?;
            let second = store.append(&one, 2).await?;
            let (third, mut known) = store.begin(&one, 3).await?;
            let appended = [first, second, third];
            for follower in [&mut new, &mut known] {
                let events = follower.events(3).await?;
                same_events("the begun stream", 1, (&numbers(1, 3), &appended), &events)?;
            }
            let mut newest = store.take_over(&one, &appended[2]).await?;
            new.end().await?;
            known.end().await?;
            let (fourth, mut again) = store.begin(&one, 4).await?;
            same("a live event", &fourth, &newest.event().await?.id)?;
            let events = again.events(4).await?;
            same("the last of all", &fourth, &events[3].id)?;
            store.delete_stream(&one).await?;
        }
    }
    Ok(())
}

pub(crate) async fn f4_a_slow_follower_delays_nobody_and_loses_nothing(ctx: &Ctx) -> Outcome {
    const EVENTS: usize = 600;
    const BYTES: usize = 16 * 1024;
    let store = ctx.open().await?;
    let one = stream("s", "a");
    let mut appended = vec![store.append(&one, "first").await?];
    let mut slow = Vec::new();
    for _ in 0..4 {
        slow.push(store.follow(&one, &appended[0]).await?);
    }
    // Clients that stall wherever they happen to be, such as in the middle of fetching a page.
    let mut stalled = Vec::new();
    for _ in 0..40 {
        stalled.push(store.follow(&one, &appended[0]).await?);
    }
    let mut quick = store.follow(&one, &appended[0]).await?;
    let mut slowest = Duration::ZERO;
    for n in 0..EVENTS {
        let start = Instant::now();
        appended.push(store.try_append(&one, padded(n, BYTES)).await??);
        // The quick one has it before any slow one was asked for anything.
        let event = quick.event().await?;
        slowest = slowest.max(start.elapsed());
        same("the next event of the quick follower", appended.last().unwrap(), &event.id)?;
        // One takes an event now and then, the others none.
        if n % 50 == 0 {
            slow[0].event().await?;
            stalled.iter_mut().for_each(Follower::stall);
        }
    }
    let patient = slowest < store.patience / 2;
    ensure(patient, "appends and other followers that are not delayed", format!("{slowest:?}"))?;
    appended.push(store.complete(&one, "end").await?);
    let late = store.follow(&one, &appended[0]).await?;
    slow.push(late);
    drop(stalled);
    let taken = EVENTS.div_ceil(50);
    for (n, follower) in slow.iter_mut().enumerate() {
        let already = if n == 0 { taken } else { 0 };
        whole_rest(follower, &appended[1 + already..], already as u64 + 2).await?;
    }
    Ok(())
}

async fn whole_rest(follower: &mut Follower, expected: &[EventId], first_seq: u64) -> Outcome {
    let (events, error) = follower.rest().await?;
    ensure(error.is_none(), "an end without an error", format!("{error:?}"))?;
    in_sequence("the events of a slow follower", first_seq, &events)?;
    same("the events of a slow follower", &expected.to_vec(), &ids(&events))
}
