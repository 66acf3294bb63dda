//! Rounds in which a process is killed, and what it had reported is looked for.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::child::{note, places};
use super::ledger::{Figures, Heard, Ledger, Name};
use crate::context::Ctx;
use crate::failure::{Mismatch, Outcome};
use crate::process::Helper;
use crate::tools::{random, text};

/// When a child is killed.
#[derive(Clone, Copy)]
pub(crate) enum Moment {
    /// So long after it began to report.
    AfterReporting(Duration),
    /// So long after it was started, whether or not it has reported anything.
    AfterStarting(Duration),
}

impl Moment {
    /// Now and then before a child says anything, usually between 5 and 100 ms of appending.
    pub(crate) fn random() -> Self {
        if random(16) == 0 {
            Self::AfterStarting(Duration::from_millis(random(50)))
        } else {
            Self::AfterReporting(Duration::from_micros(5_000 + random(95_000)))
        }
    }
}

/// Kills `rounds` children on the scope of `ctx`, one after the other, and looks each time whether
/// all is there that any of them reported.
pub(crate) async fn kill_children(ctx: &Ctx, rounds: u64) -> Outcome<Figures> {
    let mut ledger = Ledger::new(&places(), true);
    for round in 0..rounds {
        kill_one(ctx, &mut ledger, Moment::random()).await?;
        let store = ctx.open().await?;
        ledger.is_kept_by(&store).await?;
        // It goes on from there, in the same streams.
        for (at, place) in places().iter().enumerate() {
            let name = Name { writer: format!("parent-{at}"), n: round };
            let id = store.try_append(place, text(name.text())).await??;
            ledger.note(at, name, Heard::Stored(id));
        }
        store.shut().await?;
    }
    let store = ctx.open().await?;
    ledger.is_kept_by(&store).await?;
    store.shut().await?;
    Ok(ledger.figures())
}

async fn kill_one(ctx: &Ctx, ledger: &mut Ledger, moment: Moment) -> Outcome {
    let mut helper: Helper = ctx.start_helper()?;
    let until = match moment {
        Moment::AfterStarting(time) => Instant::now() + time,
        Moment::AfterReporting(time) => {
            let first = helper.next_line().await?;
            note(ledger, &first.ok_or_else(ended)?)?;
            Instant::now() + time
        }
    };
    // It must be read meanwhile: a child whose pipe is full does not append.
    loop {
        tokio::select! {
            line = helper.next_line() => note(ledger, &line?.ok_or_else(ended)?)?,
            () = sleep_until(until) => break,
        }
    }
    for line in helper.kill().await? {
        note(ledger, &line)?;
    }
    Ok(())
}

fn ended() -> Mismatch {
    Mismatch::new("a child that appends", "its end")
}
