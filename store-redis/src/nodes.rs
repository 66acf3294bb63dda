//! Which server serves which bucket, and the open connections to each.
//!
//! Routing is this crate's own, not the driver's: a driver that sends an append again after a lost
//! connection would store it twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mcp_event_store_core::{Durability, Error, Result};
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, sleep};

use crate::cluster;
use crate::config::RedisOptions;
use crate::connect::{Connector, Link};
use crate::keys::{BUCKETS, Bucket};
use crate::private::Private;
use crate::sentinel;
use crate::server::Demands;
use crate::target::{Address, Mode, Target};

/// A connection that has rested for longer is asked first: something between it and the server may
/// have forgotten it without a word.
const TRUSTED_FOR: Duration = Duration::from_secs(30);

/// Time between two looks for masters that can be reached, while a store opens.
const PAUSE: Duration = Duration::from_millis(100);

/// Batches in flight where there is no cluster: while a server works on one script and syncs, callers
/// queue the next one's events. More of them would be smaller, with a sync for each or two.
const WRITERS: usize = 2;

/// Batches in flight in a cluster, where they go to several servers.
const WRITERS_OF_A_CLUSTER: usize = 16;

/// What a connection is for: a large page must not hold up an append, nor `WAIT` a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Appends,
    Others,
}

/// One server's connections.
#[derive(Default)]
struct Node {
    /// Shared ones. The locks guard connecting, so that a crowd of callers connects once.
    lanes: [tokio::sync::Mutex<Option<Link>>; 2],
    /// Those of appends, locked while one has them: as many as there are writers.
    private: [Arc<tokio::sync::Mutex<Option<Private>>>; WRITERS],
}

/// A connection that nobody else has until this is dropped.
pub(crate) struct Taken {
    pub(crate) connection: Private,
    place: OwnedMutexGuard<Option<Private>>,
}

impl Taken {
    /// Gives the connection back, unless it is not to be used again: one that has answered everything
    /// it was asked.
    pub(crate) fn give_back(mut self) {
        if !self.connection.is_closed() {
            *self.place = Some(self.connection);
        }
    }
}

/// Who serves what, as last seen.
struct Map {
    /// Raised by every look around.
    version: u64,
    /// By bucket.
    masters: Vec<Option<Address>>,
}

