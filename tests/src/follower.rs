//! An open follow, read event by event, and never waited for without an end.

use std::future::Future;
use std::panic::Location;
use std::task::Poll;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use mcp_event_store_core::{Error, EventStream, Replay, Result, StoredEvent, Verdict};

use crate::failure::{Mismatch, Outcome, ensure};
use crate::instance::within;
use crate::tools::texts;

pub(crate) struct Follower {
    pub(crate) verdict: Verdict,
    events: EventStream,
    patience: Duration,
}

impl Follower {
    pub(crate) fn new(replay: Replay, patience: Duration) -> Self {
        Self { verdict: replay.verdict, events: replay.events, patience }
    }

    /// What comes next: an event, an error, or the end.
    #[track_caller]
    pub(crate) fn next(&mut self) -> impl Future<Output = Outcome<Option<Result<StoredEvent>>>> {
        within(self.patience, "an event, an error or the end of the follow", self.events.next())
    }

    /// The next event.
    #[track_caller]
    pub(crate) fn event(&mut self) -> impl Future<Output = Outcome<StoredEvent>> {
        let at = Location::caller();
        let next = self.next();
        async move {
            match next.await? {
                Some(Ok(event)) => Ok(event),
                other => Err(Mismatch { at, ..Mismatch::new("an event", format!("{other:?}")) }),
            }
        }
    }

    /// The next `count` events.
    pub(crate) async fn events(&mut self, count: usize) -> Outcome<Vec<StoredEvent>> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            match self.next().await? {
                Some(Ok(event)) => events.push(event),
                other => {
                    let expected = format!("{count} events");
                    let came = format!("{:?}, then {other:?}", texts(&events));
                    return Err(Mismatch::new(expected, came));
                }
            }
        }
        Ok(events)
    }

    /// All events until the end, and the error if it ends with one.
    pub(crate) async fn rest(&mut self) -> Outcome<(Vec<StoredEvent>, Option<Error>)> {
        let mut events = Vec::new();
        loop {
            match self.next().await? {
                Some(Ok(event)) => events.push(event),
                Some(Err(error)) => return Ok((events, Some(error))),
                None => return Ok((events, None)),
            }
        }
    }

    /// At most `count` events, fewer if it ends before, and the error if it ends with one.
    pub(crate) async fn rest_of(
        &mut self,
        count: usize,
    ) -> Outcome<(Vec<StoredEvent>, Option<Error>)> {
        let mut events = Vec::new();
        while events.len() < count {
            match self.next().await? {
                Some(Ok(event)) => events.push(event),
                Some(Err(error)) => return Ok((events, Some(error))),
                None => break,
            }
        }
        Ok((events, None))
    }

    /// Fails unless the follow ends here, without an error.
    #[track_caller]
    pub(crate) fn end(&mut self) -> impl Future<Output = Outcome> {
        let at = Location::caller();
        let next = self.next();
        async move {
            match next.await? {
                None => Ok(()),
                other => {
                    let came = format!("{other:?}");
                    Err(Mismatch { at, ..Mismatch::new("the end of the follow", came) })
                }
            }
        }
    }

    /// Takes what is there, begins to wait for more, and does not come back for it.
    pub(crate) fn stall(&mut self) {
        while let Some(Some(_)) = self.events.next().now_or_never() {}
    }

    /// What is there already: an event, an error or the end.
    pub(crate) fn ready(&mut self) -> Poll<Option<Result<StoredEvent>>> {
        self.events.next().now_or_never().map_or(Poll::Pending, Poll::Ready)
    }

    /// Fails if something is there already.
    pub(crate) fn nothing_yet(&mut self) -> Outcome {
        let next = self.events.next().now_or_never();
        let came = format!("{next:?}");
        ensure(next.is_none(), "a follow that waits for something to give", came)
    }
}
