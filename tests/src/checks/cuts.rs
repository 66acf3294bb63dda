//! A10 and F6: a connection that is lost.

use std::time::Duration;

use futures_util::StreamExt;
use mcp_event_store_core::{Error, EventId, ReplayMode, StreamRef};

use crate::context::{Ctx, unlimited};
use crate::crash::ledger::{Heard, Ledger, Name};
use crate::crash::patience::{patiently, read};
use crate::failure::{Mismatch, Outcome, ensure, expect_match, same};
use crate::follower::Follower;
use crate::harness::Cut;
use crate::instance::{Instance, within};
use crate::tools::{in_sequence, lone, stream, text, texts, together};

const WRITERS: usize = 12;

async fn append(store: &Instance, to: &StreamRef, message: &str) -> Outcome<EventId> {
    Ok(patiently!(store, store.try_append(to, text(message)).await?))
}

fn places() -> [StreamRef; 3] {
    [stream("s", "a"), stream("t", "a"), lone("a")]
}

/// Appends at once; what each caller heard goes into `ledger`.
async fn append_many(store: &Instance, round: usize, ledger: &mut Ledger) -> Outcome {
    for (place, name, heard) in appended_at_once(store, round).await? {
        ledger.note(place, name, heard);
    }
    Ok(())
}

async fn appended_at_once(store: &Instance, round: usize) -> Outcome<Vec<(usize, Name, Heard)>> {
    let one = |n: usize| {
        let store = store.clone();
        async move {
            let name = Name { writer: format!("{round}-{n}"), n: 0 };
            let place = n % places().len();
            let answer = store.try_append(&places()[place], text(name.text())).await?;
            Outcome::Ok((place, name, Heard::of(answer)?))
        }
    };
    together((0..WRITERS).map(one)).await?.into_iter().collect()
}

pub(crate) async fn a10_a_cut_commit_is_never_doubled_and_never_a_false_success(
    ctx: &Ctx,
) -> Outcome {
    const ROUNDS: usize = 16;
    let store = ctx.open().await?;
    let mut ledger = Ledger::new(&places(), false);
    append_many(&store, 0, &mut ledger).await?;
    for round in 1..=ROUNDS {
        let cut = if round % 2 == 0 { Cut::Answer } else { Cut::Request };
        ctx.cut(cut).await?;
        append_many(&store, round, &mut ledger).await?;
        ctx.mend().await?;
        ledger.is_kept_by(&store).await?;
    }
    // The last event of a stream, which must not be taken twice either.
    for (n, cut) in [Cut::Answer, Cut::Request].into_iter().enumerate() {
        let one = stream("s", &format!("completed {n}"));
        append(&store, &one, "first").await?;
        ctx.cut(cut).await?;
        let answer = store.try_append(&one, text("end").completing()).await?;
        ctx.mend().await?;
        let stored = texts(&read(&store, &one).await?);
        let fits = match answer {
            Ok(_) => stored == ["first", "end"],
            Err(Error::OutcomeUnknown { .. }) => stored == ["first", "end"] || stored == ["first"],
            Err(Error::Unavailable { .. }) => stored == ["first"],
            Err(_) => false,
        };
        ensure(fits, "an end as the caller heard of it", format!("{answer:?}, but {stored:?}"))?;
    }
    Ok(())
}

pub(crate) async fn a10_while_the_connection_is_down_nothing_is_claimed(ctx: &Ctx) -> Outcome {
    /// Long enough for an answer that does not wait for the connection.
    const DOWN: Duration = Duration::from_millis(300);
    let store = ctx.open().await?;
    let cancelled = stream("s", "cancelled");
    let mut ledger = Ledger::new(&places(), false);
    append_many(&store, 0, &mut ledger).await?;
    for round in 1..=4 {
        ctx.cut(Cut::Down).await?;
        let appends = tokio::spawn({
            let store = store.clone();
            async move { appended_at_once(&store, round).await }
        });
        let lone_append = store.events.store_event(&cancelled, text(round));
        let claimed = tokio::time::timeout(DOWN, lone_append).await;
        let false_success = matches!(claimed, Ok(Ok(_)));
        ensure(!false_success, "no success without a connection", format!("{claimed:?}"))?;
        ctx.mend().await?;
        for (place, name, heard) in appends.await.expect("no panic")? {
            ledger.note(place, name, heard);
        }
        ledger.is_kept_by(&store).await?;
        let mut found = texts(&read(&store, &cancelled).await?);
        let events = found.len();
        found.dedup();
        same("cancelled appends, each once at most", &events, &found.len())?;
    }
    Ok(())
}

