//! What is wrong with a configuration, and where.

use std::fmt;

use crate::error::Error;

/// Where a value came from, or was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// The default contradicted a given value and moved to fit it.
    Fitted {
        /// The key of the given value.
        to: &'static str,
    },
    /// The program that loads the configuration.
    Code,
    /// A TOML file.
    File {
        /// Its name.
        name: String,
        /// The place in it; `None` for the file as a whole.
        position: Option<Position>,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// The query of the store's URL, which is shown nowhere.
    UrlQuery,
}

/// A place in a file, counted from 1 in lines and characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl Position {
    /// The place of the byte at `offset` in `text`.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).map_or(0, |line| line.chars().count()) + 1,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Fitted { to } => write!(f, "default, fitted to {to}"),
            Self::Code => f.write_str("code"),
            Self::File { name, position: None } => write!(f, "{}", one_line(name)),
            Self::File { name, position: Some(Position { line, column }) } => {
                write!(f, "{}:{line}:{column}", one_line(name))
            }
            Self::Environment { variable } => {
                write!(f, "environment variable {}", one_line(variable))
            }
            Self::UrlQuery => f.write_str("URL query"),
        }
    }
}

/// Text from outside, such that it can neither break a line nor steer a terminal.
pub(super) fn one_line(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_debug().collect() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// One thing that is wrong with a configuration.
///
/// Shown as `origin: key: reason`, on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where.
    pub origin: Origin,
    /// The key, with its section where there is one; `None` if it concerns no single key.
    pub key: Option<String>,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl ConfigError {
    pub(super) fn new(origin: Origin, key: impl Into<Option<String>>, reason: &str) -> Self {
        let key = key.into().map(|key| one_line(&key));
        Self { origin, key, reason: one_line(reason) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for ConfigError {}

/// Everything that is wrong with a configuration: one error or more.
///
/// Shown on one line; [`iter`](Self::iter) gives each by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// `Ok` if there are none.
    pub(super) fn none_of(errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// Each error, in the order of the sources and of the lines of a file.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// [`Error::InvalidInput`]: names the first key, and says all reasons.
impl From<ConfigErrors> for Error {
    fn from(errors: ConfigErrors) -> Self {
        let field = errors.iter().find_map(|error| error.key.clone());
        let reason = match errors.0.as_slice() {
            [only] => format!("{} ({})", only.reason, only.origin),
            _ => errors.to_string(),
        };
        Self::invalid(field.unwrap_or_else(|| "configuration".to_owned()), reason)
    }
}
