//! Collects the sources of a configuration and reads them in rising order.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::core_fields::CORE_FIELDS;
use super::error::{ConfigError, ConfigErrors, Origin};
use super::field::{BackendFields, Field, FieldId, Registry, Value};
use super::file::File;
use super::value::check;
use super::{Config, Given, environment, file, query};
use crate::retention::Settings;

/// Sources of a [`Config`]. Whatever the order of the calls, the program's own settings override
/// the defaults, the file overrides those, the environment the file, and the URL the environment.
#[derive(Clone, Debug, Default)]
pub struct ConfigBuilder {
    registry: Registry,
    given: BTreeMap<FieldId, Given>,
    settings: Option<Settings>,
    file: Option<File>,
    environment: Vec<(OsString, OsString)>,
    query: query::Query,
}

impl ConfigBuilder {
    pub(super) fn from_parts(registry: Registry, given: BTreeMap<FieldId, Given>) -> Self {
        Self { registry, given, ..Self::default() }
    }

    /// Makes a backend's fields known.
    #[must_use]
    pub fn backend(mut self, backend: BackendFields) -> Self {
        self.registry.register(backend);
        self
    }

    /// Takes what the program itself sets; a value equal to the default counts as not set.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Takes a TOML file, which is read by [`load`](Self::load).
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(File::Path(path.into()));
        self
    }

    /// Takes the text of a TOML file, with the name that messages give it.
    #[must_use]
    pub fn toml(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.file = Some(File::Text { name: name.into(), text: text.into() });
        self
    }

    /// Takes environment variables; those without the prefix `MCP_EVENT_STORE_` are passed over.
    #[must_use]
    pub fn environment<N: Into<OsString>, V: Into<OsString>>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.environment = variables.filter(|(name, _)| environment::concerns(name)).collect();
        self
    }

    /// Takes the environment variables of this process.
    #[must_use]
    pub fn process_environment(self) -> Self {
        self.environment(std::env::vars_os())
    }

    /// Takes the query of a store's URL. Nothing else of the URL is kept.
    #[must_use]
    pub fn url(mut self, url: &str) -> Self {
        self.query = query::Query::of(url);
        self
    }

    /// Reads the sources.
    ///
    /// # Errors
    /// Everything that is wrong with any of them; contradictions only if nothing else is.
    pub fn load(self) -> Result<Config, ConfigErrors> {
        let mut findings = Findings { given: self.given, errors: Vec::new() };
        if let Some(settings) = &self.settings {
            take_settings(settings, &self.registry, &mut findings);
        }
        if let Some(file) = &self.file {
            file::read(file, &self.registry, &mut findings);
        }
        environment::read(&self.environment, &self.registry, &mut findings);
        query::read(&self.query, &self.registry, &mut findings);
        ConfigErrors::none_of(findings.errors)?;
        Config::resolve(self.registry, findings.given)
    }
}

/// What reading the sources has brought so far.
pub(super) struct Findings {
    given: BTreeMap<FieldId, Given>,
    pub(super) errors: Vec<ConfigError>,
}

impl Findings {
    /// Takes a value for `field`, or the reason why it has none.
    pub(super) fn take(&mut self, field: &Field, origin: Origin, value: Result<Value, String>) {
        match value {
            Ok(value) => {
                self.given.insert(field.id(), (value, origin));
            }
            Err(reason) => self.refuse(origin, field.path(), &reason),
        }
    }

    pub(super) fn refuse(
        &mut self,
        origin: Origin,
        key: impl Into<Option<String>>,
        reason: impl AsRef<str>,
    ) {
        self.errors.push(ConfigError::new(origin, key, reason.as_ref()));
    }
}

fn take_settings(settings: &Settings, registry: &Registry, findings: &mut Findings) {
    for (core, field) in CORE_FIELDS.iter().zip(registry.fields()) {
        let value = (core.get)(settings);
        if value != field.default {
            findings.take(field, Origin::Code, check(field, value));
        }
    }
}
