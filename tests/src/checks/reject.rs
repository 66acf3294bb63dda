//! A6, A7 and A9: appends that are refused, and appends that nobody waits for.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::FutureExt;
use mcp_event_store_core::{Error, Lease, NewEvent, StreamRef, Usage};

use crate::context::{Ctx, limited};
use crate::failure::{Outcome, ensure, expect_match, same};
use crate::instance::Instance;
use crate::tools::{in_sequence, lone, padded, stream, text, texts, together};

const LARGEST: usize = 1000;

/// Everything that a caller can see of a stream.
async fn seen(store: &Instance, of: &StreamRef) -> Outcome<(Vec<String>, Option<Usage>)> {
    let usage = store.usage_if_told().await?;
    Ok((format!("{:?}", store.read(of).await?).lines().map(str::to_owned).collect(), usage))
}

fn ownerless() -> NewEvent {
    text("a lease without an owner").with_lease(Lease::new("", Duration::from_secs(1)))
}

fn instant() -> NewEvent {
    text("a lease without a time").with_lease(Lease::new("me", Duration::ZERO))
}

pub(crate) async fn a6_a_rejected_append_changes_nothing(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&limited(|l| l.max_event_bytes = Some(LARGEST as u64))).await?;
    for (there, absent) in
        [(stream("s", "there"), stream("s", "absent")), (lone("there"), lone("absent"))]
    {
        store.try_append(&there, padded("as large as allowed", LARGEST)).await??;
        for to in [&there, &absent] {
            let before = seen(&store, to).await?;
            let large = store.try_append(to, padded("too large", LARGEST + 1)).await?;
            expect_match!(large, Err(Error::TooLarge { .. }), "a message of one byte too many");
            let completing = padded("too large", LARGEST + 1).completing();
            let large = store.try_append(to, completing).await?;
            expect_match!(large, Err(Error::TooLarge { .. }), "a large completing message");
            for bad in [ownerless(), instant()] {
                let bad = store.try_append(to, bad).await?;
                expect_match!(bad, Err(Error::InvalidInput { .. }), "a lease that claims nothing");
            }
            same("the store after refusals", &before, &seen(&store, to).await?)?;
        }
        let nothing = store.delete_stream(&absent).await?;
        same("streams that refused appends created", &0, &nothing.streams)?;
        store.append(&absent, "first").await?;
        in_sequence("the first append that is taken", 1, &store.read(&absent).await?)?;
        store.append(&there, "second").await?;
        in_sequence("an append after refusals", 1, &store.read(&there).await?)?;
    }
    Ok(())
}

pub(crate) async fn a6_a_bad_event_fails_no_other(ctx: &Ctx) -> Outcome {
    const ALL: usize = 200;
    let store = ctx.open_with(&limited(|l| l.max_event_bytes = Some(LARGEST as u64))).await?;
    let done = stream("s", "complete");
    store.complete(&done, "end").await?;
    let one = |n: usize| {
        let (store, done) = (store.clone(), done.clone());
        async move {
            let to = stream("s", &format!("{}", n % 3));
            match n % 4 {
                0 => store.try_append(&to, padded("too large", LARGEST + 1)).await,
                1 => store.try_append(&done, text("too late")).await,
                _ => store.try_append(&to, text(n)).await,
            }
        }
    };
    let mut good = 0;
    for (n, answer) in together((0..ALL).map(one)).await?.into_iter().enumerate() {
        match n % 4 {
            0 => expect_match!(answer?, Err(Error::TooLarge { .. }), "too large an event"),
            1 => expect_match!(answer?, Err(Error::StreamComplete), "an event that is too late"),
            _ => expect_match!(answer?, Ok(_) => good += 1, "a good event among bad ones"),
        }
    }
    let mut found = 0;
    for n in 0..3 {
        let events = store.read(&stream("s", &format!("{n}"))).await?;
        in_sequence("a stream of good events", 1, &events)?;
        found += events.len();
    }
    same("the number of good events", &good, &found)?;
    same("the complete stream", &vec!["end"], &texts(&store.read(&done).await?))
}

