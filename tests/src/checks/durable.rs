//! A1 and R3: a process that is killed while it appends.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use mcp_event_store_core::{EventId, StoredEvent, StreamRef};

use crate::checks::deletion::is_gone;
use crate::context::Ctx;
use crate::failure::{Mismatch, Outcome, ensure, same};
use crate::instance::Instance;
use crate::process::{Helper, tell_parent};
use crate::tools::{in_sequence, lone, random, stream, text, texts, together};

/// Tasks of the child that append, and one more that deletes.
const TASKS: usize = 8;

/// What the child appends to.
fn places() -> [StreamRef; 3] {
    [stream("s", "a"), stream("t", "a"), lone("a")]
}

/// A text that shows whether it is whole: `child/task/n/length/` and so many letters.
fn self_describing(child: u64, task: usize, n: usize) -> String {
    let length = random(3000);
    let filling = "x".repeat(usize::try_from(length).unwrap());
    format!("{child}/{task}/{n}/{length}/{filling}")
}

fn is_whole(text: &str) -> bool {
    let parts: Vec<_> = text.splitn(5, '/').collect();
    let length = parts.get(3).and_then(|length| length.parse().ok());
    length.is_some_and(|length: usize| parts[4].len() == length)
}

/// What all children together had acknowledged.
#[derive(Default)]
struct Acknowledged {
    /// By ID: the stream's number and the beginning of the text.
    events: BTreeMap<String, (usize, String)>,
    deleted: Vec<(String, String)>,
}

impl Acknowledged {
    fn note(&mut self, line: &str) -> Outcome {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["event", place, id, text] => {
                self.events.insert(id.to_owned(), (place.parse().unwrap(), text.to_owned()));
                Ok(())
            }
            ["deleted", name, id] => {
                self.deleted.push((name.to_owned(), id.to_owned()));
                Ok(())
            }
            _ => Err(Mismatch::new("acknowledged appends in the child process", line)),
        }
    }

    async fn still_there(&self, store: &Instance) -> Outcome {
        let mut found: HashMap<String, (usize, String)> = HashMap::new();
        for (n, place) in places().iter().enumerate() {
            let events = store.read(place).await?;
            nothing_torn(&events)?;
            for event in &events {
                let text = texts(std::slice::from_ref(event)).remove(0);
                found.insert(event.id.as_str().to_owned(), (n, text));
            }
        }
        for (id, (place, begin)) in &self.events {
            let expected = format!("the acknowledged event {begin} after the kill");
            let (found_in, text) = found.get(id).ok_or_else(|| Mismatch::new(expected, "none"))?;
            same("its stream", place, found_in)?;
            ensure(text.starts_with(begin.as_str()), format!("the text {begin}"), text)?;
            let stream = store.look_up(&EventId::new(id.as_str())).await?;
            same("its stream by look-up", &Some(&places()[*place]), &stream.as_ref())?;
        }
        for (name, id) in &self.deleted {
            is_gone(store, &stream("s", name), &[EventId::new(id.as_str())]).await?;
        }
        Ok(())
    }
}

fn nothing_torn(events: &[StoredEvent]) -> Outcome {
    in_sequence("the stream after the kill", 1, events)?;
    let mut seen = HashSet::new();
    for text in texts(events) {
        ensure(is_whole(&text), "whole messages only", &text)?;
        let begin: Vec<_> = text.split('/').take(3).map(str::to_owned).collect();
        ensure(seen.insert(begin), "each message once", &text)?;
    }
    Ok(())
}

/// The child's part: appends, and says so, until it is killed.
async fn append_until_killed(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let child = random(u64::MAX);
    let task = |task: usize| {
        let store = store.clone();
        async move {
            for n in 0.. {
                let done = if task < TASKS {
                    append_once(&store, child, task, n).await
                } else {
                    delete_once(&store, child, n).await
                };
                if let Err(mismatch) = done {
                    tell_parent(&format!("error {mismatch:?}"));
                }
            }
        }
    };
    together((0..=TASKS).map(task)).await.map(|_| ())
}

async fn append_once(store: &Instance, child: u64, task: usize, n: usize) -> Outcome {
    let place = task % places().len();
    let id = store.append(&places()[place], self_describing(child, task, n)).await?;
    tell_parent(&format!("event {place} {} {child}/{task}/{n}/", id.as_str()));
    Ok(())
}

async fn delete_once(store: &Instance, child: u64, n: usize) -> Outcome {
    let name = format!("{child}-{n}");
    let id = store.append(&stream("s", &name), "to be deleted").await?;
    store.delete_stream(&stream("s", &name)).await?;
    tell_parent(&format!("deleted {name} {}", id.as_str()));
    Ok(())
}

/// Lets a child append until `enough` acknowledgements came, and kills it a moment later.
async fn kill_one(ctx: &Ctx, noted: &mut Acknowledged, enough: u64) -> Outcome {
    let mut helper: Helper = ctx.start_helper()?;
    for _ in 0..enough {
        let line = helper.next_line().await?;
        noted.note(&line.ok_or_else(|| Mismatch::new("a child that appends", "its end"))?)?;
    }
    tokio::time::sleep(Duration::from_micros(random(20_000))).await;
    for line in helper.kill().await? {
        noted.note(&line)?;
    }
    Ok(())
}

pub(crate) async fn a1_an_acknowledged_event_survives_kill_9(ctx: &Ctx) -> Outcome {
    const ROUNDS: usize = 3;
    if ctx.is_child() {
        return append_until_killed(ctx).await;
    }
    let mut noted = Acknowledged::default();
    for _ in 0..ROUNDS {
        kill_one(ctx, &mut noted, 1 + random(50)).await?;
        let store = ctx.open().await?;
        noted.still_there(&store).await?;
        store.shut().await?;
    }
    Ok(())
}

pub(crate) async fn r3_random_kills_lose_and_tear_nothing(ctx: &Ctx) -> Outcome {
    const ROUNDS: usize = 8;
    if ctx.is_child() {
        return append_until_killed(ctx).await;
    }
    let mut noted = Acknowledged::default();
    for round in 0..ROUNDS {
        kill_one(ctx, &mut noted, random(300)).await?;
        let store = ctx.open().await?;
        noted.still_there(&store).await?;
        // It goes on from there, in the same streams.
        for place in places() {
            let whole = format!("0/parent/{round}/0/");
            store.try_append(&place, text(whole)).await??;
            nothing_torn(&store.read(&place).await?)?;
        }
        store.shut().await?;
    }
    Ok(())
}
