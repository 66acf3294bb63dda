//! The follows of a script: what each must give next, and how it may end.
//!
//! A follow is only looked at when it is polled, and much may have happened since. So a follow
//! that is going to end, because its stream was taken over, deleted or trimmed, may first give any
//! of the events that it had not given, in order; it must not give others, and must end.

use std::task::Poll;
use std::time::Duration;

use mcp_event_store_core::{Error, Readers, ReplayMode, Result, StoredEvent, Verdict};

use super::next::{Fate, Next, Position, Reader};
use super::play::Play;
use super::read::{scope_of, with_scope};
use super::reference::Place;
use super::script::{Known, session_at, stream_at};
use crate::failure::{Mismatch, Outcome, ensure, same};
use crate::follower::Follower;

fn mode(take_over: bool) -> ReplayMode {
    let readers = if take_over { Readers::TakeOver } else { Readers::Join };
    // Longer than any test: the end must come from elsewhere.
    ReplayMode::Follow { at_most: Some(Duration::from_secs(86_400)), readers }
}

impl Play<'_> {
    /// Follows after an event that a script chose.
    pub(super) async fn follow(&mut self, on: usize, after: Known, take_over: bool) -> Outcome {
        if self.reference.known.is_empty() {
            return Ok(());
        }
        let event = self.reference.known[usize::from(after.event) % self.reference.known.len()];
        let place = self.reference.streams[event.0].place;
        let scope = scope_of(after, session_at(place));
        let (id, store) = (self.reference.id(event), self.store(on));
        let answer =
            with_scope(scope, async |s| store.try_follow(s, &id, mode(take_over)).await).await?;
        let retention = &self.open[on].settings.retention;
        match self.reference.find(event, scope, retention) {
            Place::Good => self.opened(on, place, Some((event.0, event.1 + 1)), take_over, answer),
            refused => {
                let (unknown, expired) = match &answer {
                    // Which of two reasons is told is open.
                    Err(Error::LimitReached { .. }) => (true, self.full(on, place) != Full::No),
                    Err(Error::UnknownEvent) => (refused == Place::Unknown, true),
                    Err(Error::EventsExpired { .. }) => (refused != Place::Unknown, true),
                    _ => (false, false),
                };
                let came = format!("{:?}", answer.map(|follower| follower.verdict));
                ensure(unknown && expired, format!("{refused:?}"), came)
            }
        }
    }

    /// Follows a stream from its oldest event, or waits for it.
    pub(super) async fn follow_from_start(
        &mut self,
        on: usize,
        place: usize,
        take_over: bool,
    ) -> Outcome {
        let store = self.store(on);
        let answer = store.try_follow_from_start(&stream_at(place), mode(take_over)).await?;
        let retention = &self.open[on].settings.retention;
        let at = self.reference.at(place, retention);
        let start =
            at.map(|s| (s, self.reference.streams[s].hidden(self.reference.now, retention)));
        self.opened(on, place, start, take_over, answer)
    }

    /// Notes a follow that should have been opened.
    fn opened(
        &mut self,
        on: usize,
        place: usize,
        start: Option<(usize, usize)>,
        take_over: bool,
        answer: Result<Follower>,
    ) -> Outcome {
        let full = self.full(on, place);
        let follower = match answer {
            Err(Error::LimitReached { .. }) if full != Full::No => return Ok(()),
            Ok(follower) if full != Full::Yes => follower,
            answer => {
                let came = format!("{:?}", answer.map(|follower| follower.verdict));
                return Err(Mismatch::new(
                    format!("a follow; is the session full: {full:?}"),
                    came,
                ));
            }
        };
        let stored = start.map_or(0, |(s, next)| self.reference.streams[s].events.len() - next);
        same("the verdict of a follow", &Verdict::of(stored as u64), &follower.verdict)?;
        if take_over {
            self.take_over(on, place, start.map(|(stream, _)| stream));
        }
        let position = match start {
            Some((stream, next)) => Position::At { stream, next },
            None => Position::Waiting { since: self.reference.since(place) },
        };
        let retention = self.settings(on).retention;
        let fate = Fate::Stays;
        let glimpse = None;
        self.readers.push(Reader { on, place, retention, position, fate, glimpse, follower });
        Ok(())
    }

    /// F7: what a take-over through `on` does to the readers of `stream`, or of an absent one.
    fn take_over(&mut self, on: usize, place: usize, stream: Option<usize>) {
        self.murky[place] |= stream.is_none();
        for reader in self.readers.iter_mut().filter(|reader| reader.place == place) {
            match reader.position {
                Position::At { stream: of, .. } if stream == Some(of) => {
                    reader.fate = Fate::TakenOver;
                }
                Position::Waiting { .. } if reader.on == on => reader.fate = Fate::TakenOver,
                Position::Waiting { .. } if reader.fate == Fate::Stays => reader.fate = Fate::Open,
                _ => {}
            }
        }
    }

    /// Whether the session of `place` has as many followers on this instance as it may. Followers
    /// that have ended, but were not polled since, may count or not.
    fn full(&self, on: usize, place: usize) -> Full {
        let max = self.open[on].settings.limits.max_followers_per_session;
        let (Some(session), Some(max)) = (session_at(place), max) else { return Full::No };
        let max = usize::try_from(max).expect("a few");
        let of = |r: &&Reader| r.on == on && session_at(r.place) == Some(session);
        let all = self.readers.iter().filter(of);
        let stay = all.clone().filter(|reader| !self.next_of(reader).may_end());
        match (stay.count() >= max, all.count() >= max) {
            (true, _) => Full::Yes,
            (false, true) => Full::Perhaps,
            (false, false) => Full::No,
        }
    }

    /// Takes up to `events` events of a follow, and compares each.
    pub(super) async fn poll(&mut self, reader: usize, events: usize) -> Outcome {
        if self.readers.is_empty() {
            return Ok(());
        }
        let at = reader % self.readers.len();
        for _ in 0..events {
            let next = self.next_of(&self.readers[at]);
            let follower = &mut self.readers[at].follower;
            let came =
                if next.must { Poll::Ready(follower.next().await?) } else { follower.ready() };
            let Poll::Ready(came) = came else {
                self.readers[at].glimpse.get_or_insert_default();
                self.glimpse();
                break;
            };
            self.readers[at].glimpse = None;
            if self.check(at, &next, came.as_ref())? {
                self.readers.remove(at);
                break;
            }
        }
        Ok(())
    }

    /// Fails unless `came` is what may come next of a reader; whether it was its end.
    fn check(
        &mut self,
        at: usize,
        next: &Next,
        came: Option<&Result<StoredEvent>>,
    ) -> Outcome<bool> {
        let fits = match came {
            None => next.end,
            Some(Err(Error::UnknownEvent)) => next.unknown,
            Some(Err(error)) => self.may_expire(at, next, error),
            Some(Ok(event)) => {
                if let Some((stream, number)) = self.event_of(next, event) {
                    self.same_event(stream, number, event)?;
                    self.readers[at].position = Position::At { stream, next: number + 1 };
                    return Ok(false);
                }
                false
            }
        };
        let Reader { on, place, position, fate, .. } = &self.readers[at];
        let who = format!(
            "a follow of {:?} on instance {on}, {position:?}, {fate:?}: {}",
            stream_at(*place),
            next.told()
        );
        ensure(fits, who, format!("{came:?}"))?;
        Ok(true)
    }

    /// Which event `came` is, if it may come next.
    fn event_of(&self, next: &Next, came: &StoredEvent) -> Option<(usize, usize)> {
        let (stream, number) = next.event?;
        let Some(last) = next.up_to else { return Some((stream, number)) };
        let events = &self.reference.streams[stream].events;
        let is_it = |n: &usize| events[*n].id.as_ref() == Some(&came.id);
        (0..events.len().min(last + 1)).find(is_it).map(|number| (stream, number))
    }

    fn may_expire(&self, at: usize, next: &Next, error: &Error) -> bool {
        let Some((stream, from, below)) = next.expired else { return false };
        let is_it = |number| {
            let id = self.reference.id((stream, number));
            super::play::is_expired(error, self.readers[at].place, &id)
        };
        (from..below).any(is_it)
    }

    /// F3: a closed instance ends its follows, all with `None`, unless they had to end otherwise.
    pub(super) async fn closed(&mut self, on: usize) -> Outcome {
        while let Some(at) = self.readers.iter().position(|reader| reader.on == on) {
            loop {
                let mut next = self.next_of(&self.readers[at]);
                next.end = true;
                let came = self.readers[at].follower.next().await?;
                if self.check(at, &next, came.as_ref())? {
                    break;
                }
            }
            self.readers.remove(at);
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    Yes,
    Perhaps,
    No,
}