/// Appends, and gives up after `polls` polls; whether it was acknowledged until then.
async fn append_unless_cancelled(
    store: &Instance,
    to: &StreamRef,
    n: usize,
    polls: usize,
) -> Outcome<bool> {
    let mut append = Box::pin(store.append(to, n));
    for _ in 0..polls {
        if let Some(answer) = append.as_mut().now_or_never() {
            return answer.map(|_| true);
        }
        tokio::task::yield_now().await;
    }
    Ok(false)
}

pub(crate) async fn a7_a_cancelled_append_is_whole_or_absent_and_harms_no_other(
    ctx: &Ctx,
) -> Outcome {
    const ALL: usize = 300;
    /// What is stored is looked at as often, to see what comes late.
    const LOOKS: usize = 5;
    let store = ctx.open().await?;
    let one = |n: usize| {
        let store = store.clone();
        async move {
            // Somewhere between never polled and done; every second one is left in peace.
            let polls = if n.is_multiple_of(2) { usize::MAX } else { n / 2 % 6 };
            append_unless_cancelled(&store, &third(n), n, polls).await
        }
    };
    let answers = together((0..ALL).map(one)).await?;
    let answers: Vec<bool> = answers.into_iter().collect::<Outcome<_>>()?;
    for _ in 0..LOOKS {
        whole_or_absent(&store, &answers).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// One of three streams.
fn third(n: usize) -> StreamRef {
    stream("s", &(n % 3).to_string())
}

async fn whole_or_absent(store: &Instance, acknowledged: &[bool]) -> Outcome {
    let mut found: HashMap<String, usize> = HashMap::new();
    for n in 0..3 {
        // Behind what was cancelled: it harms nobody who comes later either.
        store.append(&third(n), "behind").await?;
        let events = store.read(&third(n)).await?;
        in_sequence("a stream with cancelled appends", 1, &events)?;
        for text in texts(&events).into_iter().filter(|text| text != "behind") {
            *found.entry(text).or_default() += 1;
        }
    }
    for (n, acknowledged) in acknowledged.iter().enumerate() {
        let times = found.remove(&n.to_string()).unwrap_or(0);
        let right = if *acknowledged { times == 1 } else { times <= 1 };
        let came = format!("{times} times (acknowledged: {acknowledged})");
        ensure(right, format!("event {n} once, or not at all if it was cancelled"), came)?;
    }
    ensure(found.is_empty(), "nothing but what was appended", format!("{found:?}"))
}

pub(crate) async fn a9_a_complete_stream_takes_no_append(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    for one in [stream("s", "a"), lone("a")] {
        let first = store.append(&one, "first").await?;
        let last = store.complete(&one, "last").await?;
        let before = seen(&store, &one).await?;
        let late = [text("late"), NewEvent::priming(None), text("later").completing()];
        for event in late {
            let answer = store.try_append(&one, event).await?;
            expect_match!(answer, Err(Error::StreamComplete), "an append to a complete stream");
        }
        same("the complete stream", &before, &seen(&store, &one).await?)?;
        same("its end", &vec!["last"], &texts(&store.replay(&one, &first).await?))?;
        same("what follows its end", &0, &store.replay(&one, &last).await?.len())?;
    }
    let only = stream("s", "one event");
    store.complete(&only, "all").await?;
    let answer = store.try_append(&only, text("late")).await?;
    expect_match!(answer, Err(Error::StreamComplete), "an append to a stream of one event");
    Ok(())
}

pub(crate) async fn a9_of_many_completing_appends_one_is_taken(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    for round in 0..20 {
        let one = stream("s", &format!("round {round}"));
        let end = |n: usize| {
            let (store, one) = (store.clone(), one.clone());
            async move { store.try_append(&one, text(n).completing()).await }
        };
        let mut taken = Vec::new();
        for (n, answer) in together((0..6).map(end)).await?.into_iter().enumerate() {
            match answer? {
                Ok(_) => taken.push(n.to_string()),
                other => expect_match!(other, Err(Error::StreamComplete), "a late end"),
            }
        }
        same("the number of ends that were taken", &1, &taken.len())?;
        same("the stream", &taken, &texts(&store.read(&one).await?))?;
    }
    Ok(())
}
