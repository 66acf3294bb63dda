//! The fields that every backend shares, each tied to its place in [`Settings`], whose defaults
//! are theirs.

use super::field::{Field, Kind, Off, Value};
use crate::retention::{Durability, Settings};

const COMMITTED: &str = "committed";
const RELAXED: &str = "relaxed";

/// A common field and its place in [`Settings`].
pub(super) struct CoreField {
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    kind: Kind,
    off: Off,
    doc: &'static str,
    pub(super) get: fn(&Settings) -> Value,
    pub(super) set: fn(&mut Settings, Value),
}

impl CoreField {
    pub(super) fn declare(&self, defaults: &Settings) -> Field {
        Field {
            section: self.section,
            key: self.key,
            kind: self.kind,
            default: (self.get)(defaults),
            off: self.off,
            doc: self.doc,
        }
    }
}

/// A field that `"off"` turns off: an `Option` in [`Settings`], under the same name.
macro_rules! limit {
    ($section:ident . $key:ident, $kind:ident as $accessor:ident, $doc:literal) => {
        CoreField {
            section: stringify!($section),
            key: stringify!($key),
            kind: Kind::$kind,
            off: Off::Allowed,
            doc: $doc,
            get: |settings| settings.$section.$key.into(),
            set: |settings, value| settings.$section.$key = value.$accessor(),
        }
    };
}

/// In the order in which they are shown and documented.
pub(super) static CORE_FIELDS: &[CoreField] = &[
    CoreField {
        section: "",
        key: "durability",
        kind: Kind::Choice(&[COMMITTED, RELAXED]),
        off: Off::Refused(
            "it has no off; use \"relaxed\" if losing the last moments is acceptable",
        ),
        doc: "What an acknowledged event survives: a loss of power (`committed`), or only a crash \
              of the process (`relaxed`).",
        get: |settings| {
            Value::Choice(match settings.durability {
                Durability::Committed => COMMITTED,
                Durability::Relaxed => RELAXED,
            })
        },
        set: |settings, value| {
            settings.durability = match value.choice() {
                Some(RELAXED) => Durability::Relaxed,
                _ => Durability::Committed,
            };
        },
    },
    limit!(
        retention.stream_ttl,
        Duration as duration,
        "An incomplete stream expires this long after its last append or renewal, unless an owner \
         holds a lease on it."
    ),
    limit!(
        retention.completed_stream_ttl,
        Duration as duration,
        "A complete stream expires this long after its completion."
    ),
    limit!(
        retention.event_ttl,
        Duration as duration,
        "An event expires this long after it was stored."
    ),
    limit!(
        retention.max_events_per_stream,
        Count as integer,
        "Only the newest events of a stream are kept, this many."
    ),
    limit!(
        retention.max_bytes_per_stream,
        Size as integer,
        "Only the newest events of a stream are kept, this many bytes of them."
    ),
    limit!(
        retention.max_bytes_per_session,
        Size as integer,
        "A sweep removes from a session what exceeds this, least recently used streams first."
    ),
    limit!(
        retention.max_total_bytes,
        Size as integer,
        "A sweep removes from the whole store what exceeds this, least recently used streams first."
    ),
    CoreField {
        section: "retention",
        key: "tombstone_ttl",
        kind: Kind::Duration,
        off: Off::Refused(
            "without it an expired event could not be told from one that never existed; give it a \
             short time such as \"1m\"",
        ),
        doc: "An expired stream or a deleted session is remembered this long, so that clients hear \
              what happened to it.",
        get: |settings| Value::Duration(settings.retention.tombstone_ttl),
        set: |settings, value| {
            if let Some(ttl) = value.duration() {
                settings.retention.tombstone_ttl = ttl;
            }
        },
    },
    limit!(
        retention.session_ttl,
        Duration as duration,
        "A session's record expires this long after it was last used."
    ),
    limit!(
        retention.sweep_every,
        Duration as duration,
        "The time between two sweeps in the background; off leaves sweeping to the operator."
    ),
    limit!(
        limits.max_event_bytes,
        Size as integer,
        "A larger message, or session record, is refused."
    ),
    limit!(
        limits.max_streams_per_session,
        Count as integer,
        "One more incomplete stream in a session is refused."
    ),
    limit!(
        limits.max_followers_per_session,
        Count as integer,
        "One more open follow of a session's streams is refused, on each instance."
    ),
];
