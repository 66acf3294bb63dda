//! A2: the order of appends.

use mcp_event_store_core::{EventId, StoredEvent, StreamRef};

use crate::context::{Ctx, unlimited};
use crate::failure::{Outcome, ensure, same};
use crate::instance::Instance;
use crate::need::Need;
use crate::tools::{ids, in_sequence, lone, numbers, same_events, stream, texts, together};

const WRITERS: usize = 8;
const EACH: usize = 25;

pub(crate) async fn a2_sequential_appends_replay_in_that_order(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let both = [stream("s", "a"), lone("a")];
    let mut appended = [Vec::new(), Vec::new()];
    // Alternating, so that one stream's order is not that of the whole store.
    for n in 1..=300 {
        for (stream, ids) in both.iter().zip(&mut appended) {
            ids.push(store.append(stream, n).await?);
        }
    }
    for (stream, appended) in both.iter().zip(&appended) {
        let all = numbers(1, 300);
        let read = store.read(stream).await?;
        same_events("a read from the start", 1, (&all, appended), &read)?;
        let replay = store.replay(stream, &appended[0]).await?;
        same_events("a replay after the first", 2, (&all[1..], &appended[1..]), &replay)?;
    }
    Ok(())
}

pub(crate) async fn a2_concurrent_appends_have_one_order_for_every_reader(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let one = stream("s", "shared");
    let anchor = store.append(&one, "anchor").await?;
    let writers = (0..WRITERS).map(|writer| write(store.clone(), one.clone(), writer));
    for appended in together(writers).await? {
        appended?;
    }

    let order = store.replay(&one, &anchor).await?;
    same("the number of events", &(WRITERS * EACH), &order.len())?;
    in_sequence("the concurrent events", 2, &order)?;
    each_writer_in_order(&order)?;
    every_reader_agrees(&store, &one, &anchor, &order).await?;
    store.append(&one, "later").await?;
    let read = store.read(&one).await?;
    same("the order after another append", &ids(&order), &ids(&read[1..=order.len()]))?;
    if ctx.offers(Need::Reopen) {
        let again = ctx.reopen(store, &unlimited()).await?.read(&one).await?;
        same("the order after reopening", &ids(&read), &ids(&again))?;
    }
    Ok(())
}

async fn write(store: Instance, to: StreamRef, writer: usize) -> Outcome {
    for n in 0..EACH {
        store.append(&to, format!("{writer}/{n}")).await?;
    }
    Ok(())
}

/// Each writer waited for its last append, so its own events are in its own order.
fn each_writer_in_order(events: &[StoredEvent]) -> Outcome {
    for writer in 0..WRITERS {
        let prefix = format!("{writer}/");
        let own: Vec<_> =
            texts(events).into_iter().filter(|text| text.starts_with(&prefix)).collect();
        let expected: Vec<_> = (0..EACH).map(|n| format!("{prefix}{n}")).collect();
        same(format!("the events of writer {writer}"), &expected, &own)?;
    }
    Ok(())
}

async fn every_reader_agrees(
    store: &Instance,
    one: &StreamRef,
    anchor: &EventId,
    order: &[StoredEvent],
) -> Outcome {
    let reader = |n: usize| {
        let (store, one) = (store.clone(), one.clone());
        let after = if n == 0 { anchor.clone() } else { order[n - 1].id.clone() };
        async move { store.replay(&one, &after).await }
    };
    let starts = (0..order.len()).step_by(9);
    for (start, replay) in starts.clone().zip(together(starts.map(reader)).await?) {
        let replay = replay?;
        let came = format!("after event {start}: {:?}", texts(&replay));
        ensure(replay == order[start..], "the same events and order for every reader", came)?;
    }
    Ok(())
}
