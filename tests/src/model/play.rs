//! Plays a script: each step on the store and on the reference, and compares what both say.

use std::fmt::{Debug, Display};
use std::time::Duration;

use mcp_event_store_core::{Error, EventId, Lease, RawJson, Result, Settings, StoredEvent, Usage};

use super::next::Reader;
use super::read;
use super::reference::{Reference, Refusal};
use super::script::{Claim, PLACES, SESSIONS, Script, Step, hours, stream_at, ttl};
use super::stream::millis;
use super::upkeep;
use crate::context::Ctx;
use crate::failure::{Mismatch, Outcome, ensure, same};
use crate::instance::Instance;
use crate::need::Need;

/// How far the store's clock may be from where a script believes it, because steps take time.
pub(super) const DRIFT: Duration = Duration::from_secs(20 * 60);

pub(super) struct Play<'a> {
    pub(super) ctx: &'a Ctx,
    pub(super) open: Vec<Open>,
    pub(super) reference: Reference,
    pub(super) readers: Vec<Reader>,
    /// Places where a take-over waited for its stream; see `reader.rs`.
    pub(super) murky: [bool; PLACES],
    /// What the store's clock shows at the script's beginning, give or take what steps take.
    pub(super) epoch: Option<i64>,
    pub(super) appended: usize,
}

/// An open instance and its settings.
pub(super) struct Open {
    pub(super) store: Instance,
    pub(super) settings: Settings,
}

/// Plays `script` on the empty scope of `ctx`.
pub(super) async fn play(ctx: &Ctx, script: &Script) -> Outcome {
    let instances = if ctx.offers(Need::SecondInstance) { 2 } else { 1 };
    let settings = script.plan.settings();
    let mut open = Vec::new();
    for _ in 0..instances {
        let settings = settings.clone();
        open.push(Open { store: ctx.open_with(&settings).await?, settings });
    }
    let mut play = Play {
        ctx,
        open,
        reference: Reference::default(),
        readers: Vec::new(),
        murky: [false; PLACES],
        epoch: None,
        appended: 0,
    };
    for (n, step) in script.steps.iter().enumerate() {
        let placed = |m: Mismatch| m.within(format!("step {}, {step:?}", n + 1));
        play.step(step).await.map_err(placed)?;
        play.glimpse();
        let usage = play.open[0].store.usage().await?;
        same("the usage", &play.reference.usage(), &usage).map_err(placed)?;
    }
    play.look_at_everything().await.map_err(|m| m.within("at the end"))
}

/// Fails unless the store refuses what the reference refuses, and for the same reason.
#[track_caller]
pub(super) fn agree<T: Debug, U: Debug>(
    what: impl Display,
    expected: &std::result::Result<T, Refusal>,
    came: Result<U>,
) -> Outcome<Option<U>> {
    let fits = match (expected, &came) {
        (Ok(_), Ok(_)) => true,
        (Err(refusal), Err(error)) => Refusal::of(error) == Some(*refusal),
        _ => false,
    };
    if fits {
        return Ok(came.ok());
    }
    let expected = match expected {
        Ok(_) => "success".to_owned(),
        Err(refusal) => format!("{refusal:?}"),
    };
    Err(Mismatch::new(format!("{what}: {expected}"), format!("{came:?}")))
}

pub(super) fn owner(claim: Claim) -> String {
    format!("owner {}", claim.owner)
}

/// The lease of `claim`; one of zero hours has no time at all.
pub(super) fn lease(claim: Claim) -> Lease {
    let time = if claim.hours == 0 { Duration::ZERO } else { ttl(claim.hours) };
    Lease::new(owner(claim), time)
}

