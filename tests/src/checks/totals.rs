//! T6 and the first half of T7: what all streams together may hold, and what makes room.

use std::time::Duration;

use mcp_event_store_core::{EventId, Lease, Settings, StreamRef};

use crate::checks::expired::first_are_removed;
use crate::context::{Ctx, keeping};
use crate::failure::{Outcome, ensure, same};
use crate::instance::Instance;
use crate::tools::{eventually, lone, padded, stream, text};

const EACH: usize = 5;
const BYTES: usize = 10_000;

/// A stream of [`EACH`] events of [`BYTES`] bytes.
struct Filled {
    name: StreamRef,
    complete: bool,
    ids: Vec<EventId>,
}

async fn fill(ctx: &Ctx, store: &Instance, name: StreamRef, complete: bool) -> Outcome<Filled> {
    let mut ids = Vec::new();
    for n in 1..=EACH {
        let event = padded(n, BYTES);
        let event = if complete && n == EACH { event.completing() } else { event };
        ids.push(store.try_append(&name, event).await??);
    }
    // One stream is clearly less recent than the next.
    ctx.pass(1);
    Ok(Filled { name, complete, ids })
}

impl Filled {
    /// What is left when nothing more can be taken away.
    fn least(&self) -> usize {
        usize::from(!self.complete)
    }

    async fn kept(&self, store: &Instance) -> Outcome<usize> {
        let kept = store.read(&self.name).await?.len();
        first_are_removed(store, &self.name, &self.ids, self.ids.len() - kept).await?;
        Ok(kept)
    }
}

/// Fails unless, from the least recent stream on, each had to give all it can before the next
/// gave anything.
async fn least_recent_first(store: &Instance, by_recency: &[Filled]) -> Outcome {
    let mut kept = Vec::new();
    for stream in by_recency {
        kept.push(stream.kept(store).await?);
    }
    let given = by_recency.iter().zip(&kept).rposition(|(of, kept)| *kept < of.ids.len());
    let spared = given.unwrap_or(0);
    let all_given = by_recency.iter().zip(&kept).take(spared).all(|(of, kept)| *kept == of.least());
    let came = format!("kept events, from the least recent stream on: {kept:?}");
    ensure(all_given, "complete streams gone and live ones cut, the least recent first", came)
}

/// Streams in `places`, every second one complete, and then one more event in the first of them,
/// which makes it the most recent. Given in the order of recency.
async fn filled(
    ctx: &Ctx,
    store: &Instance,
    places: impl Iterator<Item = StreamRef>,
) -> Outcome<Vec<Filled>> {
    let mut streams = Vec::new();
    for (n, place) in places.enumerate() {
        streams.push(fill(ctx, store, place, n % 2 == 1).await?);
    }
    let mut first = streams.remove(0);
    first.ids.push(store.append(&first.name, "recent").await?);
    ctx.pass(1);
    streams.push(first);
    Ok(streams)
}

/// A cap that more than half of eight streams must give way to.
const CAP: u64 = 150_000;

/// The most that one stream gives back at once.
const ONE_STREAM: u64 = 52_000;

pub(crate) async fn t6_the_least_recent_streams_make_room_in_all(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&keeping(|r| r.max_total_bytes = Some(CAP))).await?;
    let name = |n: u32| match n % 3 {
        0 => lone(&format!("{n}")),
        1 => stream("s", &format!("{n}")),
        _ => stream("t", &format!("{n}")),
    };
    let streams = filled(ctx, &store, (0..8).map(name)).await?;
    for stream in &streams {
        // Nothing is refused, and nothing goes before the sweep.
        same("the events before a sweep", &stream.ids.len(), &stream.kept(&store).await?)?;
    }
    store.sweep().await?;
    let bytes = store.usage().await?.bytes;
    let range = CAP - ONE_STREAM..=CAP;
    ensure(range.contains(&bytes), format!("{range:?} bytes after the sweep"), bytes)?;
    least_recent_first(&store, &streams).await?;
    let again = store.sweep().await?;
    same("what another sweep removes", &0, &(again.trimmed_events + again.expired_streams))
}

