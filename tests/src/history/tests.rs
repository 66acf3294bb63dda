//! The checker on histories made by hand: good ones pass, and each bad one is found out.

use super::check::{Figures, check};
use super::record::{Action, End, History, How, Reading, Record, Seen, Tick};

const CAP: u64 = 3;

/// Builds a history of one stream; every call takes two ticks.
struct Maker {
    history: History,
    now: Tick,
}

impl Maker {
    fn new(deletable: bool) -> Self {
        let history = History { deletable: vec![deletable], cap: CAP, records: Vec::new() };
        Self { history, now: 0 }
    }

    fn note(mut self, action: Action) -> Self {
        let (from, to) = (self.now, self.now + 1);
        self.now += 2;
        self.history.records.push(Record { stream: 0, from, to, action });
        self
    }

    /// Appends events called by their sequences, with the same for IDs.
    fn appends(self, seqs: std::ops::RangeInclusive<u64>) -> Self {
        seqs.fold(self, |maker, seq| maker.append(&seq.to_string(), &seq.to_string()))
    }

    fn append(self, text: &str, id: &str) -> Self {
        self.note(Action::Append { text: text.to_owned(), id: id.to_owned() })
    }

    fn delete(self) -> Self {
        self.note(Action::Delete)
    }

    fn read(self, how: How, after: Option<&str>, seen: &[Seen], end: End) -> Self {
        let now = self.now;
        self.note(Action::Read(Reading {
            after: after.map(str::to_owned),
            how,
            promised: seen.len() as u64,
            seen: seen.to_vec(),
            began: now + 1,
            end,
            ended: now + 1,
        }))
    }

    fn replay(self, after: Option<&str>, seqs: &[u64]) -> Self {
        self.read(How::Stored, after, &seen(seqs), End::Done)
    }

    fn last(&mut self) -> &mut Record {
        self.history.records.last_mut().unwrap()
    }

    fn checked(&self) -> Result<Figures, String> {
        check(&self.history)
    }

    #[track_caller]
    fn is_bad(&self, word: &str) {
        let wrong = self.checked().expect_err("a bad history");
        assert!(wrong.contains(word), "{wrong}");
    }
}

fn one(seq: u64, id: &str) -> Seen {
    Seen { id: id.to_owned(), seq, text: id.to_owned(), completes: false }
}

fn seen(seqs: &[u64]) -> Vec<Seen> {
    seqs.iter().map(|seq| one(*seq, &seq.to_string())).collect()
}

fn expired(resume_after: &str) -> End {
    End::Expired(resume_after.to_owned())
}

#[test]
fn a_good_history_passes() {
    let maker = Maker::new(false)
        .appends(1..=2)
        .replay(Some("1"), &[2])
        .replay(Some("2"), &[])
        .appends(3..=5)
        .replay(None, &[3, 4, 5])
        .read(How::Stored, Some("1"), &[], expired("2"))
        .replay(Some("2"), &[3, 4, 5])
        .read(How::Join, Some("4"), &seen(&[5]), End::Dropped);
    let figures = maker.checked().unwrap();
    assert_eq!((figures.appends, figures.replays, figures.follows), (5, 5, 1));
    assert_eq!((figures.events_seen, figures.expired), (8, 1));
}

#[test]
fn a_deleted_stream_begins_anew() {
    let maker = Maker::new(true)
        .append("a", "a")
        .replay(None, &[])
        .delete()
        .read(How::Stored, Some("a"), &[], End::Unknown)
        .append("b", "b")
        .read(How::Stored, None, &[one(1, "b")], End::Done);
    assert_eq!(maker.checked().unwrap().deletions, 1);
}

#[test]
fn holes_and_repeats_are_found() {
    let two = || Maker::new(false).appends(1..=3).replay(None, &[1, 2, 3]);
    two().replay(Some("1"), &[3]).is_bad("F1");
    two().replay(Some("1"), &[2, 2, 3]).is_bad("F1");
    two().replay(Some("1"), &[1, 2, 3]).is_bad("F1");
    two().replay(None, &[2, 1, 3]).is_bad("F1");
}

#[test]
fn two_orders_are_found() {
    let maker = Maker::new(false).appends(1..=3).replay(None, &[1, 2, 3]);
    let swapped = [one(1, "1"), one(2, "3"), one(3, "2")];
    maker.read(How::Stored, None, &swapped, End::Done).is_bad("A2");
    // Readers that have no event in common.
    let maker = Maker::new(false).appends(1..=2).replay(None, &[1]);
    maker.read(How::Stored, None, &[one(1, "2")], End::Done).is_bad("both have sequence 1");
    let maker = Maker::new(true).appends(1..=3).replay(Some("1"), &[2]);
    maker.read(How::Join, Some("1"), &[one(2, "3")], End::Dropped).is_bad("two readers");
}

