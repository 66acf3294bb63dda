//! What may come next of a follow.

use mcp_event_store_core::Retention;

use super::stream::{Moment, Stream};

/// What may come next of a reader.
#[allow(clippy::struct_excessive_bools)] // Each says what is allowed.
pub(super) struct Next {
    pub(super) event: Option<(usize, usize)>,
    /// A reader that waited may start at any event up to this one.
    pub(super) or_before: bool,
    pub(super) end: bool,
    pub(super) unknown: bool,
    /// `EventsExpired` after an event from the first up to below the second.
    pub(super) expired: Option<(usize, usize)>,
    /// Whether any of it has to come.
    pub(super) must: bool,
}

impl Next {
    /// Adds what comes of a reader that stands before event `next` of `stream`.
    pub(super) fn of_stream(
        &mut self,
        stream: usize,
        next: usize,
        s: &Stream,
        now: Moment,
        r: &Retention,
    ) {
        let is_over = next == s.events.len() && s.complete;
        self.event = (next < s.events.len()).then_some((stream, next));
        self.end |= is_over;
        self.unknown |= s.is_forgotten(now, r);
        let hidden = if s.gone { 0 } else { s.hidden(now, r) };
        self.expired = (next < hidden).then_some((next, hidden));
        self.must |= self.event.is_some() || is_over;
    }

    pub(super) fn may_end(&self) -> bool {
        self.end || self.unknown || self.expired.is_some()
    }

    pub(super) fn told(&self) -> String {
        let Self { event, or_before, end, unknown, expired, .. } = self;
        format!(
            "event {event:?} (or before it: {or_before}), its end: {end}, \
             UnknownEvent: {unknown}, EventsExpired within {expired:?}"
        )
    }
}
