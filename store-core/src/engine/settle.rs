//! After a commit whose answer was lost: look whether it happened.
//!
//! An event's tag, drawn before the commit, finds it again. What is found was stored. What is not
//! found may still be on its way inside the server, so its callers hear `OutcomeUnknown`.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backend::{Appended, Backend, Found, Group, PageEvent, PageLimit};
use crate::error::{Error, Result};

/// How long an unreachable database is asked again.
const ASK_FOR: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// How many later events of other writers may have followed ours before we look.
const LOOK_BACK: u64 = 4096;

/// What became of `group`.
pub(super) async fn look_again<B: Backend>(
    backend: &B,
    group: &Group,
    unknown: Error,
) -> Result<Appended> {
    let deadline = Instant::now() + ASK_FOR;
    loop {
        match find(backend, group).await {
            Err(error) if error.is_retryable() && Instant::now() < deadline => sleep(PAUSE).await,
            found => return found.ok().flatten().ok_or(unknown),
        }
    }
}

/// The group among the newest events of its stream.
async fn find<B: Backend>(backend: &B, group: &Group) -> Result<Option<Appended>> {
    let Some(Found { meta, .. }) = backend.find(&group.stream).await? else { return Ok(None) };
    let reach = LOOK_BACK + group.events.len() as u64;
    let mut after = (meta.first_seq - 1).max(meta.last_seq.saturating_sub(reach));
    let mut tail: Vec<PageEvent> = Vec::new();
    while let Some(page) = backend.read(&meta.key, after, PageLimit::PAGE).await? {
        let Some(last) = page.events.last() else { break };
        after = last.seq;
        tail.extend(page.events);
    }
    let is_ours = |run: &[PageEvent]| run.iter().zip(&group.events).all(|(a, b)| a.tag == b.tag);
    let ours = tail.windows(group.events.len()).find(|run| is_ours(run));
    Ok(ours.map(|run| Appended {
        key: meta.key,
        first_seq: run[0].seq,
        stored_at: run[0].stored_at,
        reader_epoch: meta.reader_epoch,
    }))
}
