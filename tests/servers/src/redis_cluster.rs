//! A Redis Cluster of the caller's own: masters, and replicas if wanted.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use tokio::sync::OnceCell;

use crate::error::Error;
use crate::redis::{Redis, RedisOptions};
use crate::runtime;

const SLOTS: usize = 16_384;

/// How long nodes may take to agree on something.
const PATIENCE: Duration = Duration::from_mins(1);

/// Nodes that form a cluster. It ends when the value is dropped.
#[derive(Debug)]
pub struct RedisCluster {
    /// The masters, then each master's replicas, in the same order.
    nodes: Vec<Redis>,
    masters: usize,
}

impl RedisCluster {
    /// A cluster of three masters that all tests of this process share.
    ///
    /// # Errors
    /// It does not start. Said again to each that asks.
    pub async fn shared() -> Result<&'static Self, Error> {
        static SHARED: OnceCell<Result<RedisCluster, Error>> = OnceCell::const_new();
        let shared = SHARED.get_or_init(|| runtime::run(Self::launch(3, 0))).await;
        shared.as_ref().map_err(Clone::clone)
    }

    /// A cluster of `masters`, each with as many replicas.
    ///
    /// # Errors
    /// It does not start.
    pub async fn own(masters: usize, replicas: usize) -> Result<Self, Error> {
        runtime::run(Self::launch(masters, replicas)).await
    }

    /// `redis+cluster://` with every node.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(|node| node.address().to_string()).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// The nodes: first the masters that it began with.
    #[must_use]
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The node that serves `slot`, as it says itself.
    ///
    /// # Errors
    /// None says so in time.
    pub async fn owner_of(&self, slot: u16) -> Result<usize, Error> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            for (at, node) in self.nodes.iter().enumerate() {
                if serves(node, slot).await.unwrap_or(false) {
                    return Ok(at);
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(Error::here("the cluster", format!("no node serves slot {slot}")))
    }

    /// Begins to move `slot`; [`move_keys`](Self::move_keys) and
    /// [`finish_move`](Self::finish_move) go on.
    ///
    /// # Errors
    /// A node refuses.
    pub async fn begin_move(&self, slot: u16, from: usize, to: usize) -> Result<(), Error> {
        let (source, target) = (id(&self.nodes[from]).await?, id(&self.nodes[to]).await?);
        ask(&self.nodes[to], &["CLUSTER", "SETSLOT", &slot.to_string(), "IMPORTING", &source])
            .await?;
        ask(&self.nodes[from], &["CLUSTER", "SETSLOT", &slot.to_string(), "MIGRATING", &target])
            .await
    }

    /// Moves at most `count` keys; says how many.
    ///
    /// # Errors
    /// A node refuses.
    pub async fn move_keys(
        &self,
        slot: u16,
        from: usize,
        to: usize,
        count: usize,
    ) -> Result<usize, Error> {
        let mut source = connect(&self.nodes[from]).await?;
        let list = redis::cmd("CLUSTER").arg("GETKEYSINSLOT").arg(slot).arg(count).to_owned();
        let keys: Vec<Vec<u8>> = list.query_async(&mut source).await.map_err(refused)?;
        let address = self.nodes[to].address();
        for key in &keys {
            let mut migrate = redis::cmd("MIGRATE");
            migrate.arg(address.ip().to_string()).arg(address.port());
            migrate.arg(key).arg(0).arg(10_000);
            migrate.exec_async(&mut source).await.map_err(refused)?;
        }
        Ok(keys.len())
    }

    /// Gives `slot` to its new owner.
    ///
    /// # Errors
    /// A node refuses.
    pub async fn finish_move(&self, slot: u16, from: usize, to: usize) -> Result<(), Error> {
        let target = id(&self.nodes[to]).await?;
        for node in [to, from].map(|at| &self.nodes[at]) {
            ask(node, &["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &target]).await?;
        }
        Ok(())
    }

    async fn launch(masters: usize, replicas: usize) -> Result<Self, Error> {
        let mut nodes = Vec::new();
        for _ in 0..masters * (1 + replicas) {
            nodes.push(node().await?);
        }
        let cluster = Self { nodes, masters };
        cluster.deal_slots().await?;
        cluster.introduce().await?;
        cluster.wait_until_up().await?;
        cluster.add_replicas().await?;
        Ok(cluster)
    }

    async fn deal_slots(&self) -> Result<(), Error> {
        for (at, node) in self.nodes.iter().enumerate() {
            ask(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]).await?;
        }
        for (at, node) in self.nodes[..self.masters].iter().enumerate() {
            let first = SLOTS * at / self.masters;
            let last = SLOTS * (at + 1) / self.masters - 1;
            let range = [first.to_string(), last.to_string()];
            ask(node, &["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]).await?;
        }
        Ok(())
    }

    async fn introduce(&self) -> Result<(), Error> {
        let (first, others) =
            self.nodes.split_first().ok_or_else(|| Error::here("a cluster", "no nodes"))?;
        for node in others {
            let [port, bus] = [node.ports()[0], node.ports()[1]].map(|port| port.to_string());
            let host = node.address().ip().to_string();
            ask(first, &["CLUSTER", "MEET", &host, &port, &bus]).await?;
        }
        Ok(())
    }

    async fn wait_until_up(&self) -> Result<(), Error> {
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        for node in &self.nodes {
            until(node, &["CLUSTER", "INFO"], |info| {
                info.contains("cluster_state:ok") && info.contains(&known)
            })
            .await?;
        }
        Ok(())
    }

    async fn add_replicas(&self) -> Result<(), Error> {
        for (at, node) in self.nodes.iter().enumerate().skip(self.masters) {
            let master = id(&self.nodes[at % self.masters]).await?;
            ask(node, &["CLUSTER", "REPLICATE", &master]).await?;
        }
        for node in &self.nodes[self.masters..] {
            until(node, &["INFO", "replication"], |info| info.contains("master_link_status:up"))
                .await?;
        }
        Ok(())
    }
}

async fn node() -> Result<Redis, Error> {
    let args = [
        "--cluster-enabled",
        "yes",
        "--cluster-config-file",
        "nodes.conf",
        "--cluster-node-timeout",
        "2000",
        "--cluster-port",
        "{port1}",
        "--repl-diskless-sync-delay",
        "0",
    ];
    let args = args.map(str::to_owned).to_vec();
    Redis::own_with(RedisOptions { args, more_ports: 1, ..RedisOptions::default() }).await
}

fn refused(error: redis::RedisError) -> Error {
    Error::here("a Redis node", error)
}

/// A connection to `node`.
pub(crate) async fn connect(node: &Redis) -> Result<MultiplexedConnection, Error> {
    let client = redis::Client::open(node.url()).map_err(refused)?;
    let mut connection = client.get_multiplexed_async_connection().await.map_err(refused)?;
    connection.set_response_timeout(Duration::from_secs(20));
    Ok(connection)
}

async fn text(node: &Redis, words: &[&str]) -> Result<String, Error> {
    let mut connection = connect(node).await?;
    let (name, arguments) = words.split_first().ok_or_else(|| Error::here("a command", "none"))?;
    let mut command = redis::cmd(name);
    command.arg(arguments);
    command.query_async(&mut connection).await.map_err(refused)
}

/// Runs a command whose answer is a status.
pub(crate) async fn ask(node: &Redis, words: &[&str]) -> Result<(), Error> {
    text(node, words).await.map(drop)
}

async fn id(node: &Redis) -> Result<String, Error> {
    text(node, &["CLUSTER", "MYID"]).await
}

/// Asks until the answer is as wanted.
pub(crate) async fn until(
    node: &Redis,
    words: &[&str],
    wanted: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = text(node, words).await?;
        if wanted(&answer) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let words = words.join(" ");
            return Err(Error::here("a Redis node", format!("{words} still says: {answer}")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether `node` is a master that has `slot`.
async fn serves(node: &Redis, slot: u16) -> Result<bool, Error> {
    let nodes = text(node, &["CLUSTER", "NODES"]).await?;
    let own = nodes.lines().find(|line| line.contains("myself")).unwrap_or_default();
    let is_master = own.contains("master") && !own.contains("fail");
    let has = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else {
            return false;
        };
        (first..=last).contains(&slot)
    };
    Ok(is_master && own.split_whitespace().skip(8).any(has))
}
