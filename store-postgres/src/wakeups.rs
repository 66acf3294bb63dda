//! Noticing other instances' commits: notifications, and a poll behind them.
//!
//! The poll asks for the number of changes that the totals count, and takes off those that this
//! handle made itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream;
use mcp_event_store_core::Result;
use mcp_event_store_core::backend::Wakeup;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use crate::call::Call;
use crate::notices::Notices;
use crate::server::{Server, column};

/// How often the server is asked although there are notifications: an instance may be killed after
/// its commit and before it could tell.
pub(crate) const POLL_BEHIND: Duration = Duration::from_secs(5);

/// How long to wait before asking a server that did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Changes that this handle made.
#[derive(Debug, Default)]
pub(crate) struct OwnChanges {
    begun: AtomicI64,
    done: AtomicI64,
}

/// A change under way. Where it is dropped it was not made, or nobody knows: then it counts as
/// another's.
#[must_use]
pub(crate) struct OwnChange<'a>(&'a OwnChanges);

impl OwnChanges {
    /// A change is about to be sent.
    pub(crate) fn begin(&self) -> OwnChange<'_> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        OwnChange(self)
    }
}

impl OwnChange<'_> {
    /// The totals have counted it.
    pub(crate) fn made(self) {
        self.0.done.fetch_add(1, Ordering::SeqCst);
        std::mem::forget(self);
    }
}

impl Drop for OwnChange<'_> {
    fn drop(&mut self) {
        self.0.begun.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What the poll has seen.
struct Watch {
    server: Arc<Server>,
    own: Arc<OwnChanges>,
    heard: broadcast::Receiver<Wakeup>,
    ticks: Interval,
    /// Others' changes that followers have been woken for, at least.
    seen: Option<i64>,
    /// All changes that the last poll counted.
    counted: i64,
    /// Lost connections that were known before the last poll.
    losses: u64,
}

/// Says what may have changed through other handles, as long as it is polled.
pub(crate) fn watch(
    server: Arc<Server>,
    own: Arc<OwnChanges>,
    notices: &Notices,
    every: Duration,
) -> impl Stream<Item = Wakeup> + Send + 'static {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let heard = notices.listen();
    let watch = Watch { server, own, heard, ticks, seen: None, counted: 0, losses: 0 };
    stream::unfold(watch, |mut watch| async move {
        let wakeup = watch.next().await;
        Some((wakeup, watch))
    })
}

impl Watch {
    async fn next(&mut self) -> Wakeup {
        loop {
            tokio::select! {
                heard = self.heard.recv() => match heard {
                    Ok(wakeup) => return wakeup,
                    Err(RecvError::Lagged(_)) => return Wakeup::Any,
                    // The backend is closed, and its engine stops listening.
                    Err(RecvError::Closed) => std::future::pending().await,
                },
                _ = self.ticks.tick() => {}
            }
            match self.poll().await {
                Ok(true) => return Wakeup::Any,
                Ok(false) => {}
                Err(_) => {
                    // Followers are better woken than left waiting, but not all the time.
                    sleep(PAUSE).await;
                    return Wakeup::Any;
                }
            }
        }
    }

    /// Whether others have made changes since the last poll. Changes of this handle that are under
    /// way may look like others'; never the other way round.
    async fn poll(&mut self) -> Result<bool> {
        let losses_before = self.server.losses();
        let done_before = self.own.done.load(Ordering::SeqCst);
        let row = self.server.ask_one(&Call::new("changes")).await?;
        let changes: i64 = column(&row, 0)?;
        if changes < self.counted || self.server.losses() != self.losses {
            // A server that lost commits, in a failover or by a restored backup, counts on from
            // less: what others add there must not go unnoticed until it has caught up.
            self.seen = None;
        }
        (self.counted, self.losses) = (changes, losses_before);
        let begun_after = self.own.begun.load(Ordering::SeqCst);
        let is_news = self.seen.is_none_or(|seen| changes - done_before > seen);
        let certain = changes - begun_after;
        self.seen = Some(self.seen.map_or(certain, |seen| seen.max(certain)));
        Ok(is_news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_is_given_up_counts_as_anothers() {
        let own = OwnChanges::default();
        own.begin().made();
        drop(own.begin());
        let under_way = own.begin();
        assert_eq!([&own.begun, &own.done].map(|count| count.load(Ordering::SeqCst)), [2, 1]);
        drop(under_way);
        assert_eq!([&own.begun, &own.done].map(|count| count.load(Ordering::SeqCst)), [1, 1]);
    }
}
