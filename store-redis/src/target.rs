//! What a URL asks for: servers, how they stand to each other, and who connects.

use std::fmt;

use mcp_event_store_core::{Error, Result};
use percent_encoding::percent_decode_str;

/// How the servers of a URL stand to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One server, or a proxy that looks like one.
    Single,
    /// Nodes of a cluster, of which any knows the others.
    Cluster,
    /// Sentinels that know the master of this name.
    Sentinel(String),
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A user and a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
}

/// Leaves the password out.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) mode: Mode,
    pub(crate) tls: bool,
    pub(crate) credentials: Credentials,
    pub(crate) hosts: Vec<Address>,
    pub(crate) database: i64,
}

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

fn refuse(reason: &str) -> Error {
    Error::invalid("redis URL", reason.to_owned())
}

impl Target {
    /// Takes a URL apart; its query is left out. Errors repeat nothing of it: it may hold a
    /// password.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| refuse("has no `://`"))?;
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let scheme = scheme.to_ascii_lowercase();
        let (protocol, kind) = scheme.split_once('+').unwrap_or((&scheme, ""));
        let tls = match protocol {
            "redis" => false,
            "rediss" => true,
            _ => return Err(refuse("must start with redis:// or rediss://")),
        };
        let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (mode, path, port) = match kind {
            "" => (Mode::Single, &path[..], REDIS_PORT),
            "cluster" => (Mode::Cluster, &path[..], REDIS_PORT),
            "sentinel" => {
                let reason = "names no master: write redis+sentinel://h1:26379,h2:26379/mymaster";
                let (name, path) = path.split_first().ok_or_else(|| refuse(reason))?;
                (Mode::Sentinel(decode(name)?), path, SENTINEL_PORT)
            }
            _ => return Err(refuse("has an unknown kind; use redis+cluster or redis+sentinel")),
        };
        let hosts: Vec<Address> =
            hosts.split(',').map(|host| address(host, port)).collect::<Result<_>>()?;
        if mode == Mode::Single && hosts.len() > 1 {
            let reason = "names several servers; use redis+cluster:// or redis+sentinel://";
            return Err(refuse(reason));
        }
        let database = database(path)?;
        if mode == Mode::Cluster && database != 0 {
            return Err(refuse("names a database, and a cluster has only database 0"));
        }
        Ok(Self { mode, tls, credentials: credentials(login)?, hosts, database })
    }
}

fn decode(text: &str) -> Result<String> {
    let text = percent_decode_str(text).decode_utf8();
    Ok(text.map_err(|_| refuse("has an escape that is not UTF-8"))?.into_owned())
}

fn credentials(login: &str) -> Result<Credentials> {
    if login.is_empty() {
        return Ok(Credentials::default());
    }
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(decode(password)?)),
        None => (login, None),
    };
    let user = (!user.is_empty()).then(|| decode(user)).transpose()?;
    if user.is_some() && password.is_none() {
        return Err(refuse("names a user without a password: write user:password@, or :password@"));
    }
    Ok(Credentials { user, password })
}

fn address(text: &str, port: u16) -> Result<Address> {
    let (host, given) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err(refuse("names no server, or has an empty place in its list of servers"));
    }
    let port = given.map_or(Ok(port), str::parse);
    let port = port.map_err(|_| {
        refuse("has a port that is none; a `/`, `@` or `:` in a password must be escaped")
    })?;
    Ok(Address { host: decode(host)?, port })
}

fn database(path: &[&str]) -> Result<i64> {
    match path {
        [] => Ok(0),
        [number] => number.parse::<u16>().map(i64::from).map_err(|_| {
            refuse("has a path that is no database number, such as redis://localhost/0")
        }),
        _ => Err(refuse("has a path of too many parts")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(url: &str) -> Vec<String> {
        Target::parse(url).unwrap().hosts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn urls_are_taken_apart() {
        let target = Target::parse("rediss://me:p%40ss@h/3?key_prefix=a").unwrap();
        assert!(target.tls && target.mode == Mode::Single && target.database == 3);
        assert_eq!(target.credentials.user.as_deref(), Some("me"));
        assert_eq!(target.credentials.password.as_deref(), Some("p@ss"));
        let sentinel = Target::parse("redis+sentinel://:pw@a,b:1/mine/2").unwrap();
        assert_eq!(sentinel.mode, Mode::Sentinel("mine".into()));
        assert_eq!(hosts("redis+sentinel://a,b:1/mine/2"), ["a:26379", "b:1"]);
        assert_eq!(hosts("redis+cluster://[::1]:7000,h"), ["[::1]:7000", "h:6379"]);
    }

    #[test]
    fn refusals_repeat_nothing() {
        for url in [
            "redis://secret:secret@a,b",
            "redis://:secret/@h",
            "redis://secret@h",
            "redis+sentinel://:secret@h",
            "redis+cluster://:secret@h/1",
            "redis+other://:secret@h",
            "http://:secret@h",
            "redis://:secret@",
            "redis://:secret@h:99999",
            "redis://:secret@h/one",
            "secret",
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        let shown = format!("{:?}", Target::parse("redis://me:secret@h").unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }
}
