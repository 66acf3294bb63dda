//! The process that is killed: it appends and deletes in many tasks, and reports what it was
//! acknowledged.

use mcp_event_store_core::{EventId, StreamRef};

use super::ledger::{Heard, Ledger, Name};
use crate::context::Ctx;
use crate::failure::{Mismatch, Outcome};
use crate::instance::Instance;
use crate::process::tell_parent;
use crate::tools::{lone, random, stream, text, together};

/// Tasks that append, and one more that deletes.
const TASKS: usize = 8;

/// What the children append to, one after the other.
pub(crate) fn places() -> [StreamRef; 3] {
    [stream("s", "a"), stream("t", "a"), lone("a")]
}

/// Appends, and says so, until the process is killed.
pub(crate) async fn append_until_killed(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let child = random(u64::MAX);
    let task = |task: usize| {
        let store = store.clone();
        async move {
            for n in 0.. {
                let done = if task < TASKS {
                    append_once(&store, format!("{child}-{task}"), task, n).await
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

async fn append_once(store: &Instance, writer: String, task: usize, n: u64) -> Outcome {
    let place = task % places().len();
    let name = Name { writer, n };
    let id = store.append(&places()[place], name.text()).await?;
    tell_parent(&format!("event {place} {} {} {n}", id.as_str(), name.writer));
    Ok(())
}

async fn delete_once(store: &Instance, child: u64, n: u64) -> Outcome {
    let name = format!("{child}-{n}");
    let id = store.try_append(&stream("s", &name), text("to be deleted")).await??;
    store.delete_stream(&stream("s", &name)).await?;
    tell_parent(&format!("deleted {name} {}", id.as_str()));
    Ok(())
}

/// Takes a line of a child into `ledger`.
pub(crate) fn note(ledger: &mut Ledger, line: &str) -> Outcome {
    let unexpected = || Mismatch::new("acknowledged appends in the child process", line);
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["event", place, id, writer, n] => {
            let name = Name { writer: writer.to_owned(), n: n.parse().map_err(|_| unexpected())? };
            let place = place.parse().map_err(|_| unexpected())?;
            ledger.note(place, name, Heard::Stored(EventId::new(id)));
            Ok(())
        }
        ["deleted", name, id] => {
            ledger.note_deleted(name, EventId::new(id));
            Ok(())
        }
        _ => Err(unexpected()),
    }
}
