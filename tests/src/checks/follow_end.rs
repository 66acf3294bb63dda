//! F3 and F5: how a follow ends.

use std::time::{Duration, Instant};

use mcp_event_store_core::{Error, EventId, Readers, ReplayMode, StreamRef};

use crate::context::{Ctx, keeping, unlimited};
use crate::failure::{Mismatch, Outcome, ensure, expect_match, same};
use crate::follower::Follower;
use crate::instance::Instance;
use crate::need::Need;
use crate::tools::{eventually, in_sequence, lone, padded, session, stream, texts};

pub(crate) async fn f3_a_follow_ends_after_the_completing_event(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    for one in [stream("s", "a"), lone("a")] {
        let first = store.append(&one, "first").await?;
        let mut live = [store.follow(&one, &first).await?, store.follow_from_start(&one).await?];
        live[1].event().await?;
        let last = store.complete(&one, "last").await?;
        for follower in &mut live {
            let event = follower.event().await?;
            same("the completing event", &(&last, true), &(&event.id, event.completes_stream))?;
            follower.end().await?;
        }
        // And where the end is replay, or was seen already.
        let mut late = store.follow(&one, &first).await?;
        same("the completing event", &last, &late.event().await?.id)?;
        late.end().await?;
        store.follow(&one, &last).await?.end().await?;
    }
    Ok(())
}

pub(crate) async fn f3_a_follow_ends_at_its_time_limit(ctx: &Ctx) -> Outcome {
    const LIMIT: Duration = Duration::from_millis(300);
    let store = ctx.open().await?;
    let mode = ReplayMode::Follow { at_most: Some(LIMIT), readers: Readers::Join };
    let one = stream("s", "a");
    let first = store.append(&one, "first").await?;
    for quiet in [true, false] {
        let start = Instant::now();
        let mut follower = store.try_follow(one.scope(), &first, mode).await??;
        let mut absent = store.try_follow_from_start(&stream("s", "absent"), mode).await??;
        let busy = async {
            while !quiet && start.elapsed() < LIMIT * 2 {
                store.append(&one, "more").await?;
            }
            Outcome::Ok(())
        };
        let (ended, appended) = tokio::join!(follower.rest(), busy);
        appended?;
        let (events, error) = ended?;
        ensure(error.is_none(), "an end without an error", format!("{error:?}"))?;
        in_sequence("what came until then", 2, &events)?;
        let early = start.elapsed() < LIMIT;
        ensure(!early, "an end not before the limit", format!("{:?}", start.elapsed()))?;
        absent.end().await?;
    }
    Ok(())
}

pub(crate) async fn f3_close_ends_a_follow(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let one = stream("s", "a");
    let first = store.append(&one, "first").await?;
    let mut followers = vec![
        store.follow(&one, &first).await?,
        store.follow_from_start(&one).await?,
        store.follow_from_start(&stream("s", "absent")).await?,
        store.follow_from_start(&lone("absent")).await?,
    ];
    followers[0].nothing_yet()?;
    followers[1].event().await?;
    store.clone().shut().await?;
    for follower in &mut followers {
        follower.end().await?;
    }
    let late = store.events.read_stream(&one, ReplayMode::follow()).await.map(|_| ());
    expect_match!(late, Err(Error::Closed), "a follow after closing");
    let late = store.try_append(&one, crate::tools::text("late")).await?;
    expect_match!(late, Err(Error::Closed), "an append after closing");
    store.shut().await
}

pub(crate) async fn f3_a_dropped_follow_leaves_nothing_running(ctx: &Ctx) -> Outcome {
    const FOLLOWERS: usize = 50;
    const FEW: usize = 5;
    let mut settings = unlimited();
    settings.limits.max_followers_per_session =
        ctx.offers(Need::Retention).then_some(FOLLOWERS as u64);
    let store = ctx.open_with(&settings).await?;
    let one = stream("s", "a");
    let first = store.append(&one, "first").await?;
    // Once, so that what a store starts with its first follow is running already.
    store.follow_from_start(&one).await?.event().await?;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for _ in 0..3 {
        let mut followers = Vec::new();
        for n in 0..FOLLOWERS {
            // The slots of those that were dropped come back, if not at once.
            let mut follower = follow_when_free(ctx, &store, &one, &first).await?;
            if n % 2 == 0 {
                follower.nothing_yet()?;
            }
            followers.push(follower);
        }
        drop(followers);
    }
    // A few that belong to the store and not to a follow may have started or ended.
    let what = format!("about as many tasks as the {before} before the follows");
    eventually(store.patience, what, || async { Ok(tasks() <= before + FEW) }).await?;
    store.append(&one, "second").await?;
    let came = store.follow(&one, &first).await?.event().await?;
    same("a follow after all that", &2, &came.seq)
}

