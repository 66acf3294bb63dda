//! Which backend a URL asks for, and what to say if it is not here.

use mcp_event_store_core::{BackendFields, Error, Result};

/// The fields that the backends compiled in add to the configuration.
pub const BACKENDS: &[BackendFields] = &[
    #[cfg(feature = "sqlite")]
    mcp_event_store_sqlite::FIELDS,
];

/// A backend that is compiled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Memory,
    #[cfg(feature = "sqlite")]
    Sqlite,
}

/// What can stand before `:` in a URL, what it means here, and the feature it needs.
const SCHEMES: &[(&str, Option<Scheme>, &str)] = &[
    ("memory", Some(Scheme::Memory), ""),
    #[cfg(feature = "sqlite")]
    ("sqlite", Some(Scheme::Sqlite), "sqlite"),
    #[cfg(not(feature = "sqlite"))]
    ("sqlite", None, "sqlite"),
];

impl Scheme {
    /// The backend that `url` asks for. Errors name nothing of `url` but its scheme, since the
    /// rest may hold a password.
    pub(crate) fn of(url: &str) -> Result<Self> {
        let Some((scheme, _)) = url.split_once(':') else {
            let reason = format!("has no scheme; write one of {}", known());
            return Err(Error::invalid("store URL", reason));
        };
        let scheme = scheme.to_ascii_lowercase();
        match SCHEMES.iter().find(|(known, ..)| *known == scheme) {
            Some((_, Some(backend), _)) => Ok(*backend),
            Some((_, None, feature)) => {
                let reason = format!(
                    "needs a backend that is not compiled in: enable the feature `{feature}` of \
                     mcp-event-store"
                );
                Err(Error::invalid("store URL", reason))
            }
            None => Err(Error::invalid("store URL", unknown(&scheme))),
        }
    }
}

fn unknown(scheme: &str) -> String {
    let is_scheme = scheme.len() <= 20
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let shown = if is_scheme { format!(" `{scheme}`") } else { String::new() };
    format!("has the unknown scheme{shown}; write one of {}", known())
}

fn known() -> String {
    let schemes: Vec<_> = SCHEMES.iter().map(|(scheme, ..)| format!("{scheme}://…")).collect();
    schemes.join(", ")
}
