//! Redis by itself: `XADD` through the store's driver, with the store's bytes.

use anyhow::Context as _;
use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::streams::StreamRangeReply;

use super::{Connection, Engine, Raw, STREAMS, Scan, Turns, stream_row, unique, with_query};
use crate::messages::Messages;

/// The store's first field of an event: time and running bytes.
const STAMP: [u8; 16] = [7; 16];

/// What stands before the message in its second: tag, flags, `retry`.
const HEAD: [u8; 15] = [7; 15];

/// Events of one `XRANGE`.
const PAGE: usize = 1000;

pub(super) struct Redis {
    url: String,
    client: redis::Client,
    /// What this run's keys begin with.
    prefix: String,
    description: String,
    turns: Turns,
    /// The server's memory before the run.
    used_before: u64,
}

impl Redis {
    pub(super) async fn open(url: &str) -> anyhow::Result<Self> {
        let address = url.split('?').next().unwrap_or(url);
        // The error must not repeat the URL.
        let client = redis::Client::open(address).map_err(|_| {
            mcp_event_store::Error::invalid("--store", "is a Redis URL that cannot be read")
        })?;
        let prefix = unique()?;
        let mut engine = Self {
            url: url.to_owned(),
            client,
            prefix,
            description: String::new(),
            turns: Turns::shared(),
            used_before: 0,
        };
        // The store says best what is wrong with a server.
        let probe = mcp_event_store::open(&engine.store_url("probe")).await?;
        probe.maintenance().close().await?;
        let info = engine.info().await?;
        let name = if info.contains("valkey_version") { "valkey" } else { "redis" };
        let version = value(&info, &format!("{name}_version")).unwrap_or("of unknown version");
        let aof = if value(&info, "aof_enabled") == Some("1") { "on" } else { "off" };
        engine.description = format!("{name} {version} through redis-rs, append-only file {aof}");
        let mut connection = engine.connect().await?;
        let fsync: Result<Vec<String>, _> =
            redis::cmd("CONFIG").arg("GET").arg("appendfsync").query_async(&mut connection).await;
        if let Ok([_, fsync]) = fsync.as_deref() {
            engine.description = format!("{}, appendfsync {fsync}", engine.description);
        }
        engine.clean().await?;
        engine.used_before = engine.used().await?;
        Ok(engine)
    }

    async fn connect(&self) -> anyhow::Result<MultiplexedConnection> {
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await;
        connection.context("cannot connect to Redis")
    }

    async fn info(&self) -> anyhow::Result<String> {
        Ok(redis::cmd("INFO").query_async(&mut self.connect().await?).await?)
    }

    async fn used(&self) -> anyhow::Result<u64> {
        let info = self.info().await?;
        value(&info, "used_memory")
            .context("Redis does not tell its memory")?
            .parse()
            .map_err(Into::into)
    }

    async fn adds(
        &self,
        messages: Messages,
        turns: Turns,
        keeps_streams: bool,
    ) -> anyhow::Result<Box<dyn Connection>> {
        let connection = self.connect().await?;
        let prefix = format!("{}:raw:", self.prefix);
        Ok(Box::new(Adds { connection, prefix, turns, keeps_streams, messages }))
    }

    fn raw_key(&self, name: u64) -> String {
        format!("{}:raw:{name}", self.prefix)
    }
}

/// The value of `name:value` in what `INFO` said.
fn value<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))
}

#[async_trait]
impl Engine for Redis {
    fn description(&self) -> &str {
        &self.description
    }

    fn store_url(&self, name: &str) -> String {
        with_query(&self.url, "key_prefix", &format!("{}:{name}:", self.prefix))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn raw(&self) -> Option<&dyn Raw> {
        Some(self)
    }

    async fn stored_bytes(&self) -> anyhow::Result<u64> {
        Ok(self.used().await?.saturating_sub(self.used_before))
    }

    async fn clean(&self) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        let pattern = format!("{}:*", self.prefix);
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(10_000);
            let (next, keys): (u64, Vec<Vec<u8>>) = scan.query_async(&mut connection).await?;
            if !keys.is_empty() {
                let _: u64 = redis::cmd("DEL").arg(keys).query_async(&mut connection).await?;
            }
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }
}

#[async_trait]
impl Raw for Redis {
    fn connections(&self) -> &'static [usize] {
        &[1, 2, 4]
    }

    fn naive_connections(&self) -> &'static [usize] {
        &[1, 64]
    }

    async fn connection(&self, messages: Messages) -> anyhow::Result<Box<dyn Connection>> {
        self.adds(messages, self.turns.clone(), false).await
    }

    async fn keeper(
        &self,
        messages: Messages,
        streams: u64,
    ) -> anyhow::Result<Box<dyn Connection>> {
        self.adds(messages, Turns::of_its_own(streams), true).await
    }

    async fn stream(&self, events: u64, mut messages: Messages) -> anyhow::Result<Box<dyn Scan>> {
        let mut connection = self.connect().await?;
        // Beside those that lanes add to.
        let key = self.raw_key(STREAMS + events);
        let mut left = events;
        while left > 0 {
            let mut pipe = redis::pipe();
            for _ in 0..left.min(512) {
                add(&mut pipe, &key, &mut messages);
                left -= 1;
            }
            pipe.exec_async(&mut connection).await?;
        }
        Ok(Box::new(Stream { connection, key }))
    }
}

struct Adds {
    connection: MultiplexedConnection,
    /// What its keys begin with.
    prefix: String,
    turns: Turns,
    keeps_streams: bool,
    messages: Messages,
}

#[async_trait]
impl Connection for Adds {
    async fn commit(&mut self, rows: usize) -> anyhow::Result<()> {
        let mut pipe = redis::pipe();
        for _ in 0..rows {
            let (stream, seq) = self.turns.next();
            let key = format!("{}{stream}", self.prefix);
            add(&mut pipe, &key, &mut self.messages);
            if self.keeps_streams {
                pipe.cmd("SET").arg(key + ":row").arg(stream_row(seq)).ignore();
            }
        }
        pipe.exec_async(&mut self.connection).await?;
        Ok(())
    }
}

fn add(pipe: &mut redis::Pipeline, key: &str, messages: &mut Messages) {
    let value = [&HEAD[..], messages.next().get().as_bytes()].concat();
    pipe.cmd("XADD").arg(key).arg("*").arg("s").arg(&STAMP[..]).arg("e").arg(value).ignore();
}

struct Stream {
    connection: MultiplexedConnection,
    key: String,
}

#[async_trait]
impl Scan for Stream {
    async fn scan(&mut self) -> anyhow::Result<(u64, u64)> {
        let (mut events, mut bytes) = (0, 0);
        let mut from = "-".to_owned();
        loop {
            let mut range = redis::cmd("XRANGE");
            range.arg(&self.key).arg(&from).arg("+").arg("COUNT").arg(PAGE);
            let page: StreamRangeReply = range.query_async(&mut self.connection).await?;
            for event in &page.ids {
                let value: Vec<u8> = event.get("e").context("an entry has no field")?;
                events += 1;
                bytes += (value.len() - HEAD.len()) as u64;
            }
            match page.ids.last() {
                Some(last) if page.ids.len() == PAGE => from = format!("({}", last.id),
                _ => return Ok((events, bytes)),
            }
        }
    }
}
