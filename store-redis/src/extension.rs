//! The short way of an append: what becomes of an open stream, worked out before the server is
//! asked.
//!
//! A known stream is never trusted: `scripts/extend.lua` compares it with what is stored, and goes the
//! long way if anyone has changed it.

use mcp_event_store_core::backend::{PendingEvent, Stamp, StreamMeta};
use mcp_event_store_core::{Clock, Settings, Timestamp};

use crate::args::Args;
use crate::rows::{Row, double, guard_millis, millis, text_of};

/// Kept bytes from which on a stream stands in the sorted set of large ones: `LARGE` of the scripts.
pub(crate) const LARGE: u64 = 65_536;

/// What an append makes of a stream that is as it is known.
#[derive(Debug)]
pub(crate) struct Extension {
    before: Row,
    /// It in the end, but for what depends on the time of the append.
    after: Row,
    stamps: Vec<Stamp>,
    /// How long the stream's lease lasts from the append on, in milliseconds, if it is renewed.
    lease: Option<u64>,
    from: Timestamp,
    until: Timestamp,
}

impl Extension {
    /// `None` if more has to change than what each append changes: an index, the sums that wait to be
    /// booked, the lease's owner or the server's own expiry.
    pub(crate) fn of(
        before: Row,
        events: &[PendingEvent],
        settings: &Settings,
        clock: &Clock,
    ) -> Option<Self> {
        let meta = &before.meta;
        let mut after = before.clone();
        // Times are those of the commit, which nobody knows yet.
        let stamps = events.iter().map(|event| after.meta.push(event, meta.newest_at)).collect();
        let is_large = |meta: &StreamMeta| meta.kept_bytes() >= LARGE;
        let only_grows = meta.kept_events() > 0
            && before.waits()
            && after.waits()
            && is_large(meta) == is_large(&after.meta)
            && events.iter().all(|event| keeps_owner(meta, event));
        if !only_grows {
            return None;
        }
        let wanted = events.iter().rev().find_map(|event| event.lease.as_ref());
        let lease = wanted.filter(|_| !after.meta.complete).map(|lease| millis(lease.ttl));
        let expires = meta.expires_at(&settings.retention).unwrap_or(FOREVER);
        let until = expires.min(guarded_until(&before, &after, lease, settings, clock)?);
        let from = meta.newest_at.max(meta.active_at);
        Some(Self { before, after, stamps, lease, from, until })
    }

    /// Adds the arguments that stand before a known group's events.
    pub(crate) fn push_args(&self, args: &mut Args) {
        args.push(self.before.meta.key.0);
        args.write(|row| self.before.write(row));
        args.write(|row| self.after.write_changed(row));
        args.push(self.lease.map(text_of).unwrap_or_default());
    }

    /// Adds the arguments that stand before its event `at`.
    pub(crate) fn push_event_args(&self, at: usize, args: &mut Args) {
        let Stamp { seq, running_bytes, .. } = self.stamps[at];
        args.push(format!("{seq}-0"));
        args.push(double(running_bytes));
    }

    /// The stream after its append of `events` at `now`.
    pub(crate) fn into_row(self, events: &[PendingEvent], now: Timestamp) -> Row {
        let mut row = self.before;
        for event in events {
            row.meta.push(event, now);
        }
        row
    }
}

/// Longer than any store lasts.
const FOREVER: Timestamp = Timestamp(i64::MAX);

/// From when and until when all of `extensions` are right.
pub(crate) fn in_time<'a>(extensions: impl Iterator<Item = &'a Extension>) -> [Timestamp; 2] {
    extensions.fold([Timestamp(0), FOREVER], |[from, until], extension| {
        [from.max(extension.from), until.min(extension.until)]
    })
}

/// Whether the lease that `event` wants, if any, is its owner's already.
fn keeps_owner(meta: &StreamMeta, event: &PendingEvent) -> bool {
    let held = meta.lease.as_ref().map(|lease| &lease.owner);
    event.lease.as_ref().is_none_or(|lease| held == Some(&lease.owner))
}