pub(crate) struct Nodes {
    target: Target,
    connector: Connector,
    demands: Demands,
    /// Guards the map alone; nothing awaits under it.
    map: Mutex<Map>,
    /// Guards the list of nodes alone; nothing awaits under it.
    open: Mutex<HashMap<Address, Arc<Node>>>,
    /// Held while looking around, so that a crowd of callers does it once.
    looking: tokio::sync::Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Nodes {
    /// Looks around and connects to every master.
    pub(crate) async fn open(
        target: Target,
        options: &RedisOptions,
        durability: Durability,
    ) -> Result<Self> {
        let nodes = Self {
            connector: Connector::new(&target, options)?,
            demands: Demands::new(durability, options),
            map: Mutex::new(Map { version: 0, masters: vec![None; usize::from(BUCKETS)] }),
            open: Mutex::default(),
            looking: tokio::sync::Mutex::new(()),
            target,
        };
        nodes.look_around(0).await?;
        let deadline = Instant::now() + options.retry_for;
        while let Err(error) = nodes.connect_to_masters().await {
            // Whoever was asked may not have heard yet that a master died.
            let may_change = nodes.target.mode != Mode::Single && error.is_retryable();
            if !may_change || Instant::now() + PAUSE > deadline {
                return Err(error);
            }
            sleep(PAUSE).await;
            let (seen, _) = nodes.master_of(0);
            nodes.look_around(seen).await?;
        }
        Ok(nodes)
    }

    async fn connect_to_masters(&self) -> Result<()> {
        for master in self.masters() {
            self.link(&master, Lane::Others).await?;
        }
        Ok(())
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.target.mode == Mode::Cluster
    }

    pub(crate) fn writers(&self) -> usize {
        if self.is_cluster() { WRITERS_OF_A_CLUSTER } else { WRITERS }
    }

    /// The map's version and the server of `bucket`.
    pub(crate) fn master_of(&self, bucket: Bucket) -> (u64, Option<Address>) {
        let map = lock(&self.map);
        (map.version, map.masters.get(usize::from(bucket)).cloned().flatten())
    }

    /// Every server, once.
    pub(crate) fn masters(&self) -> Vec<Address> {
        let mut masters: Vec<_> = lock(&self.map).masters.iter().flatten().cloned().collect();
        masters.sort_unstable();
        masters.dedup();
        masters
    }

    /// Believes a redirection.
    pub(crate) fn moved(&self, bucket: Bucket, asked: &Address, to: &str) {
        let Some(master) = cluster::redirected(to, asked) else { return };
        if let Some(place) = lock(&self.map).masters.get_mut(usize::from(bucket)) {
            *place = Some(master);
        }
    }

    /// An open connection to `address`, checked when it was opened.
    pub(crate) async fn link(&self, address: &Address, lane: Lane) -> Result<Link> {
        let node = self.node(address);
        let mut link = self.connector.turn(node.lanes[lane as usize].lock()).await?;
        if let Some(open) = link.as_ref().filter(|link| !link.is_closed()) {
            return Ok(open.clone());
        }
        let opened = self.connector.connect(address, &self.target.credentials).await?;
        self.demands.check(&opened, address).await?;
        *link = Some(opened.clone());
        Ok(opened)
    }

    /// A connection to `address` for one append. `None` if there is none free, or none without a
    /// task of its own: appends share one then. In a cluster, where each has parts for many
    /// buckets, they always do.
    pub(crate) async fn take(&self, address: &Address) -> Result<Option<Taken>> {
        if self.is_cluster() {
            return Ok(None);
        }
        let node = self.node(address);
        let free = node.private.iter().filter_map(|place| place.clone().try_lock_owned().ok());
        // Rather one that has a connection than one that needs another.
        let Some(mut place) = free.min_by_key(|place| place.is_none()) else { return Ok(None) };
        if let Some(connection) = place.take()
            && let Some(connection) = self.still_open(connection, address).await
        {
            return Ok(Some(Taken { connection, place }));
        }
        let login = &self.target.credentials;
        let connected = match self.connector.connect_privately(address, login).await {
            Err(error) if !error.is_retryable() => {
                // The server may have as many clients as it wants.
                drop(place);
                return self.take_anothers(&node, address).await?.ok_or(error).map(Some);
            }
            connected => connected?,
        };
        let Some(mut connection) = connected else { return Ok(None) };
        self.check(&mut connection, address).await?;
        Ok(Some(Taken { connection, place }))
    }

    /// Waits for a connection that other appends have.
    async fn take_anothers(&self, node: &Node, address: &Address) -> Result<Option<Taken>> {
        for place in &node.private {
            let mut place = self.connector.turn(place.clone().lock_owned()).await?;
            if let Some(connection) = place.take()
                && let Some(connection) = self.still_open(connection, address).await
            {
                return Ok(Some(Taken { connection, place }));
            }
        }
        Ok(None)
    }

    /// A connection that has been at rest, if it is to be used: one that has been so for long is
    /// checked like a new one.
    async fn still_open(&self, mut connection: Private, address: &Address) -> Option<Private> {
        if !connection.is_open() {
            return None;
        }
        if connection.rested() > TRUSTED_FOR {
            let checked = self.check(&mut connection, address).await;
            checked.inspect_err(|error| tracing::debug!(%error, "a connection rested")).ok()?;
        }
        Some(connection)
    }

    /// Whether the server of a connection is as it has to be.
    async fn check(&self, connection: &mut Private, address: &Address) -> Result<()> {
        connection.during(async |link| self.demands.check(link, address).await).await
    }

    fn node(&self, address: &Address) -> Arc<Node> {
        lock(&self.open).entry(address.clone()).or_default().clone()
    }

    /// Finds out who serves what, unless someone did since `seen`.
    pub(crate) async fn look_around(&self, seen: u64) -> Result<()> {
        let _looking = self.connector.turn(self.looking.lock()).await?;
        if lock(&self.map).version > seen {
            return Ok(());
        }
        let masters = match &self.target.mode {
            Mode::Single => vec![self.target.hosts.first().cloned(); usize::from(BUCKETS)],
            Mode::Sentinel(name) => {
                let (hosts, login) = (&self.target.hosts, &self.target.credentials);
                let master = sentinel::find_master(&self.connector, hosts, login, name).await?;
                vec![Some(master); usize::from(BUCKETS)]
            }
            Mode::Cluster => self.ask_cluster().await?,
        };
        let mut map = lock(&self.map);
        (map.version, map.masters) = (map.version + 1, masters);
        let known = &map.masters;
        lock(&self.open).retain(|address, _| known.iter().flatten().any(|m| m == address));
        Ok(())
    }

    async fn ask_cluster(&self) -> Result<Vec<Option<Address>>> {
        let mut known = self.masters();
        known.extend(self.target.hosts.iter().cloned());
        let mut failure = None;
        for node in known {
            let connected = self.connector.connect(&node, &self.target.credentials).await;
            let masters = match connected {
                Ok(link) => cluster::masters(&link, &node).await,
                Err(error) => Err(error),
            };
            match masters {
                Ok(masters) if masters.iter().any(Option::is_some) => return Ok(masters),
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
        }
        let empty = || {
            let message = "no node of the Redis cluster serves any slot: check `CLUSTER INFO`";
            Error::Unavailable { message: message.into(), cause: None }
        };
        Err(failure.unwrap_or_else(empty))
    }

    /// Asks every server again what it promises, since an operator may have changed it; forgets
    /// the connections of one that breaks it, so that nothing is appended there.
    pub(crate) async fn check_again(&self) -> Result<()> {
        if !matches!(self.target.mode, Mode::Single) {
            let (seen, _) = self.master_of(0);
            self.look_around(seen).await?;
        }
        for master in self.masters() {
            let link = self.link(&master, Lane::Others).await?;
            if let Err(error) = self.demands.check(&link, &master).await {
                self.forget(&master).await;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn forget(&self, address: &Address) {
        let Some(node) = lock(&self.open).remove(address) else { return };
        for lane in &node.lanes {
            if let Some(link) = lane.lock().await.take() {
                link.abandon();
            }
        }
    }

    /// Closes every connection.
    pub(crate) fn close(&self) {
        lock(&self.open).clear();
    }

    /// A connection that listens on `channel`.
    pub(crate) async fn subscribe(&self, channel: &str) -> Result<redis::aio::PubSub> {
        let (seen, _) = self.master_of(0);
        let mut failure = Error::Closed;
        for master in self.masters() {
            match self.connector.subscribe(&master, &self.target.credentials, channel).await {
                Ok(pubsub) => return Ok(pubsub),
                Err(error) => failure = error,
            }
        }
        self.look_around(seen).await?;
        Err(failure)
    }
}