/// Reads until `last` came or the follow said that it is unavailable.
async fn delivered_or_said(
    follower: &mut Follower,
    next_seq: u64,
    last: &EventId,
) -> Outcome<Option<u64>> {
    let mut events = Vec::new();
    loop {
        match follower.next().await? {
            Some(Ok(event)) => {
                let done = event.id == *last;
                events.push(event);
                in_sequence("a follow over a cut", next_seq, &events)?;
                if done {
                    return Ok(Some(next_seq + events.len() as u64));
                }
            }
            Some(Err(Error::Unavailable { .. })) => return Ok(None),
            other => {
                let expected = "the event, or Unavailable";
                return Err(Mismatch::new(expected, format!("{other:?}")));
            }
        }
    }
}

pub(crate) async fn f6_a_follow_outlives_a_cut_or_says_so(ctx: &Ctx) -> Outcome {
    let stores = ctx.open_up_to(2, &unlimited()).await?;
    let (reader, writer) = (&stores[0], &stores[stores.len() - 1]);
    for one in [stream("s", "a"), lone("a")] {
        let mut last = append(writer, &one, "first").await?;
        let mut next_seq = 2;
        let mut follower = reader.follow(&one, &last).await?;
        for round in 0..6 {
            follower.nothing_yet()?;
            let before = last;
            last = append_over_a_cut(ctx, writer, &one, round).await?;
            let mut delivered = delivered_or_said(&mut follower, next_seq, &last).await?;
            if delivered.is_none() {
                // It said so, and its client comes back.
                follower = patiently!(reader, {
                    let mode = ReplayMode::follow();
                    reader.try_follow(one.scope(), &before, mode).await?
                });
                delivered = delivered_or_said(&mut follower, next_seq, &last).await?;
            }
            let silent = || Mismatch::new("delivery after mending", "Unavailable again");
            next_seq = delivered.ok_or_else(silent)?;
        }
    }
    Ok(())
}

/// Cuts the connection, mends it if need be, and appends until an event is stored for certain.
async fn append_over_a_cut(
    ctx: &Ctx,
    writer: &Instance,
    to: &StreamRef,
    round: usize,
) -> Outcome<EventId> {
    let cut = [Cut::Down, Cut::Answer, Cut::Request][round % 3];
    ctx.cut(cut).await?;
    // A moment in which the follow may notice, or not.
    tokio::time::sleep(Duration::from_millis(50)).await;
    if cut == Cut::Down {
        ctx.mend().await?;
    }
    let stored = store_once(writer, to, &format!("after cut {round}")).await?;
    ctx.mend().await?;
    match stored {
        Some(id) => Ok(id),
        None => append(writer, to, "once more").await,
    }
}

/// Appends; `None` if nobody knows whether it is stored.
async fn store_once(store: &Instance, to: &StreamRef, message: &str) -> Outcome<Option<EventId>> {
    let answer = loop {
        match store.try_append(to, text(message)).await? {
            Err(Error::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
            answer => break answer,
        }
    };
    match answer {
        Ok(id) => Ok(Some(id)),
        Err(Error::OutcomeUnknown { .. }) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

pub(crate) async fn f6_a_replay_outlives_a_cut_or_says_so(ctx: &Ctx) -> Outcome {
    const EVENTS: usize = 900;
    let store = ctx.open().await?;
    let one = stream("s", "a");
    let first = store.fill(&one, EVENTS).await?.remove(0);
    for (read_before, mended) in [(0, false), (10, false), (300, false), (10, true)] {
        let replay = store.try_open(one.scope(), &first).await?;
        let mut replay = expect_match!(replay, Ok(replay) => replay.events, "a replay");
        let mut came = Vec::new();
        for _ in 0..read_before {
            let event = within(store.patience, "an event", replay.next()).await?;
            came.push(expect_match!(event, Some(Ok(event)) => event, "an event"));
        }
        ctx.cut(Cut::Down).await?;
        if mended {
            ctx.mend().await?;
        }
        let mut error = None;
        while let Some(event) = within(store.patience, "more, or an end", replay.next()).await? {
            match event {
                Ok(event) => came.push(event),
                Err(other) => error = Some(other),
            }
        }
        in_sequence("a replay over a cut", 2, &came)?;
        match error {
            None => same("the events of a replay that ended well", &(EVENTS - 1), &came.len())?,
            Some(Error::Unavailable { .. }) => {}
            Some(other) => return Err(Mismatch::new("Unavailable", format!("{other:?}"))),
        }
        ctx.mend().await?;
        same("the events after mending", &EVENTS, &read(&store, &one).await?.len())?;
    }
    Ok(())
}
