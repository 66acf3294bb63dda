//! T3 and T4: how much is kept of one stream.

use mcp_event_store_core::EVENT_OVERHEAD_BYTES;

use crate::checks::expired::first_are_removed;
use crate::checks::ttl::Swept;
use crate::context::{Ctx, keeping};
use crate::failure::{Outcome, same};
use crate::instance::Instance;
use crate::tools::{lone, padded, stream};

async fn kept_events(swept: Swept, store: &Instance, expected: usize) -> Outcome {
    if swept == Swept::Always {
        same("the kept events", &(expected as u64), &store.usage().await?.events)?;
    }
    Ok(())
}

async fn only_the_newest_events(ctx: &Ctx, swept: Swept) -> Outcome {
    const CAP: usize = 5;
    let store = ctx.open_with(&keeping(|r| r.max_events_per_stream = Some(CAP as u64))).await?;
    let mut kept = 0;
    for one in [stream("s", "a"), stream("t", "a"), lone("a")] {
        let mut all = Vec::new();
        for n in 1..=14 {
            let end = n == 14;
            all.push(if end {
                store.complete(&one, n).await?
            } else {
                store.append(&one, n).await?
            });
            swept.sweep(&store).await?;
            first_are_removed(&store, &one, &all, all.len().saturating_sub(CAP)).await?;
        }
        kept += CAP;
        kept_events(swept, &store, kept).await?;
    }
    Ok(())
}

pub(crate) async fn t3_only_the_newest_events_are_kept(ctx: &Ctx) -> Outcome {
    only_the_newest_events(ctx, Swept::Never).await
}

pub(crate) async fn t3_events_above_the_cap_are_swept(ctx: &Ctx) -> Outcome {
    only_the_newest_events(ctx, Swept::Always).await
}

/// How many of the oldest events a cap of `cap` bytes removes; never the newest.
pub(crate) fn removed_by_bytes(sizes: &[usize], cap: u64) -> usize {
    let mut bytes = 0;
    let mut kept = 0;
    for size in sizes.iter().rev() {
        bytes += *size as u64 + EVENT_OVERHEAD_BYTES;
        if bytes > cap && kept > 0 {
            break;
        }
        kept += 1;
    }
    sizes.len() - kept
}

async fn only_the_newest_bytes(ctx: &Ctx, swept: Swept) -> Outcome {
    /// Exactly three events of 100 bytes.
    const CAP: u64 = 3 * (100 + EVENT_OVERHEAD_BYTES);
    /// The third is too large by itself; before the last comes one that just fits beside it.
    const SIZES: [usize; 12] = [100, 100, 5000, 100, 100, 100, 100, 99, 101, 328 - 64, 100, 300];
    let store = ctx.open_with(&keeping(|r| r.max_bytes_per_stream = Some(CAP))).await?;
    let mut kept = 0;
    for one in [stream("s", "a"), lone("a")] {
        let mut all = Vec::new();
        for (n, size) in SIZES.into_iter().enumerate() {
            all.push(store.try_append(&one, padded(n, size)).await??);
            swept.sweep(&store).await?;
            let removed = removed_by_bytes(&SIZES[..=n], CAP);
            first_are_removed(&store, &one, &all, removed).await?;
        }
        kept += SIZES.len() - removed_by_bytes(&SIZES, CAP);
        kept_events(swept, &store, kept).await?;
    }
    Ok(())
}

pub(crate) async fn t4_only_the_newest_bytes_are_kept(ctx: &Ctx) -> Outcome {
    only_the_newest_bytes(ctx, Swept::Never).await
}

pub(crate) async fn t4_bytes_above_the_cap_are_swept(ctx: &Ctx) -> Outcome {
    only_the_newest_bytes(ctx, Swept::Always).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_event_stays_whatever_its_size() {
        assert_eq!(removed_by_bytes(&[10, 5000], 100), 1);
        assert_eq!(removed_by_bytes(&[36, 36, 36], 200), 1);
        assert_eq!(removed_by_bytes(&[5000, 36], 200), 1);
        assert_eq!(removed_by_bytes(&[36], 1), 0);
    }
}