pub(crate) async fn t6_the_least_recent_streams_make_room_in_their_session(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&keeping(|r| r.max_bytes_per_session = Some(CAP))).await?;
    let small = fill(ctx, &store, stream("small", "0"), true).await?;
    let mut alone = Vec::new();
    for n in 0..4 {
        alone.push(fill(ctx, &store, lone(&format!("{n}")), n % 2 == 0).await?);
    }
    let before = store.usage().await?.bytes;
    let streams = filled(ctx, &store, (0..8).map(|n| stream("big", &format!("{n}")))).await?;
    store.sweep().await?;
    let bytes = store.usage().await?.bytes - before;
    let range = CAP - ONE_STREAM..=CAP;
    ensure(range.contains(&bytes), format!("{range:?} bytes in the session"), bytes)?;
    least_recent_first(&store, &streams).await?;
    for spared in alone.iter().chain([&small]) {
        same("another's events", &EACH, &spared.kept(&store).await?)?;
    }
    Ok(())
}

pub(crate) async fn t6_a_renewed_stream_is_recent(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&keeping(|r| r.max_total_bytes = Some(CAP))).await?;
    let mut streams = Vec::new();
    for n in 0..6 {
        streams.push(fill(ctx, &store, stream("s", &format!("{n}")), false).await?);
    }
    store.renew(&streams[0].name, &Lease::new("me", Duration::from_secs(5))).await?;
    ctx.pass(1);
    let renewed = streams.remove(0);
    streams.push(renewed);
    store.sweep().await?;
    least_recent_first(&store, &streams).await?;
    same("the events of the renewed stream", &EACH, &streams[5].kept(&store).await?)
}

pub(crate) async fn t6_the_background_sweep_keeps_the_total(ctx: &Ctx) -> Outcome {
    let settings = keeping(|r| {
        r.max_total_bytes = Some(CAP);
        r.sweep_every = Some(Duration::from_millis(100));
    });
    let store = ctx.open_with(&settings).await?;
    for n in 0..8 {
        fill(ctx, &store, stream("s", &format!("{n}")), true).await?;
    }
    eventually(store.patience, format!("at most {CAP} bytes, by itself"), || async {
        Ok(store.usage().await?.bytes <= CAP)
    })
    .await
}

/// Every cap in turn, each far too small for a single event.
fn hardly_anything() -> [Settings; 4] {
    [
        keeping(|r| r.max_events_per_stream = Some(1)),
        keeping(|r| r.max_bytes_per_stream = Some(1)),
        keeping(|r| r.max_bytes_per_session = Some(1)),
        keeping(|r| r.max_total_bytes = Some(1)),
    ]
}

pub(crate) async fn t7_the_newest_event_of_a_live_stream_survives_the_caps(ctx: &Ctx) -> Outcome {
    for (way, settings) in hardly_anything().iter().enumerate() {
        let store = ctx.open_with(settings).await?;
        let name = format!("way {way}");
        let (one, alone) = (stream(&name, "a"), lone(&name));
        let mut all = [store.fill(&one, 4).await?, store.fill(&alone, 4).await?];
        for _ in 0..3 {
            store.sweep().await?;
            for (stream, ids) in [&one, &alone].into_iter().zip(&mut all) {
                // No limit of a session holds for a stream without one.
                let spared = way == 2 && stream == &alone;
                let removed = if spared { 0 } else { ids.len() - 1 };
                first_are_removed(&store, stream, ids, removed).await?;
                ids.push(store.try_append(stream, text("newest")).await??);
            }
        }
        store.delete_stream(&one).await?;
        store.delete_stream(&alone).await?;
        store.shut().await?;
    }
    Ok(())
}
