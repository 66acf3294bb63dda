//! O1 and O2: who may append to a stream, and who ends it when the owner is gone.

use std::time::Duration;

use mcp_event_store_core::{Error, Lease, LeaseState, NewEvent, Settings, StreamRef};

use crate::checks::expired::first_are_removed;
use crate::context::{Ctx, keeping};
use crate::failure::{Mismatch, Outcome, ensure, expect_match, same};
use crate::instance::Instance;
use crate::need::Need;
use crate::tools::{lone, seqs, stream, text, texts, together};

fn lease(owner: &str, seconds: u64) -> Lease {
    Lease::new(owner, Duration::from_secs(seconds))
}

/// Streams that are idle after a minute, and remembered long enough for every check here.
fn idle_after_a_minute() -> Settings {
    keeping(|r| {
        r.stream_ttl = Some(Duration::from_secs(60));
        r.tombstone_ttl = Duration::from_secs(100_000);
    })
}

async fn sweep_if_offered(ctx: &Ctx, store: &Instance) -> Outcome {
    if ctx.offers(Need::Maintenance) {
        store.sweep().await?;
    }
    Ok(())
}

pub(crate) async fn o1_a_renewed_stream_is_not_idle(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&idle_after_a_minute()).await?;
    for one in [stream("s", "a"), lone("a")] {
        let idle = stream("s", &format!("idle beside {:?}", one.session));
        let left = store.append(&idle, "nobody renews this").await?;
        let first = store.append(&one, "first").await?;
        let renewed = store.renew(&one, &lease("me", 200)).await?;
        same("the answer to a renewal", &LeaseState::Held, &renewed)?;
        for _ in 0..10 {
            // Far longer than a minute, in all and each time.
            ctx.pass(150);
            sweep_if_offered(ctx, &store).await?;
            same("the silent stream", &1, &store.read(&one).await?.len())?;
            let renewed = store.renew(&one, &lease("me", 200)).await?;
            same("the answer to a renewal", &LeaseState::Held, &renewed)?;
        }
        first_are_removed(&store, &idle, std::slice::from_ref(&left), 1).await?;
        store.append(&one, "second").await?;
        same("what follows", &vec!["second"], &texts(&store.replay(&one, &first).await?))?;
        // When nobody renews any more, it is as idle as any other.
        ctx.pass(270);
        same("the stream without an owner", &0, &store.read(&one).await?.len())?;
        let gone = store.renew(&one, &lease("me", 200)).await?;
        same("a renewal of an expired stream", &LeaseState::Gone, &gone)?;
    }
    with_short_leases(ctx, &store).await
}

/// Renewals count as activity even where the lease is shorter than the time to be idle.
async fn with_short_leases(ctx: &Ctx, store: &Instance) -> Outcome {
    let one = stream("s", "short leases");
    let claim = text("first").with_lease(lease("me", 5));
    store.try_append(&one, claim).await??;
    for _ in 0..6 {
        ctx.pass(40);
        let renewed = store.renew(&one, &lease("me", 5)).await?;
        same("the answer to a renewal", &LeaseState::Held, &renewed)?;
        same("the stream", &1, &store.read(&one).await?.len())?;
    }
    ctx.pass(70);
    same("the stream when renewals end", &0, &store.read(&one).await?.len())
}

/// Eight ask at once, over and over, and one of them gets the lease.
async fn exactly_one(ctx: &Ctx, stores: &[Instance], one: &StreamRef) -> Outcome {
    for round in 0..10 {
        let ask = |n: usize| {
            let (store, one) = (stores[n % stores.len()].clone(), one.clone());
            async move { store.renew(&one, &lease(&format!("{round}/{n}"), 30)).await }
        };
        let mut held = Vec::new();
        for (n, state) in together((0..8).map(ask)).await?.into_iter().enumerate() {
            match state? {
                LeaseState::Held => held.push(n),
                LeaseState::Other { remaining } => between(remaining, 20, 30)?,
                other => return Err(Mismatch::new("Held or Other", format!("{other:?}"))),
            }
        }
        same("how many got the lease", &1, &held.len())?;
        ctx.pass(31);
    }
    Ok(())
}

fn between(remaining: Duration, least: u64, most: u64) -> Outcome {
    let range = Duration::from_secs(least)..=Duration::from_secs(most);
    ensure(range.contains(&remaining), format!("a remaining {range:?}"), format!("{remaining:?}"))
}

