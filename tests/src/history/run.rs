//! The participants: appenders, readers, sweepers and a deleter on all instances at once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_event_store_core::{Error, EventId, Readers, ReplayMode, StoredEvent, StreamRef};
use tokio::time::Instant;

use super::record::{Action, End, History, How, Reading, Record, Recorder, Seen};
use crate::context::{Ctx, keeping};
use crate::failure::{Mismatch, Outcome, ensure};
use crate::follower::Follower;
use crate::instance::Instance;
use crate::tools::{lone, random, stream, text, texts, together};

/// Newest events kept of a stream: few, so that trimming overtakes readers.
const CAP: u64 = 30;

/// Tasks that append, on each instance.
const APPENDERS: usize = 2;

/// IDs from which readers choose: the newest ones, of which some are trimmed already.
const KNOWN: usize = 120;

/// The streams, and whether each is deleted now and then.
fn streams() -> [(StreamRef, bool); 3] {
    [(stream("s", "a"), false), (lone("a"), false), (stream("t", "a"), true)]
}

/// How much is done.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    /// Appends of each task.
    pub(crate) appends: u64,
    /// No more is begun after this time, whatever was done.
    pub(crate) at_most: Duration,
}

/// What all participants share.
struct Stage {
    recorder: Recorder,
    /// IDs that were given out lately. Guards the list; nothing awaits under it.
    known: Mutex<Vec<(usize, EventId)>>,
    appends: u64,
    until: Instant,
    /// Set when the appenders are done.
    done: std::sync::atomic::AtomicBool,
}

impl Stage {
    fn goes_on(&self) -> bool {
        !self.done.load(std::sync::atomic::Ordering::SeqCst)
    }

    fn known(&self) -> Option<(usize, EventId)> {
        let known = self.known.lock().expect("no panic");
        let count = known.len() as u64;
        (count > 0).then(|| known[usize::try_from(random(count)).expect("few")].clone())
    }

    fn learn(&self, stream: usize, id: EventId) {
        let mut known = self.known.lock().expect("no panic");
        if known.len() >= KNOWN {
            known.remove(0);
        }
        known.push((stream, id));
    }
}

/// Lets `instances` handles work on one scope, and gives the history.
pub(crate) async fn run(ctx: &Ctx, instances: usize, extent: Extent) -> Outcome<History> {
    let settings = keeping(|r| r.max_events_per_stream = Some(CAP));
    let stores = ctx.open_up_to(instances, &settings).await?;
    let until = Instant::now() + extent.at_most;
    let stage = Arc::new(Stage {
        recorder: Recorder::default(),
        known: Mutex::default(),
        appends: extent.appends,
        until,
        done: std::sync::atomic::AtomicBool::new(false),
    });
    let readers = tokio::spawn(readers(stage.clone(), stores.clone()));
    let upkeep = tokio::spawn(upkeep(stage.clone(), stores.clone()));
    let appenders = (0..APPENDERS * stores.len()).map(|n| {
        let (stage, store) = (stage.clone(), stores[n % stores.len()].clone());
        async move { append(&stage, &store, n).await }
    });
    let appended = together(appenders).await;
    stage.done.store(true, std::sync::atomic::Ordering::SeqCst);
    // The ends are not to be deleted.
    upkeep.await.expect("no panic")?;
    appended?.into_iter().collect::<Outcome<()>>()?;
    finish(&stage, &stores).await?;
    readers.await.expect("no panic")?;
    look_once_more(&stage, &stores).await?;
    let deletable = streams().map(|(_, deletable)| deletable).to_vec();
    Ok(History { deletable, cap: CAP, records: stage.recorder.take() })
}

async fn append(stage: &Stage, store: &Instance, task: usize) -> Outcome {
    for n in 0..stage.appends {
        if Instant::now() > stage.until {
            break;
        }
        // Mostly the first stream, so that trimming overtakes its readers.
        let at = [0, 0, 0, 1, 1, 2][usize::try_from(random(6)).expect("small")];
        append_one(stage, store, at, format!("{task}/{n}"), false).await?;
    }
    Ok(())
}

async fn append_one(
    stage: &Stage,
    store: &Instance,
    at: usize,
    name: String,
    completes: bool,
) -> Outcome {
    let from = stage.recorder.now();
    let mut event = text(&name);
    event.completes_stream = completes;
    let id = store.try_append(&streams()[at].0, event).await??;
    let to = stage.recorder.now();
    let action = Action::Append { text: name, id: id.as_str().to_owned() };
    stage.recorder.note(Record { stream: at, from, to, action });
    stage.learn(at, id);
    Ok(())
}

/// Completes the streams, so that every follow ends.
async fn finish(stage: &Stage, stores: &[Instance]) -> Outcome {
    for at in 0..streams().len() {
        append_one(stage, &stores[at % stores.len()], at, format!("end of {at}"), true).await?;
    }
    Ok(())
}

