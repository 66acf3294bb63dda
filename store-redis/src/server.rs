//! What a server must be before a store trusts it: checked on every new connection, since after a
//! failover another server answers.

use std::collections::HashMap;

use mcp_event_store_core::{Durability, Error, Result};
use redis::Value;

use crate::config::{AppendFsync, RedisOptions};
use crate::connect::Link;
use crate::error::refused;
use crate::target::Address;

/// The oldest server whose scripts may declare flags.
const OLDEST: u32 = 7;

/// What a store asks of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demands {
    durability: Durability,
    assumed: Option<AppendFsync>,
}

impl Demands {
    pub(crate) fn new(durability: Durability, options: &RedisOptions) -> Self {
        Self { durability, assumed: options.assume_appendfsync }
    }

    /// Checks the server at the other end of `link`.
    pub(crate) async fn check(self, link: &Link, address: &Address) -> Result<()> {
        let info = info(link).await?;
        check_version(&info)?;
        if field(&info, "role") == Some("slave") {
            let message = format!("{address} is a replica: give the URL of the master");
            return Err(Error::Unavailable { message: message.into(), cause: None });
        }
        if self.durability == Durability::Committed {
            self.check_durable(link, address).await?;
        }
        Ok(())
    }

    async fn check_durable(self, link: &Link, address: &Address) -> Result<()> {
        let (appendonly, appendfsync) = match self.assumed {
            Some(AppendFsync::Always) => return Ok(()),
            Some(AppendFsync::EverySec) => ("yes".to_owned(), "everysec".to_owned()),
            Some(AppendFsync::No) => ("yes".to_owned(), "no".to_owned()),
            None => persistence(link, address).await?,
        };
        if appendonly == "yes" && appendfsync == "always" {
            return Ok(());
        }
        let reason = format!(
            "is committed, but {address} has appendonly {appendonly} and appendfsync \
             {appendfsync}: set appendonly yes and appendfsync always there, or durability = \
             \"relaxed\" here"
        );
        Err(Error::invalid("durability", reason))
    }
}

/// `appendonly` and `appendfsync` as the server has them.
async fn persistence(link: &Link, address: &Address) -> Result<(String, String)> {
    let mut connection = link.connection.clone();
    let ask = redis::cmd("CONFIG").arg("GET").arg("append*").to_owned();
    let settings: HashMap<String, String> = match ask.query_async(&mut connection).await {
        Ok(settings) => settings,
        // NOPERM, or ERR where the command is taken away.
        Err(error) if error.code().is_some() => {
            let reason = format!(
                "is not given, and {address} does not say what it has (CONFIG is forbidden): set \
                 assume_appendfsync = \"always\" if the service promises it, or durability = \
                 \"relaxed\""
            );
            return Err(Error::invalid("redis.assume_appendfsync", reason));
        }
        Err(error) => return Err(refused(error)),
    };
    let value = |name: &str| settings.get(name).cloned().unwrap_or_default();
    Ok((value("appendonly"), value("appendfsync")))
}

async fn info(link: &Link) -> Result<String> {
    let mut connection = link.connection.clone();
    let ask = redis::cmd("INFO");
    match ask.query_async(&mut connection).await.map_err(refused)? {
        Value::BulkString(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
        Value::VerbatimString { text, .. } => Ok(text),
        other => Ok(redis::from_redis_value(other).map_err(|e| refused(e.into()))?),
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn check_version(info: &str) -> Result<()> {
    let version = field(info, "redis_version").unwrap_or("unknown");
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= OLDEST) {
        return Ok(());
    }
    let message =
        format!("the Redis server has version {version}: use Redis 7 or newer, or Valkey");
    Err(Error::Backend { message: message.into(), cause: None })
}

/// Says in the log if the server may throw streams away when its memory is full.
pub(crate) async fn warn_of_eviction(link: &Link, address: &Address) -> Result<()> {
    let info = info(link).await?;
    let policy = field(&info, "maxmemory_policy").unwrap_or("noeviction");
    if policy != "noeviction" {
        tracing::warn!(
            %address, policy,
            "Redis may evict streams when its memory is full; set maxmemory-policy noeviction"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_refused() {
        assert!(check_version("# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone").is_ok());
        assert!(check_version("redis_version:8.0.1").is_ok());
        for old in ["redis_version:6.2.14\r\n", "redis_version:x", ""] {
            assert!(check_version(old).unwrap_err().to_string().contains("Redis 7"));
        }
    }
}
