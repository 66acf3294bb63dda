//! A1 and R3: a process that is killed while it appends. The crash test does the same for longer.

use crate::context::Ctx;
use crate::crash::child::append_until_killed;
use crate::crash::kill::kill_children;
use crate::failure::{Outcome, ensure};

async fn survives(ctx: &Ctx, rounds: u64) -> Outcome {
    if ctx.is_child() {
        return append_until_killed(ctx).await;
    }
    let figures = kill_children(ctx, rounds).await?;
    ensure(figures.acknowledged > 0, "children that append", format!("{figures:?}"))
}

pub(crate) async fn a1_an_acknowledged_event_survives_kill_9(ctx: &Ctx) -> Outcome {
    survives(ctx, 3).await
}

pub(crate) async fn r3_random_kills_lose_and_tear_nothing(ctx: &Ctx) -> Outcome {
    survives(ctx, 8).await
}
