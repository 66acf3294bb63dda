//! The one order of each stream, put together from what its readers saw.

use std::collections::HashMap;

use super::record::{Action, History, Reading, Record, Seen, Tick};

/// What is known of every ID.
pub(crate) struct Order {
    events: HashMap<String, Known>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    stream: usize,
    text: String,
    /// Once someone saw it.
    seq: Option<u64>,
    completes: bool,
    /// When its append was called, and when it answered.
    called: Tick,
    stored: Tick,
    /// What everyone saw before and after it.
    previous: Option<String>,
    next: Option<String>,
}

impl Order {
    /// Fails if there is no such order.
    pub(crate) fn of(history: &History) -> Result<Self, String> {
        let mut order = Self { events: HashMap::new() };
        for record in &history.records {
            if let Action::Append { text, id } = &record.action {
                order.add(record, text, id)?;
            }
        }
        for record in &history.records {
            if let Action::Read(reading) = &record.action {
                order.add_view(record, reading)?;
            }
        }
        order.check_places(history)?;
        for stream in 0..history.deletable.len() {
            order.check_real_time(history, stream)?;
            if !history.deletable[stream] {
                order.check_count(history, stream)?;
            }
        }
        Ok(order)
    }

    pub(crate) fn seq(&self, id: &str) -> Option<u64> {
        self.events.get(id)?.seq
    }

    /// When the event was acknowledged.
    pub(crate) fn stored(&self, id: &str) -> Option<Tick> {
        self.events.get(id).map(|known| known.stored)
    }

    pub(crate) fn completes(&self, id: &str) -> bool {
        self.events.get(id).is_some_and(|known| known.completes)
    }

    fn add(&mut self, record: &Record, text: &str, id: &str) -> Result<(), String> {
        let known = Known {
            stream: record.stream,
            text: text.to_owned(),
            seq: None,
            completes: false,
            called: record.from,
            stored: record.to,
            previous: None,
            next: None,
        };
        match self.events.insert(id.to_owned(), known) {
            Some(other) => Err(format!("{id} is the ID of {:?} and of {text:?} (A3)", other.text)),
            None => Ok(()),
        }
    }

    /// Adds what a reader saw: each event is one that was appended, and follows the one before.
    fn add_view(&mut self, record: &Record, reading: &Reading) -> Result<(), String> {
        let mut before = reading.after.clone();
        for seen in &reading.seen {
            self.meet(record, seen)?;
            if let Some(before) = before.replace(seen.id.clone()) {
                self.join(&before, seen)?;
            }
        }
        Ok(())
    }

    fn meet(&mut self, record: &Record, seen: &Seen) -> Result<(), String> {
        let Seen { id, seq, text, completes } = seen;
        let unknown = || format!("{text:?} was seen as {id}, which nobody was given (A2, A10)");
        let known = self.events.get_mut(id).ok_or_else(unknown)?;
        if known.stream != record.stream || known.text != *text {
            let Known { stream, text: meant, .. } = known;
            return Err(format!("{id} was {meant:?} of stream {stream}, and is {text:?} (A3)"));
        }
        if known.seq.is_some_and(|known| known != *seq) {
            return Err(format!("{text:?} has the sequences {:?} and {seq} (A2)", known.seq));
        }
        known.seq = Some(*seq);
        known.completes |= completes;
        Ok(())
    }

    /// `seen` comes right after `before`, for this reader and so for all.
    fn join(&mut self, before: &str, seen: &Seen) -> Result<(), String> {
        let Some(first) = self.events.get_mut(before) else {
            return Err(format!("a replay after {before}, which nobody was given (P10)"));
        };
        match first.seq {
            Some(seq) if seq + 1 != seen.seq => {
                let text = &first.text;
                return Err(format!("after {text:?}, {seq}, came {} (F1, P9)", seen.seq));
            }
            Some(_) => {}
            None => first.seq = seen.seq.checked_sub(1),
        }
        if first.next.as_ref().is_some_and(|next| *next != seen.id) {
            return Err(format!("after {:?} came two events for two readers (A2)", first.text));
        }
        first.next = Some(seen.id.clone());
        let Some(second) = self.events.get_mut(&seen.id) else { return Ok(()) };
        if second.previous.as_deref().is_some_and(|previous| previous != before) {
            return Err(format!("before {:?} came two events for two readers (A2)", second.text));
        }
        second.previous = Some(before.to_owned());
        Ok(())
    }

    /// No two events of a stream that was never deleted have the same place.
    fn check_places(&self, history: &History) -> Result<(), String> {
        let mut places: HashMap<(usize, u64), &Known> = HashMap::new();
        for known in self.events.values().filter(|known| !history.deletable[known.stream]) {
            let Some(seq) = known.seq else { continue };
            if let Some(other) = places.insert((known.stream, seq), known) {
                let (one, other) = (&known.text, &other.text);
                return Err(format!("{one:?} and {other:?} both have sequence {seq} (A2, R2)"));
            }
        }
        Ok(())
    }

    /// An append that was called after another had been acknowledged comes after it.
    fn check_real_time(&self, history: &History, stream: usize) -> Result<(), String> {
        for piece in self.pieces(history, stream) {
            // From the last to the first: none may have been called after one of those behind it
            // was acknowledged.
            let mut earliest: Option<&Known> = None;
            for known in piece.into_iter().rev() {
                if let Some(later) = earliest.filter(|later| later.stored < known.called) {
                    let (one, other) = (&known.text, &later.text);
                    return Err(format!(
                        "{one:?} comes before {other:?}, whose caller had it (A2)"
                    ));
                }
                if earliest.is_none_or(|earliest| known.stored < earliest.stored) {
                    earliest = Some(known);
                }
            }
        }
        Ok(())
    }

    /// The events of `stream` in order; of one that was deleted, in pieces that belong together.
    fn pieces(&self, history: &History, stream: usize) -> Vec<Vec<&Known>> {
        let of_stream = |known: &&Known| known.stream == stream && known.seq.is_some();
        let mut all: Vec<_> = self.events.values().filter(of_stream).collect();
        all.sort_by_key(|known| known.seq);
        if !history.deletable[stream] {
            return vec![all];
        }
        let firsts = all.into_iter().filter(|known| known.previous.is_none());
        let next = |known: &&Known| known.next.as_ref().and_then(|id| self.events.get(id));
        firsts.map(|first| std::iter::successors(Some(first), next).collect()).collect()
    }

    /// As many sequences were given out as there were appends: no event was stored twice, and none
    /// that was acknowledged was left out.
    fn check_count(&self, history: &History, stream: usize) -> Result<(), String> {
        let appended = history.appends(stream).count() as u64;
        let of_stream = self.events.values().filter(|known| known.stream == stream);
        match of_stream.filter_map(|known| known.seq).max() {
            Some(last) if last != appended => Err(format!(
                "{appended} events of stream {stream} have sequences to {last} (A1, A2)"
            )),
            _ => Ok(()),
        }
    }
}
