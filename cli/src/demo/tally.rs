//! Compares what a client received with what was sent.

use std::collections::HashSet;
use std::fmt;

use super::client::{Content, Received};

/// Everything that was observed.
pub(super) struct Tally {
    to: u32,
    /// Messages received before the connection dropped.
    pub(super) live: Vec<Received>,
    /// Messages received after the resume.
    pub(super) replayed: Vec<Received>,
    /// The stream's messages from its first to its last, as the store gives them.
    pub(super) stored: Vec<Received>,
}

impl Tally {
    /// For a call that counts to `to`.
    pub(super) fn new(to: u32) -> Self {
        Self { to, live: Vec::new(), replayed: Vec::new(), stored: Vec::new() }
    }

    pub(super) fn outcome(&self) -> Outcome {
        let received: Vec<&Received> = self.live.iter().chain(&self.replayed).collect();
        let distinct: HashSet<&str> = received.iter().map(|event| &*event.id).collect();
        let missed = |content: &&Content| !received.iter().any(|event| event.content == **content);
        let sent = self.sent();
        Outcome {
            live: self.live.len(),
            replayed: self.replayed.len(),
            lost: sent.iter().filter(missed).count(),
            repeated: received.len() - distinct.len(),
            misplaced: self.misplaced(&received),
            sent: sent.len(),
        }
    }

    /// What the call had to send, and whatever else is stored.
    fn sent(&self) -> Vec<Content> {
        let mut sent: Vec<Content> = (1..=self.to).map(Content::Progress).collect();
        sent.push(Content::Result(format!("counted to {}", self.to)));
        for event in &self.stored {
            if !sent.contains(&event.content) {
                sent.push(event.content.clone());
            }
        }
        sent
    }

    /// Events that came before one that is stored earlier, or that are not stored like that.
    fn misplaced(&self, received: &[&Received]) -> usize {
        let place = |event: &Received| self.stored.iter().position(|stored| stored == event);
        let places: Vec<Option<usize>> = received.iter().map(|event| place(event)).collect();
        let foreign = places.iter().filter(|place| place.is_none()).count();
        let known: Vec<usize> = places.into_iter().flatten().collect();
        foreign + known.windows(2).filter(|pair| pair[1] < pair[0]).count()
    }
}

/// The comparison's result.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) sent: usize,
    pub(super) live: usize,
    pub(super) replayed: usize,
    pub(super) lost: usize,
    pub(super) repeated: usize,
    /// Out of order, or other than stored.
    pub(super) misplaced: usize,
}

impl Outcome {
    /// Whether everything was received once and in order.
    pub(super) fn is_perfect(&self) -> bool {
        self.lost == 0
            && self.repeated == 0
            && self.misplaced == 0
            && self.live + self.replayed == self.sent
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, live, replayed, lost, repeated, misplaced } = self;
        write!(f, "{sent} sent, {live} received live, {replayed} replayed, {lost} lost")?;
        if *repeated > 0 {
            write!(f, ", {repeated} repeated")?;
        }
        if *misplaced > 0 {
            write!(f, ", {misplaced} out of order")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(n: u32) -> Received {
        Received { id: format!("id-{n}"), content: Content::Progress(n) }
    }

    /// A call that counts to 3, of which `live` and `replayed` were received.
    fn outcome(live: &[u32], replayed: &[u32], with_result: bool) -> Outcome {
        let text = "counted to 3".to_owned();
        let result = Received { id: "id-result".into(), content: Content::Result(text) };
        let list = |numbers: &[u32]| numbers.iter().map(|n| progress(*n)).collect::<Vec<_>>();
        let mut tally = Tally::new(3);
        tally.live = list(live);
        tally.replayed = list(replayed);
        tally.stored = list(&[1, 2, 3]);
        tally.stored.push(result.clone());
        if with_result {
            tally.replayed.push(result);
        }
        tally.outcome()
    }

    #[test]
    fn everything_once_and_in_order_is_perfect() {
        let outcome = outcome(&[1], &[2, 3], true);
        assert!(outcome.is_perfect());
        assert_eq!(outcome.to_string(), "4 sent, 1 received live, 3 replayed, 0 lost");
    }

    #[test]
    fn a_lost_message_shows() {
        for imperfect in [outcome(&[1], &[3], true), outcome(&[1, 2], &[3], false)] {
            assert!(!imperfect.is_perfect());
            assert_eq!(imperfect.lost, 1);
        }
    }

    #[test]
    fn a_repeated_message_shows() {
        let outcome = outcome(&[1, 2], &[2, 3], true);
        assert!(!outcome.is_perfect());
        assert_eq!((outcome.repeated, outcome.lost), (1, 0));
    }

    #[test]
    fn a_wrong_order_shows() {
        let outcome = outcome(&[1], &[3, 2], true);
        assert!(!outcome.is_perfect());
        assert_eq!(outcome.misplaced, 1);
    }

    #[test]
    fn a_message_that_was_never_stored_counts_as_lost() {
        let mut tally = Tally::new(2);
        tally.live = vec![progress(1)];
        tally.stored = vec![progress(1)];
        let outcome = tally.outcome();
        assert_eq!((outcome.sent, outcome.lost), (3, 2));
    }
}
