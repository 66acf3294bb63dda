//! L2, P8 and F4: time and memory, measured in a process of their own, with wide bounds.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use mcp_event_store_core::{EventId, StreamRef};

use crate::context::Ctx;
use crate::failure::{FailureKind, Mismatch, Outcome, ensure, expect_match, same};
use crate::follower::Follower;
use crate::instance::{Instance, within};
use crate::process::resident_bytes;
use crate::tools::{padded, stream, together};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn resident() -> Outcome<usize> {
    let bytes = resident_bytes().and_then(|bytes| usize::try_from(bytes).ok());
    bytes.ok_or_else(|| Mismatch::harness("a system that tells a process's memory", "none"))
}

/// Appends `count` events of `bytes` bytes to each of `streams`, many at a time.
async fn fill(store: &Instance, streams: Vec<StreamRef>, count: usize, bytes: usize) -> Outcome {
    let fill = |stream: StreamRef| {
        let store = store.clone();
        async move {
            for n in 0..count {
                store.try_append(&stream, padded(n, bytes)).await??;
            }
            Outcome::Ok(())
        }
    };
    together(streams.into_iter().map(fill)).await?.into_iter().collect()
}

/// The median time of one look-up.
async fn median(store: &Instance, ids: &[EventId]) -> Outcome<Duration> {
    let mut times = Vec::new();
    for id in ids.iter().cycle().take(400) {
        let start = Instant::now();
        store.look_up(id).await?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

pub(crate) async fn l2_the_cost_of_look_up_does_not_depend_on_what_is_stored(ctx: &Ctx) -> Outcome {
    const TIMES: u32 = 12;
    const STREAMS: usize = 100;
    /// What a machine with other work may add.
    const SLACK: Duration = Duration::from_micros(150);
    let store = ctx.open().await?;
    let one = stream("s", "a");
    let mut ids = store.fill(&one, 20).await?;
    ids.push(EventId::new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    ids.push(EventId::new("not an ID"));
    median(&store, &ids).await?;
    let few = median(&store, &ids).await?;
    // A thousand times as much, in one long stream and in many.
    let others = (0..STREAMS).map(|n| stream("s", &n.to_string())).collect();
    fill(&store, others, 150, 20).await?;
    fill(&store, vec![one; 16], 300, 20).await?;
    let many = median(&store, &ids).await?;
    let bound = few * TIMES + SLACK;
    let came = format!("{few:?} with 20 events stored, {many:?} with 20,000");
    ensure(
        many <= bound,
        format!("a look-up that takes as long as before, at most {bound:?}"),
        came,
    )
}

pub(crate) async fn p8_an_open_replay_holds_a_page_and_not_the_stream(ctx: &Ctx) -> Outcome {
    const EVENT: usize = 64 * KIB;
    const EVENTS: usize = 800;
    const REPLAYS: usize = 8;
    /// A page is far less for each of them; the stream is twice as much.
    const BOUND: usize = EVENTS * EVENT / 2;
    let store = ctx.open().await?;
    let one = stream("s", "a");
    let first = store.append(&one, "first").await?;
    fill(&store, vec![one.clone()], EVENTS, EVENT).await?;
    // Once through, so that caches and the allocator have what they keep anyway.
    let through = drain(&store, &one, &first, usize::MAX).await?;
    same("the events of a whole replay", &EVENTS, &through)?;
    let before = resident()?;
    let mut open = Vec::new();
    for _ in 0..REPLAYS {
        let mut events = store.try_open(one.scope(), &first).await??.events;
        let event = within(store.patience, "an event", events.next()).await?;
        expect_match!(event, Some(Ok(_)), "an event");
        open.push(events);
    }
    grown_at_most(BOUND, before, "with eight open replays")?;
    drain(&store, &one, &first, BOUND).await?;
    drop(open);
    Ok(())
}

/// Reads the whole replay, forgetting each event, and fails if memory grows by `bound` meanwhile.
async fn drain(store: &Instance, one: &StreamRef, first: &EventId, bound: usize) -> Outcome<usize> {
    let before = resident()?;
    let mut replay = store.try_open(one.scope(), first).await??.events;
    let mut count = 0;
    while let Some(event) = within(store.patience, "an event", replay.next()).await? {
        event?;
        count += 1;
        if count % 100 == 0 && bound < usize::MAX {
            grown_at_most(bound, before, "during a replay")?;
        }
    }
    Ok(count)
}

fn grown_at_most(bound: usize, before: usize, when: &str) -> Outcome {
    let grown = resident()?.saturating_sub(before);
    let expected = format!("at most {} MiB more {when}", bound / MIB);
    ensure(grown <= bound, expected, format!("{} MiB more", grown / MIB))
}

/// The stream that F4 measures: 24 MiB.
const EVENT: usize = 16 * KIB;
const EVENTS: usize = 1536;

pub(crate) async fn f4_slow_followers_use_bounded_memory(ctx: &Ctx) -> Outcome {
    const ROUNDS: usize = 3;
    let store = ctx.open().await?;
    // Once, for what a store and an allocator grow to anyway.
    fill(&store, vec![stream("s", "before")], EVENTS / 4, EVENT).await?;
    // They sleep on: what a hoarder gave back would be there for the next round, and not show.
    let mut asleep = Vec::new();
    let mut round = 0;
    loop {
        round += 1;
        match followed_asleep(&store, round, &mut asleep).await {
            // An allocator may keep more for once; a follower that hoards does so each time.
            Err(more) if more.kind == FailureKind::RuleBroken && round < ROUNDS => {}
            outcome => return outcome,
        }
    }
}

/// Resident memory once it has not grown for a while: what an earlier round's hoarders still copy
/// must not count for this one.
async fn settled() -> Outcome<usize> {
    const QUIET: Duration = Duration::from_millis(200);
    let deadline = Instant::now() + Duration::from_secs(10);
    let (mut most, mut since) = (resident()?, Instant::now());
    while since.elapsed() < QUIET && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = resident()?;
        if now > most + MIB / 4 {
            (most, since) = (now, Instant::now());
        }
    }
    resident()
}

/// How much memory has grown since `start`, at most, within a second: a hoarder's tasks may lag
/// behind the appends. Ends early beyond `bound`.
async fn most_grown(start: usize, bound: usize) -> Outcome<usize> {
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut most = 0;
    while most <= bound && Instant::now() < deadline {
        most = most.max(resident()?.saturating_sub(start));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(most)
}

/// Appends one stream that nobody follows and one that sleepers do, and compares.
async fn followed_asleep(store: &Instance, round: usize, asleep: &mut Vec<Follower>) -> Outcome {
    const FOLLOWERS: usize = 8;
    let quiet = stream("quiet", &round.to_string());
    let start = settled().await?;
    // What appending by itself costs: nothing for most stores, all of it for one in memory.
    fill(store, vec![quiet], EVENTS, EVENT).await?;
    let alone = resident()?.saturating_sub(start);

    let one = stream("followed", &round.to_string());
    let first = store.append(&one, "first").await?;
    for _ in 0..FOLLOWERS {
        let mut follower = store.follow(&one, &first).await?;
        follower.nothing_yet()?;
        asleep.push(follower);
    }
    let start = settled().await?;
    fill(store, vec![one.clone()], EVENTS, EVENT).await?;
    let bound = alone + EVENTS * EVENT / 2;
    let followed = most_grown(start, bound).await?;
    let expected = format!("at most {} MiB more while {FOLLOWERS} followers sleep", bound / MIB);
    let came = format!("{} MiB more; {} MiB without them", followed / MIB, alone / MIB);
    ensure(followed <= bound, expected, came)?;
    store.complete(&one, "end").await?;
    let mut woken = asleep.pop().expect("eight followers sleep");
    let (events, error) = woken.rest().await?;
    ensure(error.is_none(), "an end without an error", format!("{error:?}"))?;
    same("the events of a sleeper that woke", &(EVENTS + 1), &events.len())
}
