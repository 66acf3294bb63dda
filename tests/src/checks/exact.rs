//! A5: what comes back is what was stored, to the byte.

use std::time::Duration;

use mcp_event_store_core::{NewEvent, StoredEvent, StreamRef};

use crate::context::{Ctx, unlimited};
use crate::failure::{Outcome, ensure, same, shortened};
use crate::instance::Instance;
use crate::tools::{json, padded, stream};

const MIB: usize = 1024 * 1024;

/// JSON texts that a store might be tempted to tidy up.
const TEXTS: &[&str] = &[
    "{}",
    "[]",
    "null",
    "\"\"",
    "0",
    "-0.0",
    "1e400",
    "1.10",
    "123456789012345678901234567890.000",
    "{ \"a\" :\t1 ,\r\n \"b\" : [ ] }",
    "{\n\n}",
    "[\"a\\nb\", \"\\u0000\", \"\\ud83e\\udd80\", \"\\ud83e\"]",
    r#"{"é":"é","e\u0301":"日本語 🦀"}"#,
    r#"{"b":1,"a":2,"b":3}"#,
    r#"{"":"","\\":"\"'`;--%_$1?"}"#,
    r#"{"jsonrpc":"2.0","id":"1","result":{"content":[{"type":"text","text":"data: x\n\n"}]}}"#,
];

/// Events of every shape, with the last one completing the stream.
fn events() -> Vec<NewEvent> {
    let hint = Duration::from_millis;
    let mut events: Vec<_> = TEXTS.iter().map(|text| NewEvent::message(json(*text))).collect();
    events.insert(0, NewEvent::priming(None));
    events.push(NewEvent::message(json("\"\u{2028}\u{2029}\u{feff}\u{fffd}\u{10ffff}\u{7f}\"")));
    for retry in [0, 1, 999, 1000, 86_400_000, u64::from(u32::MAX) + 1] {
        events.push(NewEvent::priming(hint(retry)));
        events.push(NewEvent::message(json("{}")).with_retry(hint(retry)));
    }
    events.push(NewEvent::priming(Duration::from_micros(2_999_999)));
    events.push(padded("4 MiB", 4 * MIB));
    events.push(padded("almost a page", 256 * 1024 - 1));
    events.push(NewEvent::message(json("{}")).with_retry(hint(7)).completing());
    events
}

async fn append_all(store: &Instance, to: &StreamRef) -> Outcome<Vec<NewEvent>> {
    let events = events();
    for event in &events {
        store.try_append(to, event.clone()).await??;
    }
    Ok(events)
}

fn come_back_exactly(stored: &[NewEvent], came: &[StoredEvent]) -> Outcome {
    same("the number of events", &stored.len(), &came.len())?;
    for (stored, came) in stored.iter().zip(came) {
        let message = |of: &Option<_>| shortened(&format!("{of:?}"));
        let (old, new) = (message(&stored.message), message(&came.message));
        ensure(stored.message == came.message, format!("the message {old}"), new)?;
        let whole = stored.retry.map(|retry| retry.as_millis());
        same("the `retry` in milliseconds", &whole, &came.retry.map(|r| r.as_millis()))?;
        same("whether it completes the stream", &stored.completes_stream, &came.completes_stream)?;
    }
    Ok(())
}

pub(crate) async fn a5_events_come_back_exactly(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let one = stream("s", "a");
    let stored = append_all(&store, &one).await?;
    let read = store.read(&one).await?;
    come_back_exactly(&stored, &read)?;
    come_back_exactly(&stored[1..], &store.replay(&one, &read[0].id).await?)
}

pub(crate) async fn a5_events_come_back_exactly_after_reopening(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let one = stream("s", "a");
    let stored = append_all(&store, &one).await?;
    let store = ctx.reopen(store, &unlimited()).await?;
    come_back_exactly(&stored, &store.read(&one).await?)
}

pub(crate) async fn a5_followed_events_come_back_exactly(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let one = stream("s", "a");
    let mut follower = store.follow_from_start(&one).await?;
    let stored = append_all(&store, &one).await?;
    let (events, error) = follower.rest().await?;
    same("an end without an error", &true, &error.is_none())?;
    come_back_exactly(&stored, &events)
}
