//! The Redis store: a key prefix for each scope, on servers that all scopes share. A single server
//! stands behind a proxy that can cut the connections.

use std::sync::Mutex;
use std::time::Duration;

use mcp_event_store_compliance::{Cut, Harness, HarnessError, Opened, async_trait};
use mcp_event_store_core::{Clock, Engine, Settings, Store};
use mcp_event_store_redis::{RedisBackend, RedisOptions, append_script_sha};
use mcp_event_store_test_servers as servers;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

/// What a scope's keys held: the server, the name, and what `DUMP` made of it.
type Backup = Vec<(usize, Vec<u8>, Vec<u8>)>;

/// The keys of one prefix, wherever they are.
struct Scope {
    prefix: String,
    /// The servers' own URLs.
    servers: Vec<String>,
    /// What a store is opened with.
    url: String,
    backup: Mutex<Backup>,
}

impl Scope {
    fn new(prefix: String, servers: Vec<String>, url: String) -> Self {
        Self { prefix, servers, url, backup: Mutex::default() }
    }

    async fn open(&self, settings: &Settings, clock: &Clock) -> Result<Opened, HarnessError> {
        let options = RedisOptions { key_prefix: self.prefix.clone(), ..RedisOptions::default() };
        let durability = settings.durability;
        let backend = RedisBackend::open(&self.url, &options, durability, clock.clone()).await?;
        Ok(Store::new(Engine::open(backend, settings.clone())?).into())
    }

    async fn keys(&self, server: &mut MultiplexedConnection) -> Result<Vec<Vec<u8>>, HarnessError> {
        let (mut cursor, mut keys) = (0_u64, Vec::new());
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{}*", self.prefix)).arg("COUNT").arg(1000);
            let (next, part): (u64, Vec<Vec<u8>>) = scan.query_async(server).await?;
            keys.extend(part);
            if next == 0 {
                keys.sort_unstable();
                keys.dedup();
                return Ok(keys);
            }
            cursor = next;
        }
    }

    async fn delete(&self) -> Result<(), HarnessError> {
        for url in &self.servers {
            let mut server = connect(url).await?;
            for key in self.keys(&mut server).await? {
                let _: u64 = server.unlink(key).await?;
            }
        }
        Ok(())
    }

    async fn back_up(&self) -> Result<(), HarnessError> {
        let mut backup = Backup::new();
        for (at, url) in self.servers.iter().enumerate() {
            let mut server = connect(url).await?;
            for key in self.keys(&mut server).await? {
                let dump: Vec<u8> = redis::cmd("DUMP").arg(&key).query_async(&mut server).await?;
                backup.push((at, key, dump));
            }
        }
        *self.backup.lock().unwrap() = backup;
        Ok(())
    }

    async fn lose_tail(&self) -> Result<(), HarnessError> {
        self.delete().await?;
        let backup = self.backup.lock().unwrap().clone();
        for (at, url) in self.servers.iter().enumerate() {
            let mut server = connect(url).await?;
            for (_, key, dump) in backup.iter().filter(|(of, ..)| *of == at) {
                let restore = redis::cmd("RESTORE").arg(key).arg(0).arg(dump).to_owned();
                restore.exec_async(&mut server).await?;
            }
        }
        Ok(())
    }

    /// What [`attach`](Self::attach) takes.
    fn address(&self) -> String {
        format!("{} {} {}", self.prefix, self.url, self.servers.join(" "))
    }

    fn attach(address: &str) -> Result<Self, HarnessError> {
        let mut words = address.split(' ').map(str::to_owned);
        let missing = || format!("`{address}` is no address of a Redis scope");
        let prefix = words.next().ok_or_else(missing)?;
        let url = words.next().ok_or_else(missing)?;
        Ok(Self::new(prefix, words.collect(), url))
    }
}

async fn connect(url: &str) -> Result<MultiplexedConnection, HarnessError> {
    let client = redis::Client::open(url)?;
    let mut patient = client.get_multiplexed_async_connection().await?;
    patient.set_response_timeout(Duration::from_secs(20));
    Ok(patient)
}

fn draw_prefix() -> Result<String, HarnessError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)?;
    Ok(format!("test-{:016x}:", u64::from_be_bytes(random)))
}

/// Notices appends, by the name of their script.
fn spot_appends() -> servers::Spotter {
    let sha = append_script_sha().as_bytes();
    let mut tail = Vec::new();
    Box::new(move |piece| {
        tail.extend_from_slice(piece);
        let found = tail.windows(sha.len()).any(|window| window == sha);
        let keep = if found { 0 } else { tail.len().min(sha.len() - 1) };
        tail.drain(..tail.len() - keep);
        found
    })
}

/// One server.
pub(crate) struct Redis {
    scope: Scope,
    /// Absent in a process that only attached.
    proxy: Option<servers::Proxy>,
}

