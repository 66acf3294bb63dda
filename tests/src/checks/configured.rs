//! T10 and T11: what is configured, changed and limited.

use std::time::Duration;

use mcp_event_store_core::{Error, Limits, ReplayMode, Settings, StreamRef};

use crate::checks::expired::first_are_removed;
use crate::checks::follow_end::follow_when_free;
use crate::context::{Ctx, keeping, limited, unlimited};
use crate::failure::{Outcome, expect_match, same};
use crate::follower::Follower;
use crate::instance::Instance;
use crate::need::Need;
use crate::tools::{lone, stream, text, together};

pub(crate) async fn t10_a_changed_configuration_applies_to_what_is_stored(ctx: &Ctx) -> Outcome {
    let one = stream("s", "a");
    let store = ctx.open().await?;
    let mut all = store.fill(&one, 10).await?;
    let stricter = keeping(|r| r.max_events_per_stream = Some(6));
    let store = ctx.reopen(store, &stricter).await?;
    first_are_removed(&store, &one, &all, 4).await?;
    all.push(store.append(&one, "more").await?);
    first_are_removed(&store, &one, &all, 5).await?;

    // The last four: messages of 3, 3, 4 and 6 bytes.
    let fewer_bytes = keeping(|r| {
        r.max_events_per_stream = Some(6);
        r.max_bytes_per_stream = Some(4 * 64 + 3 + 3 + 4 + 6 + 2);
    });
    let store = ctx.reopen(store, &fewer_bytes).await?;
    first_are_removed(&store, &one, &all, 7).await?;

    ctx.pass(50);
    all.push(store.append(&one, "late").await?);
    let young = keeping(|r| r.event_ttl = Some(Duration::from_secs(40)));
    let store = ctx.reopen(store, &young).await?;
    first_are_removed(&store, &one, &all, 11).await?;
    shorter_and_longer_lives(ctx, store).await
}

async fn shorter_and_longer_lives(ctx: &Ctx, store: Instance) -> Outcome {
    let minute =
        |count: u64| keeping(move |r| r.stream_ttl = Some(Duration::from_secs(60 * count)));
    let store = ctx.reopen(store, &minute(1)).await?;
    let two = stream("s", "b");
    let all = store.fill(&two, 3).await?;
    ctx.pass(50);
    let store = ctx.reopen(store, &minute(10)).await?;
    ctx.pass(50);
    first_are_removed(&store, &two, &all, 0).await?;
    let store = ctx.reopen(store, &minute(1)).await?;
    first_are_removed(&store, &two, &all, 3).await
}

pub(crate) async fn t10_the_strictest_sweeper_wins(ctx: &Ctx) -> Outcome {
    let lenient = ctx.open().await?;
    let strict = ctx.open_with(&keeping(|r| r.max_events_per_stream = Some(3))).await?;
    let one = stream("s", "a");
    let mut all = lenient.fill(&one, 10).await?;
    lenient.sweep().await?;
    first_are_removed(&lenient, &one, &all, 0).await?;
    first_are_removed(&strict, &one, &all, 7).await?;
    strict.sweep().await?;
    for store in [&lenient, &strict] {
        first_are_removed(store, &one, &all, 7).await?;
    }
    all.push(lenient.append(&one, "more").await?);
    lenient.sweep().await?;
    first_are_removed(&lenient, &one, &all, 7).await?;
    first_are_removed(&strict, &one, &all, 8).await
}

async fn no_room(store: &Instance, to: &StreamRef) -> Outcome {
    let usage = store.usage_if_told().await?;
    for event in [text("one too many"), text("one too many").completing()] {
        let answer = store.try_append(to, event).await?;
        let limit = expect_match!(
            answer,
            Err(Error::LimitReached { limit, allowed: 3 }) => limit,
            "a stream above a limit of 3"
        );
        same("the limit's name", &true, &limit.ends_with("max_streams_per_session"))?;
    }
    same("the refused stream", &0, &store.read(to).await?.len())?;
    same("the usage", &usage, &store.usage_if_told().await?)
}

