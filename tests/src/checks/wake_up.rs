//! F2: events that another instance appends.

use std::time::{Duration, Instant};

use mcp_event_store_core::StreamRef;

use crate::context::Ctx;
use crate::failure::{Mismatch, Outcome, ensure, same};
use crate::follower::Follower;
use crate::process::tell_parent;
use crate::tools::{in_sequence, lone, random, stream};

const EVENTS: usize = 20;

/// How long the follower is left alone before each event, so that it is asleep when it comes.
const PAUSE: u64 = 40;

pub(crate) async fn f2_events_of_another_instance_arrive_in_time(ctx: &Ctx) -> Outcome {
    let (reader, writer) = (ctx.open().await?, ctx.open().await?);
    for one in [stream("s", "a"), lone("a")] {
        let first = writer.append(&one, "first").await?;
        let mut followers =
            [reader.follow_from_start(&one).await?, reader.follow(&one, &first).await?];
        same("the first event", &first, &followers[0].event().await?.id)?;
        for n in 0..EVENTS {
            tokio::time::sleep(Duration::from_millis(random(PAUSE))).await;
            let id = writer.append(&one, n).await?;
            let stored = Instant::now();
            for follower in &mut followers {
                same("the event of another instance", &id, &follower.event().await?.id)?;
                in_time(ctx, stored.elapsed())?;
            }
        }
        writer.complete(&one, "end").await?;
        for follower in &mut followers {
            follower.event().await?;
            follower.end().await?;
        }
    }
    // A stream that is not there yet is woken for as well.
    let absent = stream("s", "absent");
    let mut follower = reader.follow_from_start(&absent).await?;
    follower.nothing_yet()?;
    let id = writer.append(&absent, "first").await?;
    let stored = Instant::now();
    same("the first event of another instance", &id, &follower.event().await?.id)?;
    in_time(ctx, stored.elapsed())
}

fn in_time(ctx: &Ctx, took: Duration) -> Outcome {
    let bound = ctx.wake_up_bound();
    ensure(took <= bound, format!("an event within the stated {bound:?}"), format!("{took:?}"))
}

pub(crate) async fn f2_events_of_another_process_arrive_in_time(ctx: &Ctx) -> Outcome {
    let one = stream("s", "a");
    if ctx.is_child() {
        return append_now_and_then(ctx, &one).await;
    }
    let store = ctx.open().await?;
    let mut follower = store.follow_from_start(&one).await?;
    let mut helper = ctx.start_helper()?;
    let mut came = Vec::new();
    for n in 0..EVENTS {
        let line = helper.next_line().await?;
        let told = Instant::now();
        let id = line.ok_or_else(|| Mismatch::new("an append by another process", "its end"))?;
        if let Some(error) = id.strip_prefix("error ") {
            return Err(Mismatch::new("an append by another process", error));
        }
        came.push(arrived(&mut follower, &id).await?);
        in_time(ctx, told.elapsed())?;
        in_sequence(format!("the events until {n}"), 1, &came)?;
    }
    helper.kill().await?;
    Ok(())
}

async fn arrived(follower: &mut Follower, id: &str) -> Outcome<mcp_event_store_core::StoredEvent> {
    let event = follower.event().await?;
    same("the event of another process", &id, &event.id.as_str())?;
    Ok(event)
}

/// The child's part.
async fn append_now_and_then(ctx: &Ctx, to: &StreamRef) -> Outcome {
    let store = ctx.open().await?;
    for n in 0..=EVENTS {
        tokio::time::sleep(Duration::from_millis(random(PAUSE))).await;
        match store.append(to, n).await {
            Ok(id) => tell_parent(id.as_str()),
            Err(error) => tell_parent(&format!("error {error:?}")),
        }
    }
    // Until the parent has seen enough.
    std::future::pending().await
}