#[test]
fn an_order_against_time_is_found() {
    let maker = Maker::new(false).append("late", "2").append("early", "1");
    let texts = [("early", "1", 1), ("late", "2", 2)];
    let seen = texts.map(|(text, id, seq)| Seen { text: text.to_owned(), ..one(seq, id) });
    maker.read(How::Stored, None, &seen, End::Done).is_bad("whose caller had it");
}

#[test]
fn appends_at_once_may_have_either_order() {
    let mut maker = Maker::new(false).append("2", "2").append("1", "1");
    maker.history.records[0].to = 3;
    maker.replay(None, &[1, 2]).checked().unwrap();
}

#[test]
fn ids_that_mean_two_things_are_found() {
    Maker::new(false).append("a", "1").append("b", "1").is_bad("A3");
    let other = Seen { text: "b".to_owned(), ..one(1, "1") };
    let maker = Maker::new(false).appends(1..=1);
    maker.read(How::Stored, None, &[other], End::Done).is_bad("A3");
}

#[test]
fn events_of_nobody_and_lost_ones_are_found() {
    Maker::new(false).appends(1..=1).replay(None, &[1, 2]).is_bad("nobody was given");
    Maker::new(false).appends(1..=3).replay(None, &[1, 2]).is_bad("A1");
    let early = Maker::new(false).appends(1..=2).replay(Some("1"), &[]);
    early.replay(None, &[1, 2]).is_bad("P1");
    Maker::new(false).appends(1..=5).replay(None, &[4, 5]).is_bad("T3");
    Maker::new(false).appends(1..=5).replay(None, &[2, 3, 4, 5]).is_bad("T3");
}

#[test]
fn a_wrong_verdict_is_found() {
    let mut maker = Maker::new(false).appends(1..=2).replay(None, &[1, 2]);
    let Action::Read(reading) = &mut maker.last().action else { unreachable!() };
    reading.promised = 1;
    maker.is_bad("P4");
}

#[test]
fn errors_without_a_reason_are_found() {
    let first = || Maker::new(false).appends(1..=1).replay(None, &[1]);
    let three = || first().appends(2..=4).replay(None, &[2, 3, 4]);
    three().read(How::Stored, Some("1"), &[], expired("1")).is_bad("P5");
    three().read(How::Stored, Some("2"), &[], End::Unknown).is_bad("never deleted");
    let five = || first().appends(2..=5).replay(None, &[3, 4, 5]);
    five().read(How::Stored, Some("1"), &[], expired("3")).is_bad("cannot be trimmed");
    five().read(How::Stored, Some("1"), &[], expired("1")).is_bad("it may go on after 1");
    five().read(How::Stored, Some("1"), &[], expired("7")).is_bad("nobody was given");
}

#[test]
fn what_was_deleted_stays_deleted() {
    let maker = || Maker::new(true).append("a", "a").append("b", "b").delete();
    let after = maker().read(How::Stored, Some("a"), &[one(2, "b")], End::Done);
    after.is_bad("D1");
    maker().read(How::Stored, None, &[one(1, "a"), one(2, "b")], End::Done).is_bad("D1");
}

#[test]
fn a_follow_ends_for_a_reason() {
    let maker = || Maker::new(false).appends(1..=2).replay(None, &[1, 2]);
    maker().read(How::Join, Some("1"), &seen(&[2]), End::Done).is_bad("F7");
    let mut last = seen(&[2]);
    last[0].completes = true;
    maker().read(How::Join, Some("1"), &last, End::Done).checked().unwrap();
    // Taken over while it followed.
    let mut taken = maker().read(How::Join, Some("1"), &seen(&[2]), End::Done);
    let Action::Read(reading) = &mut taken.last().action else { unreachable!() };
    reading.ended = 100;
    let figures = taken.read(How::TakeOver, Some("2"), &[], End::Dropped).checked().unwrap();
    assert_eq!(figures.taken_over, 1);
    // Taken over before it began.
    let before = maker().read(How::TakeOver, Some("2"), &[], End::Dropped);
    before.read(How::Join, Some("1"), &seen(&[2]), End::Done).is_bad("F7");
}