impl Redis {
    /// An empty prefix, by way of a proxy, of `server`.
    async fn create_on(server: &servers::Redis) -> Result<Self, HarnessError> {
        let proxy = servers::Proxy::to(server.address(), spot_appends).await?;
        let url = through(server.url(), &proxy)?;
        let scope = Scope::new(draw_prefix()?, vec![server.url().to_owned()], url);
        Ok(Self { scope, proxy: Some(proxy) })
    }
}

#[async_trait]
impl Harness for Redis {
    async fn create() -> Result<Self, HarnessError> {
        Self::create_on(servers::Redis::shared().await?).await
    }

    async fn attach(address: &str) -> Result<Self, HarnessError> {
        Ok(Self { scope: Scope::attach(address)?, proxy: None })
    }

    async fn open(&self, settings: &Settings, clock: &Clock) -> Result<Opened, HarnessError> {
        self.scope.open(settings, clock).await
    }

    fn address(&self) -> String {
        self.scope.address()
    }

    async fn tear_down(self: Box<Self>) -> Result<(), HarnessError> {
        self.scope.delete().await
    }

    async fn cut(&self, cut: Cut) -> Result<(), HarnessError> {
        self.proxy.as_ref().ok_or("only the process that made the scope can cut")?.cut(match cut {
            Cut::Request => servers::Cut::Request,
            Cut::Answer => servers::Cut::Answer,
            Cut::Down => servers::Cut::Down,
        });
        Ok(())
    }

    async fn mend(&self) -> Result<(), HarnessError> {
        self.proxy.as_ref().ok_or("only the process that made the scope can mend")?.mend();
        Ok(())
    }

    async fn back_up(&self) -> Result<(), HarnessError> {
        self.scope.back_up().await
    }

    async fn lose_tail(&self) -> Result<(), HarnessError> {
        self.scope.lose_tail().await
    }

    /// Each of its buckets has an order of its own.
    fn recency_is_exact(&self) -> bool {
        false
    }

    fn wake_up_bound(&self) -> Duration {
        WAKE_UP_BOUND
    }
}

/// Documented as 20 ms, on a machine with nothing else to do.
const WAKE_UP_BOUND: Duration = Duration::from_millis(500);

/// `url` with the proxy's place instead of the server's.
fn through(url: &str, proxy: &servers::Proxy) -> Result<String, HarnessError> {
    let (scheme, rest) = url.split_once("://").ok_or("a URL without a scheme")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let login = authority.rsplit_once('@').map_or(String::new(), |(login, _)| format!("{login}@"));
    Ok(format!("{scheme}://{login}{}/{path}", proxy.address()))
}

/// A cluster of three masters.
pub(crate) struct RedisCluster(Scope);

#[async_trait]
impl Harness for RedisCluster {
    async fn create() -> Result<Self, HarnessError> {
        let cluster = servers::RedisCluster::shared().await?;
        let nodes = cluster.nodes().iter().map(|node| node.url().to_owned()).collect();
        Ok(Self(Scope::new(draw_prefix()?, nodes, cluster.url())))
    }

    async fn attach(address: &str) -> Result<Self, HarnessError> {
        Scope::attach(address).map(Self)
    }

    async fn open(&self, settings: &Settings, clock: &Clock) -> Result<Opened, HarnessError> {
        self.0.open(settings, clock).await
    }

    fn address(&self) -> String {
        self.0.address()
    }

    async fn tear_down(self: Box<Self>) -> Result<(), HarnessError> {
        self.0.delete().await
    }

    async fn back_up(&self) -> Result<(), HarnessError> {
        self.0.back_up().await
    }

    async fn lose_tail(&self) -> Result<(), HarnessError> {
        self.0.lose_tail().await
    }

    /// Each of its buckets has an order of its own.
    fn recency_is_exact(&self) -> bool {
        false
    }

    fn wake_up_bound(&self) -> Duration {
        WAKE_UP_BOUND
    }
}

/// A prefix of a server that no other test uses, so that it can be killed.
pub(crate) struct OwnServer {
    scope: Redis,
    server: servers::Redis,
}

#[async_trait]
impl Harness for OwnServer {
    async fn create() -> Result<Self, HarnessError> {
        let server = servers::Redis::own(&[]).await?;
        Ok(Self { scope: Redis::create_on(&server).await?, server })
    }

    async fn open(&self, settings: &Settings, clock: &Clock) -> Result<Opened, HarnessError> {
        self.scope.open(settings, clock).await
    }

    fn address(&self) -> String {
        self.scope.address()
    }

    /// The server goes with this value.
    async fn tear_down(self: Box<Self>) -> Result<(), HarnessError> {
        Ok(())
    }

    async fn kill_server(&self) -> Result<(), HarnessError> {
        self.server.kill().await?;
        Ok(self.server.start().await?)
    }
}
