//! The participants: appenders, readers, sweepers and a deleter on all instances at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_event_store_core::{EventId, StreamRef};
use tokio::time::Instant;

use super::readers::{Pace, all_readers, open, promise, read};
use super::record::{Action, End, History, How, Reading, Record, Recorder, Tick};
use crate::context::{Ctx, keeping};
use crate::failure::{Outcome, ensure};
use crate::follower::Follower;
use crate::instance::Instance;
use crate::tools::{eventually, lone, padded, random, stream, text, together};

/// Newest events kept of a stream: few, so that trimming overtakes readers.
const CAP: u64 = 30;

/// Tasks that append, on each instance.
const APPENDERS: usize = 2;

/// Bytes of some messages: the kept events of a stream are several pages, between which a slow
/// reader can be overtaken.
const LARGE: usize = 60_000;

/// Appends to a replay, at most.
const APPENDS_A_REPLAY: u64 = 4;

/// IDs from which readers choose: the newest ones, of which some are trimmed already.
const KNOWN: usize = 120;

/// The streams, and whether each is deleted now and then.
pub(super) fn streams() -> [(StreamRef, bool); 3] {
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
pub(super) struct Stage {
    pub(super) recorder: Recorder,
    /// IDs that were given out lately. Guards the list; nothing awaits under it.
    known: Mutex<Vec<(usize, EventId)>>,
    appends: u64,
    until: Instant,
    appended: AtomicU64,
    replays: AtomicU64,
    /// Set when the appenders are done.
    done: AtomicBool,
    /// The follows that are open, by the moment they were: their streams. Nothing awaits under it.
    open: Mutex<HashMap<Tick, usize>>,
}

impl Stage {
    pub(super) fn goes_on(&self) -> bool {
        !self.done.load(Ordering::SeqCst)
    }

    pub(super) fn known(&self) -> Option<(usize, EventId)> {
        let known = self.known.lock().expect("no panic");
        let count = known.len() as u64;
        (count > 0).then(|| known[usize::try_from(random(count)).expect("few")].clone())
    }

    /// Notes that a follow of `stream` was opened.
    pub(super) fn opened(&self, at: Tick, stream: usize) {
        self.open.lock().expect("no panic").insert(at, stream);
    }

    /// Notes that the follow that was opened at that moment is over.
    pub(super) fn ended(&self, opened: Tick) {
        self.open.lock().expect("no panic").remove(&opened);
    }

    /// Waits while there were fewer replays than one to so many appends: a store that takes no
    /// time would be done before anyone has read.
    async fn let_readers_keep_up(&self) {
        let appends = self.appended.fetch_add(1, Ordering::Relaxed) + 1;
        while self.replays.load(Ordering::Relaxed) * APPENDS_A_REPLAY < appends
            && Instant::now() < self.until
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Notes that a replay is over.
    pub(super) fn replayed(&self) {
        self.replays.fetch_add(1, Ordering::Relaxed);
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
        appended: AtomicU64::new(0),
        replays: AtomicU64::new(0),
        done: AtomicBool::new(false),
        open: Mutex::default(),
    });
    let readers = tokio::spawn(all_readers(stage.clone(), stores.clone()));
    let upkeep = tokio::spawn(upkeep(stage.clone(), stores.clone()));
    let appenders = (0..APPENDERS * stores.len()).map(|n| {
        let (stage, store) = (stage.clone(), stores[n % stores.len()].clone());
        async move { append(&stage, &store, n).await }
    });
    let appended = together(appenders).await;
    stage.done.store(true, Ordering::SeqCst);
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
        stage.let_readers_keep_up().await;
    }
    Ok(())
}

async fn append_one(
    stage: &Stage,
    store: &Instance,
    at: usize,
    name: String,
    completes: bool,
) -> Outcome<EventId> {
    let from = stage.recorder.now();
    let mut event = if random(4) == 0 { padded(format!("{name} "), LARGE) } else { text(&name) };
    event.completes_stream = completes;
    let id = store.try_append(&streams()[at].0, event).await??;
    let to = stage.recorder.now();
    let action = Action::Append { text: name, id: id.as_str().to_owned() };
    stage.recorder.note(Record { stream: at, from, to, action });
    stage.learn(at, id.clone());
    Ok(id)
}

/// Completes the streams, so that every follow ends; those that are never deleted after a last
/// take-over, which all older follows have to notice before anything new comes (F7).
async fn finish(stage: &Stage, stores: &[Instance]) -> Outcome {
    for (at, (_, deletable)) in streams().into_iter().enumerate() {
        if !deletable {
            take_over(stage, &stores[at % stores.len()], at).await?;
        }
        append_one(stage, &stores[at % stores.len()], at, format!("end/{at}"), true).await?;
    }
    Ok(())
}

async fn take_over(stage: &Stage, store: &Instance, at: usize) -> Outcome {
    let last = append_one(stage, store, at, format!("take-over/{at}"), false).await?;
    let from = stage.recorder.now();
    let taker = open(store, at, Some(&last), How::TakeOver).await??;
    let to = stage.recorder.now();
    let older_ended = || {
        let open = stage.open.lock().expect("no panic");
        let older = open.iter().any(|(opened, stream)| *stream == at && *opened < from);
        async move { Outcome::Ok(!older) }
    };
    eventually(store.patience, "the end of every follow before a take-over", older_ended).await?;
    stage.recorder.note(Record {
        stream: at,
        from,
        to,
        action: Action::Read(unread(&last, &taker, to)),
    });
    Ok(())
}

/// The reading of a follow that was dropped before it gave anything.
fn unread(last: &EventId, follower: &Follower, at: Tick) -> Reading {
    Reading {
        after: Some(last.as_str().to_owned()),
        how: How::TakeOver,
        promised: promise(follower),
        seen: Vec::new(),
        began: at,
        end: End::Dropped,
        ended: at,
    }
}

/// A last replay on each instance, when all is said and done.
async fn look_once_more(stage: &Stage, stores: &[Instance]) -> Outcome {
    for store in stores {
        for at in 0..streams().len() {
            read(stage, store, at, None, How::Stored, Pace::ALL).await?;
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
        if random(3) == 0 {
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

/// Fails unless enough happened at once for the history to mean something.
pub(crate) fn meant_something(figures: &super::check::Figures) -> Outcome {
    let enough = figures.appends >= 50 && figures.replays >= 20 && figures.events_seen >= 500;
    ensure(enough, "a history with enough in it", format!("{figures:?}"))
}
