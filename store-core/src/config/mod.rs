//! Configuration: one table of fields, read from a TOML file, from environment variables and from
//! the query of a store's URL, each overriding the one before.
//!
//! Every source, message, listing and document goes by that table of [`Field`]s. A backend
//! declares its own fields beside the common ones with [`BackendFields`]. Nothing here is global:
//! whoever loads a configuration passes the environment in.
//!
//! ```
//! use mcp_event_store_core::Config;
//!
//! let config = Config::builder()
//!     .toml("events.toml", "[retention]\nstream_ttl = \"2h\"")
//!     .environment([("MCP_EVENT_STORE_MAX_EVENT_BYTES", "1MiB")])
//!     .url("memory://?sweep_every=5s")
//!     .load()?;
//! assert_eq!(config.settings().limits.max_event_bytes, Some(1024 * 1024));
//! # Ok::<(), mcp_event_store_core::ConfigErrors>(())
//! ```

mod builder;
mod core_fields;
mod environment;
mod error;
mod field;
mod file;
mod fit;
mod query;
mod show;
mod suggest;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;

pub use builder::ConfigBuilder;
pub use error::{ConfigError, ConfigErrors, Origin, Position};
pub use field::{BackendFields, Field, Kind, Off, Value};

use crate::retention::Settings;
use core_fields::CORE_FIELDS;
use field::{FieldId, Registry};

/// A value and where it came from.
type Given = (Value, Origin);

/// A checked configuration: every field has a value, and every value an origin.
#[derive(Clone, Debug)]
pub struct Config {
    registry: Registry,
    given: BTreeMap<FieldId, Given>,
    effective: BTreeMap<FieldId, Given>,
    settings: Settings,
}

impl Config {
    /// Starts a configuration from its sources.
    #[must_use]
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// Starts again from what this configuration was given, for one more source: its defaults fit
    /// themselves to that one too.
    #[must_use]
    pub fn to_builder(&self) -> ConfigBuilder {
        ConfigBuilder::from_parts(self.registry.clone(), self.given.clone())
    }

    /// Everything that holds for any backend.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The value of `field`: for a backend that reads the fields it declares. A field that was
    /// never registered has its default.
    #[must_use]
    pub fn get(&self, field: &Field) -> Value {
        self.effective.get(&field.id()).map_or(field.default, |(value, _)| *value)
    }

    /// Every field with its value and origin, in the order of the table.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.registry.fields().filter_map(|field| {
            let (value, origin) = self.effective.get(&field.id())?;
            Some(Entry { field, value: *value, origin })
        })
    }

    /// The effective configuration as TOML, each value with its origin as a trailing comment.
    /// Read as a file it gives the same configuration.
    #[must_use]
    pub fn to_toml(&self) -> String {
        show::render(self)
    }

    /// Settles every field that was not given, once all sources are read.
    fn resolve(registry: Registry, given: BTreeMap<FieldId, Given>) -> Result<Self, ConfigErrors> {
        fit::refuse_contradictions(&given)?;
        let mut effective = given.clone();
        for field in registry.fields() {
            effective.entry(field.id()).or_insert_with(|| fit::fitted_default(field, &given));
        }
        let mut settings = Settings::default();
        for core in CORE_FIELDS {
            if let Some((value, _)) = effective.get(&(core.section, core.key)) {
                (core.set)(&mut settings, *value);
            }
        }
        Ok(Self { registry, given, effective, settings })
    }
}

/// The defaults, without any source.
impl Default for Config {
    fn default() -> Self {
        let registry = Registry::default();
        let effective =
            registry.fields().map(|field| (field.id(), (field.default, Origin::Default)));
        let effective = effective.collect();
        Self { registry, given: BTreeMap::new(), effective, settings: Settings::default() }
    }
}

/// One field of a [`Config`].
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The field's declaration.
    pub field: &'a Field,
    /// Its effective value.
    pub value: Value,
    /// Where the value came from.
    pub origin: &'a Origin,
}

impl Entry<'_> {
    /// The value as TOML writes it.
    #[must_use]
    pub fn value_as_toml(&self) -> String {
        self.value.to_toml(self.field.kind)
    }
}