/// Until when the stream's native expiry need not be renewed: `due_guard` of the scripts.
fn guarded_until(
    before: &Row,
    after: &Row,
    lease: Option<u64>,
    settings: &Settings,
    clock: &Clock,
) -> Option<Timestamp> {
    let Some(guard) = guard_millis(Some(settings)) else {
        return (before.guard == Timestamp(0)).then_some(FOREVER);
    };
    // By the clock that the store goes by, which the server's own lacks the offset of.
    let due = before.guard.0.saturating_add(clock.offset_millis());
    let due = due.saturating_add(i64::try_from(guard / 4).ok()?);
    let held = after.meta.lease.as_ref().filter(|_| lease.is_none());
    if held.is_some_and(|held| held.until.0 >= due) {
        return None;
    }
    Some(Timestamp(due.saturating_sub(i64::try_from(lease.unwrap_or(0)).ok()?)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mcp_event_store_core::backend::{HeldLease, StreamKey, Tag, event_bytes};
    use mcp_event_store_core::{Lease, Message, StreamId, StreamRef};

    use super::*;
    use crate::rows::time;

    const NOW: Timestamp = Timestamp(1_000_000);
    const DAY: i64 = 24 * 60 * 60 * 1000;

    /// A stream with an event that waits to be booked, and a guard of just now.
    fn row(lease: Option<&str>) -> Row {
        let stream = StreamRef::sessionless(StreamId::new("stream").unwrap());
        let mut meta = StreamMeta::new(stream, StreamKey([7; 16]), NOW);
        meta.push(&event(100, None), NOW);
        meta.lease = lease.map(|owner| HeldLease { owner: owner.into(), until: NOW });
        Row { meta, guard: NOW, booked_events: 0, booked_bytes: 0 }
    }

    fn event(bytes: usize, owner: Option<&str>) -> PendingEvent {
        PendingEvent {
            tag: Tag([1; 6]),
            message: Some(Message::from_value(&"x".repeat(bytes)).unwrap()),
            retry_ms: None,
            lease: owner.map(|owner| Lease::new(owner, Duration::from_secs(5))),
            completes_stream: false,
        }
    }

    fn settings() -> Settings {
        let mut settings = Settings::default();
        let retention = &mut settings.retention;
        retention.stream_ttl = Some(Duration::from_hours(2));
        retention.completed_stream_ttl = Some(Duration::from_hours(1));
        retention.session_ttl = Some(Duration::from_hours(1));
        retention.tombstone_ttl = Duration::from_hours(1);
        settings
    }

    fn extension(row: &Row, events: &[PendingEvent]) -> Option<Extension> {
        Extension::of(row.clone(), events, &settings(), &Clock::system())
    }

    fn bytes(row: &Row) -> Vec<u8> {
        let mut bytes = Vec::new();
        row.write(&mut bytes);
        bytes
    }

    fn args(push: impl FnOnce(&mut Args)) -> Vec<Vec<u8>> {
        let mut args = Args::default();
        push(&mut args);
        args.iter().map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn an_open_stream_grows() {
        let (row, events) = (row(Some("me")), [event(10, None), event(20, Some("me"))]);
        let extension = extension(&row, &events).unwrap();
        let [id, _] = &args(|args| extension.push_event_args(1, args))[..] else { panic!() };
        assert_eq!(id, b"3-0");
        let known = args(|args| extension.push_args(args));
        let [key, before, growth, ttl] = &known[..] else { panic!("{known:?}") };
        assert_eq!((&key[..], before, &ttl[..]), (&[7; 16][..], &bytes(&row), &b"5000"[..]));
        // What the script makes of it is what this instance will know.
        let after = extension.into_row(&events, Timestamp(NOW.0 + 7));
        assert_eq!((after.meta.last_seq, after.meta.newest_at.0), (3, NOW.0 + 7));
        assert_eq!(after.meta.lease.as_ref().unwrap().until.0, NOW.0 + 7 + 5000);
        let now = time(Timestamp(NOW.0 + 7));
        let lease = time(Timestamp(NOW.0 + 7 + 5000));
        let mut stored = [&now[..], &now, growth, &lease].concat();
        stored.extend(&before[stored.len()..]);
        assert_eq!(stored, bytes(&after));
    }

    #[test]
    fn an_open_stream_is_completed() {
        let events = [PendingEvent { completes_stream: true, ..event(10, Some("me")) }];
        let extension = extension(&row(Some("me")), &events).unwrap();
        let known = args(|args| extension.push_args(args));
        let [_, _, rest, ttl] = &known[..] else { panic!("{known:?}") };
        let after = extension.into_row(&events, Timestamp(NOW.0 + 7));
        let now = time(Timestamp(NOW.0 + 7));
        assert_eq!([&now[..], &now, rest].concat(), bytes(&after));
        assert!(after.meta.complete && after.meta.lease.is_none() && ttl.is_empty());
    }

    #[test]
    fn it_is_right_until_the_stream_expires_or_its_guard_is_due() {
        // The guard is renewed after a quarter of twice the longest lifetimes and a day.
        let due = (2 * (2 + 1) * 60 * 60 * 1000 + DAY) / 4;
        let events = [event(10, None)];
        let mut row = row(None);
        let until = |row: &Row, events: &[_]| extension(row, events).unwrap().until.0;
        assert_eq!(until(&row, &events), NOW.0 + 2 * 60 * 60 * 1000);
        row.guard = NOW.minus(Duration::from_hours(6));
        assert_eq!(until(&row, &events), row.guard.0 + due);
        row.meta.lease = Some(HeldLease { owner: "me".into(), until: NOW });
        assert_eq!(until(&row, &[event(10, Some("me"))]), row.guard.0 + due - 5000);
        row.meta.lease =
            Some(HeldLease { owner: "me".into(), until: NOW.plus(Duration::from_hours(2)) });
        assert!(extension(&row, &events).is_none());
        let renewed = [event(10, Some("me"))];
        assert_eq!(until(&row, &renewed), row.guard.0 + due - 5000);
    }

    #[test]
    fn all_must_be_in_time() {
        let (earlier, mut later) = (row(None), row(None));
        later.meta.active_at = NOW.plus(Duration::from_secs(1));
        let events = [event(10, None)];
        let both = [earlier, later].map(|row| extension(&row, &events).unwrap());
        let [from, until] = in_time(both.iter());
        assert_eq!((from, until), (both[1].from, both[0].until));
        assert_eq!(from, NOW.plus(Duration::from_secs(1)));
    }

    #[test]
    fn whatever_else_would_have_to_change_takes_the_long_way() {
        let known = row(Some("me"));
        let with = |change: &dyn Fn(&mut Row)| {
            let mut row = known.clone();
            change(&mut row);
            row
        };
        let small = || event(10, None);
        let refused = [
            // Its sums wait for nothing yet.
            (
                with(&|row| {
                    row.booked_events = 1;
                    row.booked_bytes = row.meta.kept_bytes() + row.meta.own_bytes();
                }),
                small(),
            ),
            // Its sums wait for nothing any more: as much came as was removed.
            (
                with(&|row| {
                    row.booked_events = 2;
                    let more = event_bytes(12);
                    row.booked_bytes = row.meta.kept_bytes() + row.meta.own_bytes() + more;
                }),
                small(),
            ),
            // Its age is another's.
            (with(&|row| row.meta.remove_all()), small()),
            // It becomes large.
            (known.clone(), event(usize::try_from(LARGE).unwrap(), None)),
            // Another wants the lease, which may have lapsed.
            (known.clone(), event(10, Some("you"))),
            (row(None), event(10, Some("me"))),
            (with(&|row| row.guard = NOW.minus(Duration::from_hours(8))), small()),
        ];
        assert!(extension(&known, &[small()]).is_some());
        for (at, (row, event)) in refused.into_iter().enumerate() {
            let extension = extension(&row, &[event]);
            let past = extension.as_ref().is_some_and(|extension| extension.until < NOW);
            assert!(extension.is_none() || past, "{at}: {extension:?}");
        }
    }
}
