//! T8: what a sweep does to the database, to others, and beside others.

use std::time::Duration;

use mcp_event_store_core::{EventId, Settings, StreamRef, Usage};

use crate::checks::expired::first_are_removed;
use crate::context::{Ctx, keeping};
use crate::failure::{Outcome, ensure, same};
use crate::instance::Instance;
use crate::tools::{lone, stream, together};

const IDLE: usize = 30;
const EACH: usize = 20;
const YOUNG: usize = 4;

fn settings() -> Settings {
    keeping(|r| {
        r.stream_ttl = Some(Duration::from_secs(200));
        r.event_ttl = Some(Duration::from_secs(100));
        r.tombstone_ttl = Duration::from_secs(1000);
    })
}

fn name(n: usize) -> StreamRef {
    if n.is_multiple_of(2) { stream("s", &n.to_string()) } else { lone(&n.to_string()) }
}

/// Streams that expire and, as many, that only lose their first events.
struct Field {
    idle: Vec<(StreamRef, Vec<EventId>)>,
    live: Vec<(StreamRef, Vec<EventId>)>,
}

impl Field {
    async fn sow(ctx: &Ctx, store: &Instance) -> Outcome<Self> {
        let fill = |n: usize| {
            let store = store.clone();
            async move { Ok((name(n), store.fill(&name(n), EACH).await?)) }
        };
        let filled = together((0..2 * IDLE).map(fill)).await?;
        let mut idle: Vec<(StreamRef, Vec<EventId>)> =
            filled.into_iter().collect::<Outcome<_>>()?;
        let mut live = idle.split_off(IDLE);
        ctx.pass(150);
        for (name, ids) in &mut live {
            ids.extend(store.fill(name, YOUNG).await?);
        }
        ctx.pass(60);
        Ok(Self { idle, live })
    }

    async fn is_reaped(&self, store: &Instance) -> Outcome {
        for (name, ids) in &self.idle {
            first_are_removed(store, name, ids, ids.len()).await?;
        }
        for (name, ids) in &self.live {
            first_are_removed(store, name, ids, EACH).await?;
        }
        let usage = store.usage().await?;
        let (idle, live) = (IDLE as u64, IDLE as u64);
        same("streams", &live, &usage.streams)?;
        same("tombstones", &idle, &usage.tombstones)?;
        same("kept events", &(live * YOUNG as u64), &usage.events)
    }
}

/// What all sweeps together freed: events, streams and trimmed events.
async fn freed(stores: &[Instance], times: usize) -> Outcome<(u64, u64, u64)> {
    let sweep = |n: usize| {
        let store = stores[n % stores.len()].clone();
        async move { store.sweep().await }
    };
    let mut sum = (0, 0, 0);
    for report in together((0..times).map(sweep)).await? {
        let report = report?;
        sum.0 += report.freed_events;
        sum.1 += report.expired_streams;
        sum.2 += report.trimmed_events;
    }
    Ok(sum)
}

/// What there is to free in a [`Field`].
fn to_free() -> (u64, u64, u64) {
    let events = (IDLE * EACH) as u64;
    (2 * events, IDLE as u64, events)
}

pub(crate) async fn t8_a_sweep_frees_what_is_removed_and_spares_the_rest(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&settings()).await?;
    let field = Field::sow(ctx, &store).await?;
    let stores = [store];
    let what = "freed events, expired streams and trimmed events";
    same(what, &to_free(), &freed(&stores, 1).await?)?;
    field.is_reaped(&stores[0]).await?;
    same(format!("{what} of another sweep"), &(0, 0, 0), &freed(&stores, 1).await?)?;
    ctx.pass(3000);
    let forgotten = stores[0].sweep().await?.forgotten_tombstones
        + stores[0].sweep().await?.forgotten_tombstones;
    ensure(forgotten >= IDLE as u64, format!("{IDLE} forgotten tombstones or more"), forgotten)?;
    same("what is left when all is forgotten", &Usage::default(), &stores[0].usage().await?)
}

pub(crate) async fn t8_appends_go_on_during_a_long_sweep(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&settings()).await?;
    let field = Field::sow(ctx, &store).await?;
    let busy = stream("s", "busy");
    let stores = [store.clone()];
    let (freed, appended) = tokio::join!(freed(&stores, 1), store.fill(&busy, 50));
    same("freed events, expired streams and trimmed events", &to_free(), &freed?)?;
    first_are_removed(&store, &busy, &appended?, 0).await?;
    store.delete_stream(&busy).await?;
    field.is_reaped(&store).await
}

pub(crate) async fn t8_several_instances_may_sweep_at_once(ctx: &Ctx) -> Outcome {
    let stores = ctx.open_up_to(3, &settings()).await?;
    let field = Field::sow(ctx, &stores[0]).await?;
    let all = freed(&stores, 9).await?;
    same("what all sweeps together freed", &to_free(), &all)?;
    for store in &stores {
        field.is_reaped(store).await?;
    }
    Ok(())
}
