//! Those who read, and what they take down.

use std::sync::Arc;
use std::time::Duration;

use mcp_event_store_core::{Error, EventId, Readers, ReplayMode, StoredEvent, Verdict};

use super::record::{Action, End, How, Reading, Record, Seen};
use super::run::{Stage, streams};
use crate::failure::{Mismatch, Outcome};
use crate::follower::Follower;
use crate::instance::Instance;
use crate::tools::{random, texts};

/// How a reader takes its events.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// So many at most.
    events: usize,
    /// With a pause after each.
    pause: Duration,
}

impl Pace {
    pub(super) const ALL: Self = Self { events: usize::MAX, pause: Duration::ZERO };

    fn up_to(events: u64) -> Self {
        Self { events: usize::try_from(events).unwrap_or(usize::MAX), ..Self::ALL }
    }

    /// Slow enough to be overtaken now and then.
    fn slow(self) -> Self {
        Self { pause: Duration::from_millis(random(12)), ..self }
    }
}

/// Those who replay again and again, those who follow for a while, and those who follow to the end
/// and are taken over.
pub(super) async fn all_readers(stage: Arc<Stage>, stores: Vec<Instance>) -> Outcome {
    let mut tasks = Vec::new();
    for store in &stores {
        let replay = (stage.clone(), store.clone());
        tasks.push(tokio::spawn(async move { replays(&replay.0, &replay.1).await }));
        let short = (stage.clone(), store.clone());
        tasks.push(tokio::spawn(async move { short_follows(&short.0, &short.1).await }));
        for at in 0..streams().len() {
            let long = (stage.clone(), store.clone());
            tasks.push(tokio::spawn(async move { long_follows(&long.0, &long.1, at).await }));
        }
    }
    for task in tasks {
        task.await.expect("no panic")?;
    }
    Ok(())
}

async fn replays(stage: &Stage, store: &Instance) -> Outcome {
    while stage.goes_on() {
        let pace = if random(4) == 0 { Pace::ALL.slow() } else { Pace::ALL };
        match stage.known() {
            Some((at, id)) if random(4) > 0 => {
                read(stage, store, at, Some(id), How::Stored, pace).await?;
            }
            _ => {
                let at = usize::try_from(random(streams().len() as u64)).expect("few");
                read(stage, store, at, None, How::Stored, Pace::ALL).await?;
            }
        }
        // Those who append need the machine too.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

async fn short_follows(stage: &Stage, store: &Instance) -> Outcome {
    while stage.goes_on() {
        let Some((at, id)) = stage.known() else {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        let pace = Pace::up_to(random(40));
        let pace = if random(2) == 0 { pace.slow() } else { pace };
        read(stage, store, at, Some(id), How::Join, pace).await?;
    }
    Ok(())
}

/// Follows one stream; when that ends, comes back with the last ID, or from the start, and takes
/// over now and then.
async fn long_follows(stage: &Stage, store: &Instance, at: usize) -> Outcome {
    let mut last = None;
    loop {
        let take_over = stage.goes_on() && random(3) == 0;
        let how = if take_over { How::TakeOver } else { How::Join };
        // Long enough to be overtaken, and then again.
        let pace = if stage.goes_on() { Pace::up_to(20 + random(100)) } else { Pace::ALL };
        let (end, seen) = read(stage, store, at, last.clone(), how, pace).await?;
        let is_over = seen.last().is_some_and(|event| event.completes_stream);
        last = match (end, seen.last()) {
            (End::Unknown, _) => None,
            (End::Expired(resume_after), _) => Some(EventId::new(resume_after)),
            (End::Done, None) if !stage.goes_on() => return Ok(()),
            (_, seen) => seen.map(|event| event.id.clone()).or(last),
        };
        if is_over {
            return Ok(());
        }
        // What a client waits before it comes back; else they would do nothing but take over.
        tokio::time::sleep(Duration::from_millis(2 + random(20))).await;
    }
}

/// Reads, takes down what it saw, and says how it ended.
pub(super) async fn read(
    stage: &Stage,
    store: &Instance,
    at: usize,
    after: Option<EventId>,
    how: How,
    pace: Pace,
) -> Outcome<(End, Vec<StoredEvent>)> {
    let from = stage.recorder.now();
    let opened = open(store, at, after.as_ref(), how).await?;
    let to = stage.recorder.now();
    let mut reading = Reading {
        after: after.map(|id| id.as_str().to_owned()),
        how,
        promised: 0,
        seen: Vec::new(),
        began: to,
        end: End::Dropped,
        ended: to,
    };
    let mut seen = Vec::new();
    match opened {
        Err(error) => reading.end = end_with(Some(error))?,
        Ok(mut follower) => {
            if how != How::Stored {
                stage.opened(to, at);
            }
            reading.promised = promise(&follower);
            let (first, mut error) = follower.rest_of(pace.events.min(1)).await?;
            reading.began = stage.recorder.now();
            seen.extend(first);
            let mut ended = seen.is_empty();
            while !ended && seen.len() < pace.events {
                let left = pace.events - seen.len();
                let at_once = if pace.pause.is_zero() { left } else { 1 };
                tokio::time::sleep(pace.pause).await;
                let (next, last) = follower.rest_of(at_once).await?;
                ended = next.len() < at_once;
                seen.extend(next);
                error = last;
            }
            if seen.len() < pace.events {
                reading.end = end_with(error)?;
            }
        }
    }
    stage.ended(to);
    if how == How::Stored {
        stage.replayed();
    }
    reading.seen = as_seen(&seen);
    reading.ended = stage.recorder.now();
    let end = reading.end.clone();
    stage.recorder.note(Record { stream: at, from, to, action: Action::Read(reading) });
    Ok((end, seen))
}

pub(super) async fn open(
    store: &Instance,
    at: usize,
    after: Option<&EventId>,
    how: How,
) -> Outcome<Result<Follower, Error>> {
    let name = &streams()[at].0;
    let readers = if how == How::TakeOver { Readers::TakeOver } else { Readers::Join };
    let mode = match how {
        How::Stored => ReplayMode::Stored,
        How::Join | How::TakeOver => ReplayMode::Follow { at_most: None, readers },
    };
    match after {
        Some(id) => store.try_follow(name.scope(), id, mode).await,
        None => store.try_follow_from_start(name, mode).await,
    }
}

pub(super) fn promise(follower: &Follower) -> u64 {
    match follower.verdict {
        Verdict::CaughtUp => 0,
        Verdict::Recovered { events } => events,
    }
}

fn end_with(error: Option<Error>) -> Outcome<End> {
    match error {
        None => Ok(End::Done),
        Some(Error::UnknownEvent) => Ok(End::Unknown),
        Some(Error::EventsExpired { resume_after, .. }) => {
            Ok(End::Expired(resume_after.as_str().to_owned()))
        }
        Some(other) => {
            let expected = "an end, UnknownEvent or EventsExpired";
            Err(Mismatch::new(expected, format!("{other:?}")))
        }
    }
}

fn as_seen(events: &[StoredEvent]) -> Vec<Seen> {
    // What fills a large message up comes after a space.
    let seen = |(event, text): (&StoredEvent, String)| Seen {
        id: event.id.as_str().to_owned(),
        seq: event.seq,
        text: text.split_once(' ').map_or(text.clone(), |(name, _)| name.to_owned()),
        completes: event.completes_stream,
    };
    events.iter().zip(texts(events)).map(seen).collect()
}