/// A last replay on each instance, when all is said and done.
async fn look_once_more(stage: &Stage, stores: &[Instance]) -> Outcome {
    for store in stores {
        for at in 0..streams().len() {
            read(stage, store, at, None, How::Stored, usize::MAX).await?;
        }
    }
    Ok(())
}

/// Sweeps on all instances at once, and deletes a stream now and then.
async fn upkeep(stage: Arc<Stage>, stores: Vec<Instance>) -> Outcome {
    while stage.goes_on() {
        let sweep = |store: &Instance| {
            let store = store.clone();
            async move { store.sweep().await.map(|_| ()) }
        };
        together(stores.iter().map(sweep)).await?.into_iter().collect::<Outcome<()>>()?;
        if random(8) == 0 {
            let on = usize::try_from(random(stores.len() as u64)).expect("few");
            for (at, (name, _)) in streams().iter().enumerate().filter(|(_, (_, del))| *del) {
                let from = stage.recorder.now();
                stores[on].delete_stream(name).await?;
                let to = stage.recorder.now();
                stage.recorder.note(Record { stream: at, from, to, action: Action::Delete });
            }
        }
        tokio::time::sleep(Duration::from_millis(3 + random(10))).await;
    }
    Ok(())
}

/// Those who replay again and again, those who follow for a while, and those who follow to the end
/// and are taken over.
async fn readers(stage: Arc<Stage>, stores: Vec<Instance>) -> Outcome {
    let mut tasks = Vec::new();
    for (n, store) in stores.iter().enumerate() {
        let replay = (stage.clone(), store.clone());
        tasks.push(tokio::spawn(async move { replays(&replay.0, &replay.1).await }));
        let short = (stage.clone(), store.clone());
        tasks.push(tokio::spawn(async move { short_follows(&short.0, &short.1).await }));
        for at in 0..streams().len() {
            let long = (stage.clone(), store.clone());
            let how = if n == 0 { How::Join } else { How::TakeOver };
            tasks.push(tokio::spawn(async move { long_follows(&long.0, &long.1, at, how).await }));
        }
    }
    for task in tasks {
        task.await.expect("no panic")?;
    }
    Ok(())
}

async fn replays(stage: &Stage, store: &Instance) -> Outcome {
    while stage.goes_on() {
        match stage.known() {
            Some((at, id)) if random(4) > 0 => {
                read(stage, store, at, Some(id), How::Stored, usize::MAX).await?;
            }
            _ => {
                let at = usize::try_from(random(streams().len() as u64)).expect("few");
                read(stage, store, at, None, How::Stored, usize::MAX).await?;
            }
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn short_follows(stage: &Stage, store: &Instance) -> Outcome {
    while stage.goes_on() {
        let Some((at, id)) = stage.known() else {
            tokio::task::yield_now().await;
            continue;
        };
        let events = usize::try_from(random(40)).expect("small");
        read(stage, store, at, Some(id), How::Join, events).await?;
    }
    Ok(())
}

/// Follows one stream; when that ends, comes back with the last ID, or from the start.
async fn long_follows(stage: &Stage, store: &Instance, at: usize, how: How) -> Outcome {
    let mut last = None;
    loop {
        // A take-over now and then: who joins is taken over by others too.
        let how = if random(3) == 0 { how } else { How::Join };
        let (end, seen) = read(stage, store, at, last.clone(), how, usize::MAX).await?;
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
async fn read(
    stage: &Stage,
    store: &Instance,
    at: usize,
    after: Option<EventId>,
    how: How,
    events: usize,
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
            reading.promised = promise(&follower);
            let (first, mut error) = follower.rest_of(events.min(1)).await?;
            reading.began = stage.recorder.now();
            seen.extend(first);
            if error.is_none() && seen.len() == 1 {
                let (rest, last) = follower.rest_of(events - 1).await?;
                seen.extend(rest);
                error = last;
            }
            if seen.len() < events {
                reading.end = end_with(error)?;
            }
        }
    }
    reading.seen = as_seen(&seen);
    reading.ended = stage.recorder.now();
    let end = reading.end.clone();
    stage.recorder.note(Record { stream: at, from, to, action: Action::Read(reading) });
    Ok((end, seen))
}

async fn open(
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

fn promise(follower: &Follower) -> u64 {
    match follower.verdict {
        mcp_event_store_core::Verdict::CaughtUp => 0,
        mcp_event_store_core::Verdict::Recovered { events } => events,
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
    let seen = |(event, text): (&StoredEvent, String)| Seen {
        id: event.id.as_str().to_owned(),
        seq: event.seq,
        text,
        completes: event.completes_stream,
    };
    events.iter().zip(texts(events)).map(seen).collect()
}

/// Fails unless enough happened at once for the history to mean something.
pub(crate) fn meant_something(figures: &super::check::Figures) -> Outcome {
    let enough = figures.appends >= 50 && figures.replays >= 20 && figures.events_seen >= 500;
    ensure(enough, "a history with enough in it", format!("{figures:?}"))
}