impl Play<'_> {
    /// The number of the instance that `on` stands for.
    pub(super) fn on(&self, on: u8) -> usize {
        usize::from(on) % self.open.len()
    }

    pub(super) fn settings(&self, on: usize) -> Settings {
        self.open[on].settings.clone()
    }

    pub(super) fn store(&self, on: usize) -> Instance {
        self.open[on].store.clone()
    }

    /// A millisecond, so that no two steps happen at the same time.
    pub(super) fn tick(&mut self) {
        self.pass(Duration::from_millis(1));
    }

    fn pass(&mut self, time: Duration) {
        self.ctx.clock.advance(time);
        self.reference.now += millis(time);
    }

    async fn step(&mut self, step: &Step) -> Outcome {
        self.tick();
        let place = |place: u8| usize::from(place) % PLACES;
        let session = |session: u8| usize::from(session) % SESSIONS.len();
        match *step {
            Step::Append { on, place: at, event } => {
                self.append(self.on(on), place(at), event).await
            }
            Step::Burst { on, ref places } => {
                let places: Vec<_> = places.iter().map(|at| place(*at)).collect();
                self.burst(self.on(on), places).await
            }
            Step::Renew { on, place: at, lease } => {
                upkeep::renew(self, self.on(on), place(at), lease).await
            }
            Step::Replay { on, id } => read::replay(self, self.on(on), id).await,
            Step::Read { on, place: at } => read::read(self, self.on(on), place(at)).await,
            Step::Follow { on, after, take_over } => {
                self.follow(self.on(on), after, take_over).await
            }
            Step::FollowFromStart { on, place: at, take_over } => {
                self.follow_from_start(self.on(on), place(at), take_over).await
            }
            Step::Poll { reader, events } => self.poll(reader.into(), events.into()).await,
            Step::Drop { reader } => {
                if !self.readers.is_empty() {
                    self.readers.remove(usize::from(reader) % self.readers.len());
                }
                Ok(())
            }
            Step::Wait { hours: time } => {
                self.pass(hours(time));
                Ok(())
            }
            Step::DeleteStream { on, place: at } => {
                upkeep::delete_stream(self, self.on(on), place(at)).await
            }
            Step::DeleteSession { on, session: of } => {
                upkeep::delete_session(self, self.on(on), session(of)).await
            }
            Step::StoreRecord { on, session: of, bytes } => {
                upkeep::store_record(self, self.on(on), session(of), bytes).await
            }
            Step::LoadRecord { on, session: of } => {
                upkeep::load_record(self, self.on(on), session(of)).await
            }
            Step::TouchRecord { on, session: of } => {
                upkeep::touch_record(self, self.on(on), session(of)).await
            }
            Step::Sweep { on } => upkeep::sweep(self, self.on(on)).await,
            Step::Reopen { on, close, plan } => {
                let settings = plan.map(|plan| plan.settings());
                upkeep::reopen(self, self.on(on), close, settings).await
            }
        }
    }

    /// Fails unless `came` are the events of `stream` from number `first` on.
    pub(super) fn same_events(
        &mut self,
        stream: usize,
        first: usize,
        came: &[StoredEvent],
    ) -> Outcome {
        let all = self.reference.streams[stream].events.len();
        let seqs: Vec<_> = came.iter().map(|event| event.seq).collect();
        let expected: Vec<_> = (first + 1..=all).map(|seq| seq as u64).collect();
        same("the sequences of the events", &expected, &seqs)?;
        for (number, event) in (first..).zip(came) {
            self.same_event(stream, number, event)?;
        }
        Ok(())
    }

    /// Fails unless `came` is event `number` of `stream`, whole, with the time it always had.
    pub(super) fn same_event(
        &mut self,
        stream: usize,
        number: usize,
        came: &StoredEvent,
    ) -> Outcome {
        let event = &mut self.reference.streams[stream].events[number];
        same("an event's ID", &event.id.as_ref(), &Some(&came.id))?;
        same("its sequence", &(number as u64 + 1), &came.seq)?;
        let message = came.message.as_ref().map(RawJson::get);
        same("its message", &event.message.as_deref(), &message)?;
        let retry = event.retry_ms.map(Duration::from_millis);
        same("its retry", &retry, &came.retry)?;
        same("whether it completes", &event.completes, &came.completes_stream)?;
        let stored_at = *event.stored_at.get_or_insert(came.stored_at);
        same("its time", &stored_at, &came.stored_at)?;
        let epoch = stored_at.0 - event.at;
        let drift = epoch.abs_diff(*self.epoch.get_or_insert(epoch));
        let on_time = u128::from(drift) < DRIFT.as_millis();
        ensure(on_time, "an event stored when it was", format!("{drift} ms off"))
    }

    /// Fails unless every stream and record can be read and every ID means what it should, on each
    /// instance.
    async fn look_at_everything(&mut self) -> Outcome {
        self.tick();
        for on in 0..self.open.len() {
            for place in 0..PLACES {
                read::read(self, on, place).await?;
            }
            for session in 0..SESSIONS.len() {
                upkeep::load_record(self, on, session).await?;
            }
        }
        for known in self.reference.known.clone() {
            read::replay_known(self, 0, known).await?;
        }
        while !self.readers.is_empty() {
            self.poll(0, usize::MAX).await?;
            if !self.readers.is_empty() {
                self.readers.remove(0);
            }
        }
        let usage: Usage = self.open[0].store.usage().await?;
        same("the usage", &self.reference.usage(), &usage)
    }
}

/// Whether `error` is what an expired replay gets: the stream, and the newest hidden event's ID.
pub(super) fn is_expired(error: &Error, place: usize, resume_after: &EventId) -> bool {
    matches!(error, Error::EventsExpired { stream, resume_after: after }
        if *stream == stream_at(place) && after == resume_after)
}
