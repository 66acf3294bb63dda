//! A Redis master with a replica, and a Sentinel that watches over them.

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::redis::{Redis, RedisOptions};
use crate::redis_cluster::{connect, until};
use crate::runtime;

const NAME: &str = "mymaster";

/// How long a failover may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Two servers and a Sentinel. They end when the value is dropped.
#[derive(Debug)]
pub struct RedisSentinel {
    servers: [Redis; 2],
    sentinel: Redis,
}

impl RedisSentinel {
    /// Starts all three.
    ///
    /// # Errors
    /// One does not start.
    pub async fn own() -> Result<Self, Error> {
        runtime::run(Self::launch()).await
    }

    /// `redis+sentinel://HOST:PORT/mymaster`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+sentinel://{}/{NAME}", self.sentinel.address())
    }

    /// First the server that began as the master, then its replica.
    #[must_use]
    pub fn servers(&self) -> &[Redis; 2] {
        &self.servers
    }

    /// The Sentinel.
    #[must_use]
    pub fn sentinel(&self) -> &Redis {
        &self.sentinel
    }

    /// Waits until the Sentinel names `server` as the master.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn wait_for_master(&self, server: usize) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        let wanted = self.servers[server].address().port();
        while Instant::now() < deadline {
            let mut sentinel = connect(&self.sentinel).await?;
            let mut ask = redis::cmd("SENTINEL");
            ask.arg("GET-MASTER-ADDR-BY-NAME").arg(NAME);
            let master: Result<(String, u16), _> = ask.query_async(&mut sentinel).await;
            if master.is_ok_and(|(_, port)| port == wanted) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(Error::here("the Sentinel", "it has not named the other server as the master"))
    }

    async fn launch() -> Result<Self, Error> {
        let fast = ["--repl-diskless-sync-delay", "0"];
        let master = Redis::own(&fast).await?;
        let (host, port) = (master.address().ip().to_string(), master.address().port());
        let of = format!("{host} {port}");
        let replica = Redis::own(&["--replicaof", &of, fast[0], fast[1]]).await?;
        until(&replica, &["INFO", "replication"], |info| info.contains("master_link_status:up"))
            .await?;
        let configuration = format!(
            "sentinel monitor {NAME} {host} {port} 1\n\
             sentinel down-after-milliseconds {NAME} 1000\n\
             sentinel failover-timeout {NAME} 5000\n"
        );
        let options = RedisOptions { sentinel: Some(configuration), ..RedisOptions::default() };
        let sentinel = Redis::own_with(options).await?;
        // Without it the Sentinel would know no one to promote.
        until(&sentinel, &["INFO", "sentinel"], |info| info.contains("slaves=1")).await?;
        Ok(Self { servers: [master, replica], sentinel })
    }
}