async fn takes_over_and_ends(ctx: &Ctx, stores: &[Instance]) -> Outcome {
    let (old, new) = (&stores[0], &stores[stores.len() - 1]);
    let one = stream("s", "a");
    old.try_append(&one, text("first").with_lease(lease("old", 30))).await??;
    let early = new.renew(&one, &lease("new", 30)).await?;
    let remaining = expect_match!(early, LeaseState::Other { remaining } => remaining, "early");
    between(remaining, 20, 30)?;
    ctx.pass(31);
    exactly_one(ctx, stores, &one).await?;
    let held = new.renew(&one, &lease("new", 30)).await?;
    same("a lapsed lease for the first that asks", &LeaseState::Held, &held)?;
    let late = old.renew(&one, &lease("old", 30)).await?;
    expect_match!(late, LeaseState::Other { .. }, "the lease for the former owner");
    new.complete(&one, "the end").await?;
    let late = old.try_append(&one, text("late").with_lease(lease("old", 30))).await?;
    expect_match!(late, Err(Error::StreamComplete), "an append of the former owner");
    for (store, owner) in [(old, "old"), (new, "new")] {
        let state = store.renew(&one, &lease(owner, 30)).await?;
        same("the lease on a complete stream", &LeaseState::Complete, &state)?;
    }
    same("the stream", &vec!["first", "the end"], &texts(&old.read(&one).await?))
}

pub(crate) async fn o2_a_lapsed_lease_goes_to_exactly_one(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&idle_after_half_a_day()).await?;
    takes_over_and_ends(ctx, &[store]).await
}

pub(crate) async fn o2_a_lapsed_lease_goes_to_exactly_one_instance(ctx: &Ctx) -> Outcome {
    let settings = idle_after_half_a_day();
    let stores = ctx.open_up_to(2, &settings).await?;
    takes_over_and_ends(ctx, &stores).await
}

fn idle_after_half_a_day() -> Settings {
    keeping(|r| r.stream_ttl = Some(Duration::from_secs(12 * 60 * 60)))
}

pub(crate) async fn o2_a_running_lease_stays_with_its_owner(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&idle_after_half_a_day()).await?;
    let one = stream("s", "a");
    store.append(&one, "nobody's").await?;
    // An append takes a free lease, and leaves another's alone.
    store.try_append(&one, text("mine").with_lease(lease("me", 30))).await??;
    store.try_append(&one, text("not yours").with_lease(lease("you", 1000))).await??;
    same("all of them are stored", &vec![1, 2, 3], &seqs(&store.read(&one).await?))?;
    let state = store.renew(&one, &lease("you", 30)).await?;
    let remaining = expect_match!(state, LeaseState::Other { remaining } => remaining, "yours");
    between(remaining, 20, 30)?;
    // My appends and renewals extend it; appends without a lease do not.
    ctx.pass(20);
    store.try_append(&one, text("still mine").with_lease(lease("me", 30))).await??;
    ctx.pass(20);
    let state = store.renew(&one, &lease("you", 30)).await?;
    expect_match!(state, LeaseState::Other { .. }, "a lease that an append extended");
    same("mine again", &LeaseState::Held, &store.renew(&one, &lease("me", 30)).await?)?;
    ctx.pass(20);
    let state = store.renew(&one, &lease("you", 30)).await?;
    expect_match!(state, LeaseState::Other { .. }, "a lease that was renewed");
    store.append(&one, "by whoever").await?;
    ctx.pass(11);
    let state = store.renew(&one, &lease("you", 30)).await?;
    same("a lease that has lapsed", &LeaseState::Held, &state)?;
    let state = store.renew(&one, &lease("me", 30)).await?;
    expect_match!(state, LeaseState::Other { .. }, "a lease that I lost");
    // Another stream's lease is another.
    let other = stream("t", "a");
    store.append(&other, "first").await?;
    same("a free lease", &LeaseState::Held, &store.renew(&other, &lease("me", 30)).await?)
}

pub(crate) async fn o2_renew_creates_and_revives_nothing(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&idle_after_a_minute()).await?;
    let absent = stream("s", "absent");
    let state = store.renew(&absent, &lease("me", 30)).await?;
    same("a lease on an absent stream", &LeaseState::Gone, &state)?;
    same("a stream made by renewing", &0, &store.delete_stream(&absent).await?.streams)?;
    for bad in [lease("", 30), lease("me", 0)] {
        let answer = store.events.renew(&absent, &bad).await;
        expect_match!(answer, Err(Error::InvalidInput { .. }), "a lease that claims nothing");
    }
    let expired = stream("s", "expired");
    let id = store.append(&expired, "first").await?;
    ctx.pass(70);
    for _ in 0..2 {
        let state = store.renew(&expired, &lease("me", 30)).await?;
        same("a lease on an expired stream", &LeaseState::Gone, &state)?;
        first_are_removed(&store, &expired, std::slice::from_ref(&id), 1).await?;
        sweep_if_offered(ctx, &store).await?;
    }
    let deleted = stream("s", "deleted");
    store.try_append(&deleted, NewEvent::priming(None)).await??;
    store.delete_stream(&deleted).await?;
    let state = store.renew(&deleted, &lease("me", 30)).await?;
    same("a lease on a deleted stream", &LeaseState::Gone, &state)
}
