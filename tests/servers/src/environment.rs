//! What the environment says about servers.

use std::env;

use url::Url;

use crate::error::Error;

pub(crate) const POSTGRES_URL: &str = "MCP_EVENT_STORE_TEST_POSTGRES_URL";
pub(crate) const REDIS_URL: &str = "MCP_EVENT_STORE_TEST_REDIS_URL";
pub(crate) const POSTGRES_IMAGE: &str = "MCP_EVENT_STORE_TEST_POSTGRES_IMAGE";
pub(crate) const REDIS_IMAGE: &str = "MCP_EVENT_STORE_TEST_REDIS_IMAGE";
pub(crate) const PGBOUNCER_IMAGE: &str = "MCP_EVENT_STORE_TEST_PGBOUNCER_IMAGE";
const REDIS_SERVER: &str = "MCP_EVENT_STORE_TEST_REDIS_SERVER";
const RUN: &str = "MCP_EVENT_STORE_TEST_RUN";

/// Which program speaks the Redis protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// `redis-server`.
    Redis,
    /// `valkey-server`.
    Valkey,
}

impl Flavour {
    /// The flavour that `MCP_EVENT_STORE_TEST_REDIS_SERVER` asks for.
    ///
    /// # Errors
    /// A value that is neither `redis` nor `valkey`.
    pub fn wanted() -> Result<Option<Self>, Error> {
        match value(REDIS_SERVER)?.as_deref() {
            None => Ok(None),
            Some("redis") => Ok(Some(Self::Redis)),
            Some("valkey") => Ok(Some(Self::Valkey)),
            Some(other) => Err(Error::Variable {
                variable: REDIS_SERVER,
                problem: format!("`{other}` is no server; use redis or valkey"),
            }),
        }
    }

    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Valkey => "valkey-server",
        }
    }
}

/// An image for containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) tag: String,
    /// The variable that names it; without one it is the image that `tests/images.sh` builds.
    pub(crate) variable: Option<&'static str>,
}

impl Image {
    pub(crate) fn wanted(variable: &'static str) -> Result<Self, Error> {
        let Some(image) = value(variable)? else {
            return Ok(Self {
                name: "mcp-event-store-test".to_owned(),
                tag: "trixie".to_owned(),
                variable: None,
            });
        };
        // A colon before the last slash belongs to a registry's port.
        match image.rsplit_once(':') {
            Some((name, tag)) if !tag.is_empty() && !tag.contains('/') => {
                Ok(Self { name: name.to_owned(), tag: tag.to_owned(), variable: Some(variable) })
            }
            _ => Err(Error::Variable {
                variable,
                problem: format!("`{image}` names no version; use name:tag, such as postgres:17"),
            }),
        }
    }
}

impl std::fmt::Display for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

/// The user's own server, if the variable names one.
pub(crate) fn users_url(
    variable: &'static str,
    schemes: &[&str],
    port: u16,
) -> Result<Option<Url>, Error> {
    let Some(text) = value(variable)? else { return Ok(None) };
    let expected = format!("use {}://USER:PASSWORD@HOST:PORT", schemes.join(":// or "));
    // The value may hold a password, so it is not shown.
    let mut url = Url::parse(&text)
        .map_err(|error| Error::Variable { variable, problem: format!("{error}; {expected}") })?;
    if !schemes.contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) {
        return Err(Error::Variable { variable, problem: format!("not such a URL; {expected}") });
    }
    if url.port().is_none() {
        let set = url.set_port(Some(port));
        set.map_err(|()| Error::Variable { variable, problem: expected })?;
    }
    Ok(Some(url))
}

/// What marks the containers of one test run, so that they can be removed together.
pub(crate) fn run_label() -> String {
    env::var(RUN).unwrap_or_else(|_| format!("process-{}", std::process::id()))
}

fn value(variable: &'static str) -> Result<Option<String>, Error> {
    match env::var(variable) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => {
            Err(Error::Variable { variable, problem: "not UTF-8".to_owned() })
        }
    }
}