/// Follows as soon as the session has a place for it.
pub(crate) async fn follow_when_free(
    ctx: &Ctx,
    store: &Instance,
    one: &StreamRef,
    first: &EventId,
) -> Outcome<Follower> {
    let start = Instant::now();
    loop {
        match store.try_follow(one.scope(), first, ReplayMode::follow()).await? {
            Err(Error::LimitReached { .. }) if start.elapsed() < ctx.patience() => {
                tokio::task::yield_now().await;
            }
            answer => return Ok(answer?),
        }
    }
}

/// Fails unless nothing follows but this one error.
async fn ends_with_unknown_event(mut follower: Follower) -> Outcome {
    let (events, error) = follower.rest().await?;
    same("the events after the deletion", &Vec::<String>::new(), &texts(&events))?;
    expect_match!(error, Some(Error::UnknownEvent), "the end of a follow of a deleted stream");
    Ok(())
}

pub(crate) async fn f5_deleting_the_stream_ends_a_follow(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    for by_session in [false, true] {
        let name = if by_session { "by session" } else { "by stream" };
        let one = stream(name, "a");
        let first = store.append(&one, "first").await?;
        let mut fresh = store.follow_from_start(&one).await?;
        fresh.event().await?;
        let caught_up = store.follow(&one, &first).await?;
        if by_session {
            store.delete_session(&session(name)).await?;
        } else {
            store.delete_stream(&one).await?;
            // A new stream of that name is not the one that was followed.
            store.append(&one, "another").await?;
        }
        ends_with_unknown_event(fresh).await?;
        ends_with_unknown_event(caught_up).await?;
    }
    Ok(())
}

pub(crate) async fn f5_deleting_through_another_instance_ends_a_follow(ctx: &Ctx) -> Outcome {
    let (reader, other) = (ctx.open().await?, ctx.open().await?);
    for by_session in [false, true] {
        let name = if by_session { "by session" } else { "by stream" };
        let one = stream(name, "a");
        let first = other.append(&one, "first").await?;
        let mut follower = reader.follow(&one, &first).await?;
        other.append(&one, "second").await?;
        same("an event before the deletion", &2, &follower.event().await?.seq)?;
        if by_session {
            other.delete_session(&session(name)).await?;
        } else {
            other.delete_stream(&one).await?;
        }
        ends_with_unknown_event(follower).await?;
    }
    Ok(())
}

pub(crate) async fn f5_a_stream_that_outruns_a_follow_ends_it(ctx: &Ctx) -> Outcome {
    const EVENTS: usize = 1500;
    const BYTES: usize = 16 * 1024;
    let store = ctx.open_with(&keeping(|r| r.max_events_per_stream = Some(10))).await?;
    let one = stream("s", "a");
    let first = store.append(&one, "first").await?;
    let mut asleep = [store.follow(&one, &first).await?, store.follow_from_start(&one).await?];
    asleep[1].event().await?;
    for n in 0..EVENTS {
        store.try_append(&one, padded(n, BYTES)).await??;
    }
    for follower in &mut asleep {
        let (events, error) = follower.rest_of(EVENTS).await?;
        in_sequence("what came before the end", 2, &events)?;
        match error {
            Some(Error::EventsExpired { resume_after, .. }) => {
                let left = store.replay(&one, &resume_after).await?;
                same("what `resume_after` leaves", &10, &left.len())?;
                follower.end().await?;
            }
            // It held all of them; that is allowed, if it lost none.
            None => same("all events", &EVENTS, &events.len())?,
            Some(other) => return Err(Mismatch::new("EventsExpired", format!("{other:?}"))),
        }
    }
    Ok(())
}
