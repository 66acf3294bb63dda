//! The table: what can be tuned, and what each source calls it.

use std::fmt;
use std::time::Duration;

use super::core_fields::CORE_FIELDS;
use super::environment::PREFIX;
use crate::retention::Settings;

/// Section and key: what makes a field unique.
pub(super) type FieldId = (&'static str, &'static str);

/// The sections of the fields that every backend shares; `""` is the top of the file.
const CORE_SECTIONS: [&str; 3] = ["", "retention", "limits"];

/// One thing that an operator can tune.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The TOML table it stands in: a backend's own name, for a backend's field.
    pub section: &'static str,
    /// Its key in that table, and in the query of a URL.
    pub key: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Its value if no source gives one.
    pub default: Value,
    /// What `"off"` means for it.
    pub off: Off,
    /// One sentence for operators.
    pub doc: &'static str,
}

impl Field {
    pub(super) fn id(&self) -> FieldId {
        (self.section, self.key)
    }

    /// Its name with its section, as in `retention.stream_ttl`.
    #[must_use]
    pub fn path(&self) -> String {
        path((self.section, self.key))
    }

    /// The environment variable that sets it, as in `MCP_EVENT_STORE_STREAM_TTL`. The variable of a
    /// backend's field names the backend, as in `MCP_EVENT_STORE_SQLITE_BUSY_TIMEOUT`.
    #[must_use]
    pub fn variable(&self) -> String {
        let key = self.key.to_uppercase();
        if CORE_SECTIONS.contains(&self.section) {
            format!("{PREFIX}{key}")
        } else {
            format!("{PREFIX}{}_{key}", self.section.to_uppercase())
        }
    }
}

pub(super) fn path((section, key): FieldId) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// What values a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A time span in whole milliseconds, such as `"24h"`.
    Duration,
    /// A number of bytes, such as `"16MiB"` or `16_777_216`.
    Size,
    /// A number of things, such as `10_000`.
    Count,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any text, such as this one.
    Text(&'static str),
}

impl Kind {
    /// The kind of value, as messages and documents name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Duration => "duration",
            Self::Size => "size",
            Self::Count => "count",
            Self::Choice(_) => "word",
            Self::Text(_) => "text",
        }
    }
}

/// What `"off"` means for a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// It turns the limit off.
    Allowed,
    /// It is refused, with these words on why and what to do instead.
    Refused(&'static str),
}

/// A field's value; the field's [`Kind`] says how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// The limit is off.
    Off,
    /// A time span.
    Duration(Duration),
    /// A size in bytes, or a count.
    Integer(u64),
    /// One of a field's words.
    Choice(&'static str),
    /// A text.
    Text(&'static str),
}

impl Value {
    /// The time span; `None` if it is off.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        if let Self::Duration(duration) = self { Some(duration) } else { None }
    }

    /// The size or count; `None` if it is off.
    #[must_use]
    pub fn integer(self) -> Option<u64> {
        if let Self::Integer(integer) = self { Some(integer) } else { None }
    }

    /// The word.
    #[must_use]
    pub fn choice(self) -> Option<&'static str> {
        if let Self::Choice(word) = self { Some(word) } else { None }
    }

    /// The text; `None` if it is off.
    #[must_use]
    pub fn text(self) -> Option<&'static str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

impl From<Option<Duration>> for Value {
    fn from(duration: Option<Duration>) -> Self {
        duration.map_or(Self::Off, Self::Duration)
    }
}

impl From<Option<u64>> for Value {
    fn from(integer: Option<u64>) -> Self {
        integer.map_or(Self::Off, Self::Integer)
    }
}

/// The fields that a backend adds to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendFields {
    /// The backend's TOML section.
    pub section: &'static str,
    /// The schemes of its URLs, in whose query its fields may stand.
    pub schemes: &'static [&'static str],
    /// The fields, all of that section.
    pub fields: &'static [Field],
}

/// All fields that a configuration knows: the common ones, then each backend's.
#[derive(Clone)]
pub(super) struct Registry {
    core: Vec<Field>,
    backends: Vec<BackendFields>,
}

impl Default for Registry {
    fn default() -> Self {
        let defaults = Settings::default();
        let core = CORE_FIELDS.iter().map(|field| field.declare(&defaults)).collect();
        Self { core, backends: Vec::new() }
    }
}

impl Registry {
    /// Adds a backend's fields; a section that is there already is replaced.
    pub(super) fn register(&mut self, backend: BackendFields) {
        self.backends.retain(|known| known.section != backend.section);
        self.backends.push(backend);
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = &Field> {
        self.core.iter().chain(self.backends.iter().flat_map(|backend| backend.fields))
    }

    /// The fields that a URL of `scheme` may set.
    pub(super) fn fields_of_scheme(&self, scheme: &str) -> impl Iterator<Item = &Field> {
        let own = self.backends.iter().filter(move |backend| backend.schemes.contains(&scheme));
        self.core.iter().chain(own.flat_map(|backend| backend.fields))
    }

    /// The names of the TOML tables.
    pub(super) fn sections(&self) -> impl Iterator<Item = &'static str> {
        let core = CORE_SECTIONS.into_iter().filter(|section| !section.is_empty());
        core.chain(self.backends.iter().map(|backend| backend.section))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.sections()).finish()
    }
}
