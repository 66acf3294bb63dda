//! Names, messages and comparisons that the checks share.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

use mcp_event_store_core::{
    EventId, Message, NewEvent, SessionId, StoredEvent, StreamId, StreamRef,
};

use crate::failure::{Mismatch, Outcome, same};

pub(crate) fn session(name: &str) -> SessionId {
    SessionId::new(name).expect("a valid session ID")
}

/// The stream `name` of `in_session`.
pub(crate) fn stream(in_session: &str, name: &str) -> StreamRef {
    StreamRef::in_session(session(in_session), StreamId::new(name).expect("a valid stream ID"))
}

/// The session-less stream `name`.
pub(crate) fn lone(name: &str) -> StreamRef {
    StreamRef::sessionless(StreamId::new(name).expect("a valid stream ID"))
}

/// A message from JSON text.
pub(crate) fn json(text: impl AsRef<str>) -> Message {
    Message::parse(text).expect("valid JSON")
}

/// An event whose message is `text` as a JSON string.
pub(crate) fn text(text: impl Display) -> NewEvent {
    NewEvent::message(Message::from_value(&text.to_string()).expect("valid JSON"))
}

/// An event whose message has `bytes` bytes and begins with `text`.
pub(crate) fn padded(text: impl Display, bytes: usize) -> NewEvent {
    let text = text.to_string();
    let fill = bytes.checked_sub(text.len() + 2).expect("room for the text");
    NewEvent::message(json(format!("\"{text}{}\"", "x".repeat(fill))))
}

/// The messages as they stand, without the quotes of JSON strings; `-` where there is none.
pub(crate) fn texts(events: &[StoredEvent]) -> Vec<String> {
    let one = |event: &StoredEvent| {
        event.message.as_ref().map_or("-".to_owned(), |m| m.get().trim_matches('"').to_owned())
    };
    events.iter().map(one).collect()
}

pub(crate) fn ids(events: &[StoredEvent]) -> Vec<EventId> {
    events.iter().map(|event| event.id.clone()).collect()
}

pub(crate) fn seqs(events: &[StoredEvent]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}

/// The numbers from `first` to `last` as texts: what [`Instance::fill`] appends.
///
/// [`Instance::fill`]: crate::instance::Instance::fill
pub(crate) fn numbers(first: usize, last: usize) -> Vec<String> {
    (first..=last).map(|n| n.to_string()).collect()
}

/// Fails unless the events have these messages, these IDs, and sequences from `first_seq` on.
#[track_caller]
pub(crate) fn same_events<T: Debug + PartialEq<String>>(
    what: impl Display,
    first_seq: u64,
    expected: (&[T], &[EventId]),
    came: &[StoredEvent],
) -> Outcome {
    let (expected_texts, expected_ids) = expected;
    same(format!("{what}, messages"), expected_texts, &*texts(came))?;
    same(format!("{what}, IDs"), expected_ids, &*ids(came))?;
    in_sequence(what, first_seq, came)
}

/// Fails unless the events' sequences go on from `first_seq` without a hole.
#[track_caller]
pub(crate) fn in_sequence(what: impl Display, first_seq: u64, came: &[StoredEvent]) -> Outcome {
    let expected: Vec<u64> = (first_seq..).take(came.len()).collect();
    same(format!("{what}, sequences"), &expected, &seqs(came))
}

/// Asks again and again until `question` says yes.
#[track_caller]
pub(crate) fn eventually<F>(
    patience: Duration,
    what: impl Display,
    mut question: impl FnMut() -> F,
) -> impl Future<Output = Outcome>
where
    F: Future<Output = Outcome<bool>>,
{
    const PAUSE: Duration = Duration::from_millis(5);
    let at = Location::caller();
    async move {
        let start = Instant::now();
        while !question().await? {
            if start.elapsed() > patience {
                let expected = format!("{what} within {patience:?}");
                return Err(Mismatch { at, ..Mismatch::new(expected, "not so") });
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// Runs every future as a task of its own, and gives their results in the same order.
pub(crate) async fn together<F>(futures: impl IntoIterator<Item = F>) -> Outcome<Vec<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        let result = task.await;
        results.push(result.map_err(|error| Mismatch::new("no panic in a call", error))?);
    }
    Ok(results)
}

/// A random number below `limit`.
pub(crate) fn random(limit: u64) -> u64 {
    getrandom::u64().expect("random numbers") % limit
}
