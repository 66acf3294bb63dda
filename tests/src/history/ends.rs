//! Whether a reading had a reason to end as it did.

use super::order::Order;
use super::record::{Action, End, History, How, Reading, Record};

pub(super) fn check_end(
    history: &History,
    order: &Order,
    record: &Record,
    reading: &Reading,
) -> Result<(), String> {
    match &reading.end {
        End::Dropped => Ok(()),
        End::Done if reading.how == How::Stored || reading.saw_the_end() => Ok(()),
        End::Done if was_at_the_end(order, reading) => Ok(()),
        End::Done if was_taken_over(history, record, reading) => Ok(()),
        End::Done => Err("nobody had taken it over, and no event completed it (F3, F7)".to_owned()),
        End::Unknown if history.deletions(record.stream).any(|d| d.from < reading.ended) => Ok(()),
        End::Unknown => Err("its stream was never deleted (L1, P7)".to_owned()),
        End::Expired(resume_after) => check_expired(history, order, record, reading, resume_after),
    }
}

/// P5, P9, F5: something after its last event must have been trimmed, and the ID that it is told
/// must be that of a trimmed event.
fn check_expired(
    history: &History,
    order: &Order,
    record: &Record,
    reading: &Reading,
    resume_after: &str,
) -> Result<(), String> {
    if order.stored(resume_after).is_none() {
        return Err("it names an ID that nobody was given (P5)".to_owned());
    }
    if history.deletable[record.stream] {
        return Ok(());
    }
    let Some(last) = reading.last_seq(order) else { return Ok(()) };
    let called = history.called_before(record.stream, reading.ended);
    if called <= last + history.cap {
        return Err(format!("of {called} events none after {last} can be trimmed (P5)"));
    }
    match order.seq(resume_after) {
        Some(seq) if seq <= last => Err(format!("it may go on after {seq}, before {last} (P5)")),
        Some(seq) if seq + history.cap > called => {
            Err(format!("event {seq} of {called} cannot be trimmed (P5)"))
        }
        // Nobody may have seen it.
        _ => Ok(()),
    }
}

/// Whether the event that it began after is the stream's last.
fn was_at_the_end(order: &Order, reading: &Reading) -> bool {
    reading.seen.is_empty() && reading.after.as_ref().is_some_and(|id| order.completes(id))
}

/// Whether another follow took the stream over after this one had been called, and before it
/// ended. One that waited for the stream did so at some time before its own first event.
fn was_taken_over(history: &History, record: &Record, reading: &Reading) -> bool {
    history.records.iter().any(|other| match &other.action {
        Action::Read(taker) if taker.how == How::TakeOver => {
            let waited = taker.after.is_none() && taker.promised == 0;
            let done = if waited { taker.began } else { other.to };
            other.stream == record.stream
                && !std::ptr::eq(other, record)
                && other.from < reading.ended
                && done > record.from
        }
        _ => false,
    })
}