pub(crate) async fn t11_a_session_may_have_so_many_incomplete_streams(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&limited_to_three(|l| &mut l.max_streams_per_session)).await?;
    let name = |n: u32| stream("s", &n.to_string());
    for n in 1..=3 {
        store.append(&name(n), "first").await?;
    }
    no_room(&store, &name(4)).await?;
    // Others are not affected: its own streams, other sessions, streams without one.
    store.append(&name(1), "second").await?;
    for n in 1..=5 {
        store.append(&lone(&n.to_string()), "first").await?;
    }
    store.append(&stream("t", "1"), "first").await?;
    // Only incomplete ones count; a completed or deleted one makes room.
    store.complete(&name(1), "end").await?;
    store.append(&name(4), "first").await?;
    no_room(&store, &name(5)).await?;
    store.delete_stream(&name(2)).await?;
    store.append(&name(5), "first").await?;
    no_room(&store, &name(6)).await?;
    at_once(&store).await
}

/// Many streams of one session at the same time: so many of them, and no more.
async fn at_once(store: &Instance) -> Outcome {
    let create = |n: usize| {
        let store = store.clone();
        async move { store.try_append(&stream("busy", &n.to_string()), text("first")).await }
    };
    let mut taken = 0;
    for answer in together((0..20).map(create)).await? {
        match answer? {
            Ok(_) => taken += 1,
            other => expect_match!(other, Err(Error::LimitReached { .. }), "too many at once"),
        }
    }
    same("the streams that were taken", &3, &taken)
}

fn limited_to_three(limit: impl FnOnce(&mut Limits) -> &mut Option<u64>) -> Settings {
    limited(|limits| *limit(limits) = Some(3))
}

pub(crate) async fn t11_a_session_may_have_so_many_followers(ctx: &Ctx) -> Outcome {
    let settings = limited_to_three(|l| &mut l.max_followers_per_session);
    let store = ctx.open_with(&settings).await?;
    let (one, other, alone) = (stream("s", "a"), stream("s", "b"), lone("a"));
    let first = store.append(&one, "first").await?;
    store.append(&other, "first").await?;
    let mut followers = vec![
        store.follow(&one, &first).await?,
        store.follow_from_start(&other).await?,
        store.follow_from_start(&stream("s", "absent")).await?,
    ];
    for _ in 0..2 {
        let more = store.try_follow(one.scope(), &first, ReplayMode::follow()).await?;
        expect_match!(
            more.map(|_| ()),
            Err(Error::LimitReached { allowed: 3, .. }),
            "a 4th follow"
        );
        let more = store.try_follow_from_start(&other, ReplayMode::follow()).await?;
        expect_match!(more.map(|_| ()), Err(Error::LimitReached { allowed: 3, .. }), "a 4th read");
    }
    // Others are not affected: replays, appends, other sessions, streams without one.
    same("a replay", &0, &store.replay(&one, &first).await?.len())?;
    let mut others = vec![store.follow_from_start(&stream("t", "a")).await?];
    for _ in 0..5 {
        others.push(store.follow_from_start(&alone).await?);
    }
    if ctx.offers(Need::SecondInstance) {
        let second = ctx.open_with(&settings).await?;
        others.push(second.follow(&one, &first).await?);
    }
    let second = store.append(&one, "second").await?;
    same("a follow at the limit", &second, &followers[0].event().await?.id)?;
    makes_room(ctx, &store, &one, followers).await?;
    drop(others);
    if !ctx.offers(Need::Reopen) {
        return Ok(());
    }
    let store = ctx.reopen(store, &unlimited()).await?;
    let mut many = Vec::new();
    for _ in 0..10 {
        many.push(store.follow(&one, &first).await?);
    }
    Ok(())
}

/// Ended and dropped follows give their places back, if not at once.
async fn makes_room(
    ctx: &Ctx,
    store: &Instance,
    one: &StreamRef,
    mut followers: Vec<Follower>,
) -> Outcome {
    let full = || async {
        let more = store.try_follow_from_start(one, ReplayMode::follow()).await?;
        expect_match!(more.map(|_| ()), Err(Error::LimitReached { .. }), "a full session");
        Outcome::Ok(())
    };
    followers.truncate(2);
    let first = store.read(one).await?[0].id.clone();
    followers.push(follow_when_free(ctx, store, one, &first).await?);
    full().await?;
    store.complete(one, "end").await?;
    let (_, error) = followers[0].rest().await?;
    same("an end without an error", &true, &error.is_none())?;
    followers.push(follow_when_free(ctx, store, one, &first).await?);
    Ok(())
}
