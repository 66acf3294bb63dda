//! Whether a history is one that the contract allows.
//!
//! In words: every ID means one event for all readers. What a reader saw is a piece of its
//! stream's one order, without a hole or a repeat, and begins right after the event that it named
//! (A2, A3, P1, F1, R2). Appends that followed one another are in that order. A reading that began
//! after an append was acknowledged sees it, or is told that it was trimmed or deleted, and is told
//! so only if that may be (P5, P9). A follow ends with `None` only after the completing event or
//! if another has taken the stream over since it began, and then it does end (F3, F7). The rule
//! that nothing new goes to a follow "once it has seen" a take-over needs no more: having seen it
//! is having ended.

use super::ends::check_end;
use super::order::Order;
use super::record::{Action, End, History, How, Reading, Record, Tick};

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) operations: usize,
    pub(crate) appends: usize,
    pub(crate) deletions: usize,
    pub(crate) events_seen: usize,
    pub(crate) replays: usize,
    pub(crate) follows: usize,
    pub(crate) taken_over: usize,
    pub(crate) expired: usize,
    /// Of these, how many had been given events before.
    pub(crate) overtaken: usize,
    pub(crate) unknown: usize,
}

/// Fails with what is wrong, if anything is.
pub(crate) fn check(history: &History) -> Result<Figures, String> {
    let order = Order::of(history)?;
    let mut figures = Figures { operations: history.records.len(), ..Figures::default() };
    for record in &history.records {
        match &record.action {
            Action::Append { .. } => figures.appends += 1,
            Action::Delete => figures.deletions += 1,
            Action::Read(reading) => {
                check_reading(history, &order, record, reading)
                    .map_err(|what| format!("{what}: {}", told(record, reading)))?;
                figures.count(reading);
            }
        }
    }
    Ok(figures)
}

impl Figures {
    fn count(&mut self, reading: &Reading) {
        self.events_seen += reading.seen.len();
        match reading.how {
            How::Stored => self.replays += 1,
            How::Join | How::TakeOver => self.follows += 1,
        }
        match reading.end {
            End::Expired(_) => {
                self.expired += 1;
                self.overtaken += usize::from(!reading.seen.is_empty());
            }
            End::Unknown => self.unknown += 1,
            End::Done if reading.how != How::Stored && !reading.saw_the_end() => {
                self.taken_over += 1;
            }
            End::Done | End::Dropped => {}
        }
    }
}

impl Reading {
    /// The sequence of the last event that the reader has; none if nobody ever saw that event.
    pub(super) fn last_seq(&self, order: &Order) -> Option<u64> {
        match (self.seen.last(), &self.after) {
            (Some(seen), _) => Some(seen.seq),
            (None, Some(id)) => order.seq(id),
            (None, None) => Some(0),
        }
    }

    pub(super) fn saw_the_end(&self) -> bool {
        self.seen.last().is_some_and(|seen| seen.completes)
    }
}

/// A reading for a message, without its events but the first and the last.
fn told(record: &Record, reading: &Reading) -> String {
    let seqs = |seen: Option<&super::record::Seen>| seen.map(|seen| seen.seq);
    format!(
        "{:?} of stream {} after {:?}, called at {}, answered at {}, promised {}, saw {:?} to {:?}, \
         ended at {} with {:?}",
        reading.how,
        record.stream,
        reading.after,
        record.from,
        record.to,
        reading.promised,
        seqs(reading.seen.first()),
        seqs(reading.seen.last()),
        reading.ended,
        reading.end
    )
}

impl History {
    /// Appends to `stream` that were acknowledged before `tick`.
    pub(super) fn acknowledged_before(&self, stream: usize, tick: Tick) -> u64 {
        self.appends(stream).filter(|record| record.to < tick).count() as u64
    }

    /// Appends to `stream` that may have been stored before `tick`.
    pub(super) fn called_before(&self, stream: usize, tick: Tick) -> u64 {
        self.appends(stream).filter(|record| record.from < tick).count() as u64
    }

    pub(super) fn appends(&self, stream: usize) -> impl Iterator<Item = &Record> {
        let is_append = |record: &&Record| matches!(record.action, Action::Append { .. });
        self.records.iter().filter(move |record| record.stream == stream).filter(is_append)
    }

    pub(super) fn deletions(&self, stream: usize) -> impl Iterator<Item = &Record> {
        let is_deletion = |record: &&Record| matches!(record.action, Action::Delete);
        self.records.iter().filter(move |record| record.stream == stream).filter(is_deletion)
    }
}

fn check_reading(
    history: &History,
    order: &Order,
    record: &Record,
    reading: &Reading,
) -> Result<(), String> {
    check_deleted(history, order, record, reading)?;
    check_end(history, order, record, reading)?;
    if reading.how == How::Stored && reading.end == End::Done {
        if reading.promised != reading.seen.len() as u64 {
            return Err("the verdict counts other events than came (P4)".to_owned());
        }
        if !history.deletable[record.stream] {
            check_complete(history, order, record, reading)?;
        }
    }
    Ok(())
}

/// P1, P5, T3: what was acknowledged before the replay is in it, down to what may be trimmed.
fn check_complete(
    history: &History,
    order: &Order,
    record: &Record,
    reading: &Reading,
) -> Result<(), String> {
    // An event that nobody saw may have any place.
    let Some(last) = reading.last_seq(order) else { return Ok(()) };
    let stored = history.acknowledged_before(record.stream, record.from);
    if last < stored {
        return Err(format!("{stored} events were acknowledged before, so some are missing (P1)"));
    }
    let called = history.called_before(record.stream, reading.ended);
    if last > called {
        return Err(format!("only {called} events can have been stored (A2)"));
    }
    let kept = last.min(history.cap);
    if reading.after.is_none() && reading.seen.len() as u64 != kept {
        return Err(format!("{kept} events are kept (T3)"));
    }
    Ok(())
}

/// D1, D4: nothing that was deleted comes back.
fn check_deleted(
    history: &History,
    order: &Order,
    record: &Record,
    reading: &Reading,
) -> Result<(), String> {
    for deletion in history.deletions(record.stream).filter(|d| d.to < record.from) {
        let was_deleted = |id: &String| order.stored(id).is_some_and(|at| at < deletion.from);
        if reading.after.as_ref().is_some_and(was_deleted) && reading.end != End::Unknown {
            return Err(format!("the event was deleted at {} (D1)", deletion.to));
        }
        if reading.seen.iter().any(|seen| was_deleted(&seen.id)) {
            return Err(format!("it saw what was deleted at {} (D1)", deletion.to));
        }
    }
    Ok(())
}
