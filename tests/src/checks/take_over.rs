//! F7: a client that has come back reads alone.

use mcp_event_store_core::{EventId, StreamRef};

use crate::context::Ctx;
use crate::failure::{Outcome, ensure, same};
use crate::follower::Follower;
use crate::instance::Instance;
use crate::tools::{ids, in_sequence, lone, stream, texts};

/// Fails unless `old` ends, by itself, having given nothing but the stream's own events in order.
async fn is_ended(old: &mut Follower, first_seq: u64) -> Outcome {
    let (events, error) = old.rest().await?;
    ensure(error.is_none(), "an end without an error", format!("{error:?}"))?;
    in_sequence("what the older follow gave", first_seq, &events)
}

/// Takes over on `new` while `old` follows twice.
async fn take_over(old: &Instance, new: &Instance, one: &StreamRef) -> Outcome {
    let first = old.append(one, "first").await?;
    let mut olds = [old.follow(one, &first).await?, old.follow_from_start(one).await?];
    olds[1].event().await?;
    old.append(one, "second").await?;
    for follower in &mut olds {
        same("an event before the take-over", &2, &follower.event().await?.seq)?;
        follower.nothing_yet()?;
    }
    let mut newer = new.take_over(one, &first).await?;
    same("the new follow's first", &2, &newer.event().await?.seq)?;
    // They end without any further event.
    for follower in &mut olds {
        is_ended(follower, 3).await?;
    }
    let third = old.append(one, "third").await?;
    same("a later event goes to the new follow", &third, &newer.event().await?.id)?;
    // And again: the newest always wins, also from the start.
    let mut newest = old.take_over(one, &third).await?;
    is_ended(&mut newer, 4).await?;
    let last = new.complete(one, "last").await?;
    same("the last event", &last, &newest.event().await?.id)?;
    newest.end().await
}

pub(crate) async fn f7_taking_over_ends_older_follows(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    take_over(&store, &store, &stream("s", "a")).await?;
    take_over(&store, &store, &lone("a")).await?;
    while_appended(&store, &store, &stream("s", "busy")).await
}

pub(crate) async fn f7_taking_over_ends_older_follows_on_other_instances(ctx: &Ctx) -> Outcome {
    let (old, new) = (ctx.open().await?, ctx.open().await?);
    take_over(&old, &new, &stream("s", "a")).await?;
    take_over(&new, &old, &lone("a")).await?;
    while_appended(&old, &new, &stream("s", "busy")).await
}

/// One after the other takes over while events are appended; between them they miss nothing.
async fn while_appended(left: &Instance, right: &Instance, one: &StreamRef) -> Outcome {
    const EVENTS: usize = 200;
    let mut last_seen: EventId = left.append(one, "first").await?;
    let writer = {
        let (store, one) = (left.clone(), one.clone());
        tokio::spawn(async move {
            store.fill(&one, EVENTS).await?;
            store.complete(&one, "end").await
        })
    };
    let mut seen = Vec::new();
    let mut older: Option<(Follower, u64)> = None;
    for turn in 0.. {
        let on = if turn % 2 == 0 { left } else { right };
        let mut newer = on.take_over(one, &last_seen).await?;
        if let Some((mut older, next_seq)) = older.take() {
            is_ended(&mut older, next_seq).await?;
        }
        let (events, error) = newer.rest_of(10).await?;
        ensure(error.is_none(), "no error while nobody else takes over", format!("{error:?}"))?;
        if let Some(event) = events.last() {
            last_seen = event.id.clone();
            older = Some((newer, event.seq + 1));
        }
        let complete = events.last().is_none_or(|event| event.completes_stream);
        seen.extend(events);
        if complete {
            break;
        }
    }
    writer.await.expect("no panic")?;
    let all = left.read(one).await?;
    same("what all of them saw", &ids(&all[1..]), &ids(&seen))?;
    same("the last they saw", &Some("end"), &texts(&seen).last().map(String::as_str))
}

pub(crate) async fn f7_joining_and_other_streams_end_nothing(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let one = stream("s", "a");
    let others = [stream("s", "b"), stream("t", "a"), lone("a")];
    let first = store.append(&one, "first").await?;
    let mut follower = store.follow(&one, &first).await?;
    let mut taken = Vec::new();
    for other in &others {
        let id = store.append(other, "first").await?;
        taken.push(store.take_over(other, &id).await?);
    }
    let mut joined = store.follow(&one, &first).await?;
    store.read(&one).await?;
    store.replay(&one, &first).await?;
    follower.nothing_yet()?;
    let last = store.complete(&one, "last").await?;
    for follower in [&mut follower, &mut joined] {
        same("an event for all that joined", &last, &follower.event().await?.id)?;
        follower.end().await?;
    }
    for follower in &mut taken {
        follower.nothing_yet()?;
    }
    Ok(())
}
