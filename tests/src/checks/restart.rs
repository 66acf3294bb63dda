//! R1 and R2: stores that are opened again, and streams that several instances share.

use std::time::Duration;

use mcp_event_store_core::{Error, EventId, Lease, LeaseState, NewEvent};

use crate::checks::deletion::is_gone;
use crate::context::{Ctx, unlimited};
use crate::failure::{Outcome, ensure, expect_match, same};
use crate::instance::Instance;
use crate::need::Need;
use crate::tools::{ids, in_sequence, lone, random, stream, text, together};

pub(crate) async fn r1_reopening_changes_nothing_and_sequences_continue(ctx: &Ctx) -> Outcome {
    let places = [stream("s", "a"), stream("t", "a"), lone("a")];
    let (done, deleted) = (stream("s", "done"), stream("s", "deleted"));
    let mut store = ctx.open().await?;
    store.complete(&done, "end").await?;
    let gone = store.fill(&deleted, 3).await?;
    store.delete_stream(&deleted).await?;
    let mut all: Vec<Vec<EventId>> = vec![Vec::new(); places.len()];
    for round in 0..4 {
        for (place, all) in places.iter().zip(&mut all) {
            all.push(store.try_append(place, NewEvent::priming(Duration::from_secs(1))).await??);
            all.extend(store.fill(place, 5).await?);
        }
        let leased = store.try_append(&places[0], text("leased").with_lease(lease("me"))).await??;
        all[0].push(leased);
        let mut before = Vec::new();
        for place in &places {
            before.push(store.read(place).await?);
        }
        let usage = store.usage_if_told().await?;
        store = if round % 2 == 0 {
            ctx.reopen(store, &unlimited()).await?
        } else {
            // Dropped without being closed.
            drop(store);
            ctx.open().await?
        };
        same("the usage after reopening", &usage, &store.usage_if_told().await?)?;
        for (place, (all, before)) in places.iter().zip(all.iter().zip(&before)) {
            let after = store.read(place).await?;
            same("the events after reopening", before, &after)?;
            same("their IDs", all, &ids(&after))?;
            in_sequence("the events after reopening", 1, &after)?;
            let middle = all.len() / 2;
            let replay = ids(&store.replay(place, &all[middle]).await?);
            same("a replay after reopening", &all[middle + 1..].to_vec(), &replay)?;
        }
        is_gone(&store, &deleted, &gone).await?;
        let late = store.try_append(&done, text("late")).await?;
        expect_match!(late, Err(Error::StreamComplete), "an append to a stream that was complete");
        lease_survives(ctx, &store).await?;
    }
    Ok(())
}

fn lease(owner: &str) -> Lease {
    Lease::new(owner, Duration::from_secs(3600))
}

async fn lease_survives(ctx: &Ctx, store: &Instance) -> Outcome {
    if ctx.offers(Need::Leases) {
        let state = store.renew(&stream("s", "a"), &lease("another")).await?;
        expect_match!(state, LeaseState::Other { .. }, "a lease from before");
    }
    Ok(())
}

pub(crate) async fn r2_a_third_instance_sees_what_two_append(ctx: &Ctx) -> Outcome {
    const TASKS: usize = 4;
    const EACH: usize = 60;
    let writers = [ctx.open().await?, ctx.open().await?];
    let reader = ctx.open().await?;
    for round in 0..3 {
        let one = stream("s", &format!("round {round}"));
        let first = writers[0].append(&one, "first").await?;
        let mut follower = reader.follow(&one, &first).await?;
        let write = |n: usize| {
            let (store, one) = (writers[n % 2].clone(), one.clone());
            async move {
                for event in 0..EACH {
                    if random(4) == 0 {
                        tokio::task::yield_now().await;
                    }
                    store.append(&one, format!("{n}/{event}")).await?;
                }
                Outcome::Ok(())
            }
        };
        let all = TASKS * EACH;
        let writing = together((0..TASKS).map(write));
        let (written, events) = tokio::join!(writing, follower.events(all));
        written?.into_iter().collect::<Outcome<()>>()?;
        let mut seen = events?;
        writers[1].complete(&one, "end").await?;
        seen.push(follower.event().await?);
        follower.end().await?;
        in_sequence("what the third instance saw", 2, &seen)?;
        for store in writers.iter().chain([&reader]) {
            let replay = store.replay(&one, &first).await?;
            let agree = replay == seen;
            ensure(agree, "a replay like the follow, on each instance", format!("{replay:?}"))?;
        }
    }
    Ok(())
}
