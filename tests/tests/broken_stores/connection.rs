//! Stores that handle a lost connection wrongly.

use futures_util::StreamExt;
use mcp_event_store_compliance::{Cut, async_trait};
use mcp_event_store_core::{
    Error, EventId, NewEvent, Replay, ReplayMode, Result, Scope, StreamRef,
};

use super::defect::{Defect, Good};

/// Appends by itself, without the engine that would find out what became of a commit.
async fn append_simply(good: &Good, to: &StreamRef, event: &NewEvent) -> Result<EventId> {
    match good.link.strike() {
        None => good.events.store_event(to, event.clone()).await,
        Some(Cut::Answer) => {
            good.events.store_event(to, event.clone()).await?;
            Err(unknown())
        }
        Some(_) => Err(unknown()),
    }
}

fn unknown() -> Error {
    let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    Error::outcome_unknown("the connection was lost during a commit", reset)
}

/// Tries again whatever became of the first attempt.
#[derive(Default)]
pub(crate) struct RetriesBlindly;

#[async_trait]
impl Defect for RetriesBlindly {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        loop {
            match append_simply(good, to, &event).await {
                Err(Error::OutcomeUnknown { .. }) => {}
                answer => return answer,
            }
        }
    }
}

/// Takes a lost answer for a good one.
#[derive(Default)]
pub(crate) struct ClaimsSuccess;

#[async_trait]
impl Defect for ClaimsSuccess {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        match append_simply(good, to, &event).await {
            Err(Error::OutcomeUnknown { .. }) => Ok(EventId::new("it-will-be-there-I-am-sure")),
            answer => answer,
        }
    }
}

/// Waits for ever on a connection that is no more.
#[derive(Default)]
pub(crate) struct FallsSilent;

#[async_trait]
impl Defect for FallsSilent {
    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        let replay = good.events.replay_events_after(scope, id, mode).await?;
        let link = good.link.clone();
        let losses = link.losses();
        let events = replay.events.then(move |event| {
            let silent = link.losses() > losses;
            async move {
                if silent {
                    std::future::pending::<()>().await;
                }
                event
            }
        });
        Ok(Replay { stream: replay.stream, verdict: replay.verdict, events: Box::pin(events) })
    }
}

/// Takes the end of the connection for the end of the events.
#[derive(Default)]
pub(crate) struct EndsWell;

#[async_trait]
impl Defect for EndsWell {
    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        let replay = good.events.replay_events_after(scope, id, mode).await?;
        let events = replay.events.take_while(|event| {
            std::future::ready(!matches!(event, Err(Error::Unavailable { .. })))
        });
        Ok(Replay { stream: replay.stream, verdict: replay.verdict, events: Box::pin(events) })
    }
}
