//! S4: deletion while others write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mcp_event_store_core::{Error, EventId, StreamRef, Usage};
use tokio::sync::Notify;

use crate::checks::deletion::is_gone;
use crate::context::Ctx;
use crate::failure::{Mismatch, Outcome, expect_match, same};
use crate::instance::Instance;
use crate::tools::{json, random, session, stream, text, together};

const ROUNDS: usize = 12;
const WRITERS: usize = 8;

/// What writers know of the deletion.
#[derive(Default)]
struct Race {
    begun: Notify,
    /// Whether the deletion was acknowledged.
    over: AtomicBool,
}

/// What one writer got its acknowledgement for.
type Written = Vec<(StreamRef, EventId)>;

/// Appends or stores until the session is deleted.
async fn write(store: Instance, name: String, n: usize, race: Arc<Race>) -> Outcome<Written> {
    let id = session(&name);
    let mut written = Vec::new();
    for turn in 0.. {
        let over = race.over.load(Ordering::SeqCst);
        let answer = match n % 4 {
            // Always another stream, always the same, or one that all writers share.
            0 => append(&store, &stream(&name, &format!("{n}/{turn}")), &mut written).await?,
            1 => append(&store, &stream(&name, &format!("{n}")), &mut written).await?,
            2 => append(&store, &stream(&name, "shared"), &mut written).await?,
            _ => {
                store.sessions()?.touch(&id).await?;
                store.sessions()?.load(&id).await?;
                store.sessions()?.store(&id, json("{}")).await
            }
        };
        race.begun.notify_one();
        match answer {
            Ok(()) if !over => {}
            Err(Error::SessionDeleted) => break,
            other => {
                let expected = "success, and SessionDeleted after the deletion";
                return Err(Mismatch::new(expected, format!("{other:?}, deleted: {over}")));
            }
        }
    }
    Ok(written)
}

async fn append(
    store: &Instance,
    to: &StreamRef,
    written: &mut Written,
) -> Outcome<Result<(), Error>> {
    let answer = store.try_append(to, text("racing")).await?;
    Ok(answer.map(|id| written.push((to.clone(), id))))
}

async fn race(stores: &[Instance]) -> Outcome {
    for round in 0..ROUNDS {
        let name = format!("round {round}");
        let racing = Arc::new(Race::default());
        let writer =
            |n: usize| write(stores[n % stores.len()].clone(), name.clone(), n, racing.clone());
        let writers: Vec<_> = (0..WRITERS).map(writer).collect();
        let writers = tokio::spawn(together(writers));
        for _ in 0..random(40) {
            racing.begun.notified().await;
        }
        stores[0].delete_session(&session(&name)).await?;
        racing.over.store(true, Ordering::SeqCst);
        let written = writers.await.expect("no panic")?;
        let written: Vec<Written> = written.into_iter().collect::<Outcome<_>>()?;
        for (stream, id) in written.concat() {
            is_gone(&stores[0], &stream, &[id]).await?;
        }
        nothing_left(stores, &name).await?;
    }
    Ok(())
}

async fn nothing_left(stores: &[Instance], name: &str) -> Outcome {
    let id = session(name);
    for store in stores {
        same("the record", &None, &store.sessions()?.load(&id).await?)?;
        same("a touch", &false, &store.sessions()?.touch(&id).await?)?;
        let record = store.sessions()?.store(&id, json("{}")).await;
        expect_match!(record, Err(Error::SessionDeleted), "a record after the deletion");
        let late = store.try_append(&stream(name, "shared"), text("late")).await?;
        expect_match!(late, Err(Error::SessionDeleted), "an append after the deletion");
        if let Some(usage) = store.usage_if_told().await? {
            same("what is left", &Usage::default(), &usage)?;
        }
    }
    let again = stores[0].delete_session(&id).await?;
    same("streams and records left behind", &(0, false), &(again.streams, again.session_record))
}

pub(crate) async fn s4_nothing_survives_a_race_with_delete(ctx: &Ctx) -> Outcome {
    race(&[ctx.open().await?]).await
}

pub(crate) async fn s4_nothing_survives_a_race_on_two_instances(ctx: &Ctx) -> Outcome {
    race(&[ctx.open().await?, ctx.open().await?]).await
}
