//! Connections that are kept open and lent out.
//!
//! The driver's own pool asks a connection after each use whether it still works: a second round
//! trip for every statement. This one asks only where there is a reason: the connection has rested
//! for a while, or another one has been lost since. A connection that is not given back, because
//! its statement failed or was dropped half-way, is closed.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mcp_event_store_core::{Error, Result};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::call::Style;
use crate::error::classify_connect;
use crate::names::{PLANNER, SEARCH_PATH};

/// A connection that has rested for longer is asked first: a server or a firewall may have closed
/// it since.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// How long such a connection has to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

const READ_COMMITTED: &str = "SET default_transaction_isolation = 'read committed'";

/// How to open a connection.
#[derive(Clone)]
pub(crate) struct Door {
    connect: PgConnectOptions,
    timeout: Duration,
    style: Style,
    /// The `synchronous_commit` of what has to last.
    sync: &'static str,
    /// Raised whenever a connection was lost; shared by all pools of a store.
    losses: Arc<AtomicU64>,
}

/// Leaves out what the driver would show of the options: the password is among them.
impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("style", &self.style).finish_non_exhaustive()
    }
}

impl Door {
    pub(crate) fn new(
        connect: PgConnectOptions,
        timeout: Duration,
        style: Style,
        sync: &'static str,
    ) -> Self {
        Self { connect, timeout, style, sync, losses: Arc::default() }
    }

    /// Opens a connection.
    pub(crate) async fn open(&self) -> Result<PgConnection> {
        self.open_with(READ_COMMITTED).await
    }

    /// What connections for calls set: what functions run under. It holds whatever the server is told
    /// later. A commit that waits for synchronous replicas goes on to do so.
    fn settings_for_calls(&self) -> String {
        let (sync, planner) = (self.sync, PLANNER.join("; "));
        format!(
            "{READ_COMMITTED}; {SEARCH_PATH}; {planner};
             SELECT set_config('synchronous_commit', CASE
                 WHEN '{sync}' = 'on' AND s = 'remote_apply' THEN s ELSE '{sync}' END, false)
             FROM current_setting('synchronous_commit') AS s"
        )
    }

    async fn open_with(&self, settings: &str) -> Result<PgConnection> {
        let server = match self.connect.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.connect.get_host(), self.connect.get_port()),
        };
        match timeout(self.timeout, self.connect(settings)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(classify_connect(error, &server, self.connect.get_username())),
            Err(elapsed) => Err(Error::unavailable(
                format!("PostgreSQL at {server} did not answer within connect_timeout"),
                elapsed,
            )),
        }
    }

    /// A pooler would not keep `settings` for us; there the role's own default isolation is checked.
    async fn connect(&self, settings: &str) -> sqlx::Result<PgConnection> {
        let mut connection = self.connect.connect().await?;
        if self.style == Style::Prepared {
            let settings = AssertSqlSafe(settings.to_owned());
            sqlx::raw_sql(settings).execute(&mut connection).await?;
        }
        Ok(connection)
    }

    /// Says that a connection was lost: others may be lost too.
    pub(crate) fn lost(&self) {
        self.losses.fetch_add(1, Ordering::SeqCst);
    }

    fn losses(&self) -> u64 {
        self.losses.load(Ordering::SeqCst)
    }
}

/// A bounded number of connections, for calls to a server that was checked.
#[derive(Debug)]
pub(crate) struct Pool {
    door: Door,
    /// What each connection sets.
    settings: String,
    room: Semaphore,
    /// Guards the connections that no one uses; nothing awaits under it.
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    since: Instant,
    /// The losses that were known when the connection was known to work.
    losses: u64,
}

/// A connection in use.
pub(crate) struct Lent<'a> {
    pool: &'a Pool,
    connection: PgConnection,
    losses: u64,
    _room: SemaphorePermit<'a>,
}

impl Pool {
    /// Each connection of it runs `also` first.
    pub(crate) fn new(door: Door, size: usize, also: &str) -> Self {
        let room = Semaphore::new(size.clamp(1, Semaphore::MAX_PERMITS));
        let settings = format!("{}; {also}", door.settings_for_calls());
        Self { door, settings, room, idle: Mutex::default() }
    }

    /// Waits for a connection that is free and works, or opens one.
    pub(crate) async fn lend(&self) -> Result<Lent<'_>> {
        let room = match self.room.try_acquire() {
            Ok(room) => room,
            Err(_) => self.wait_for_room().await?,
        };
        while let Some(idle) = self.take_idle() {
            let losses = self.door.losses();
            let is_trusted = idle.losses == losses && idle.since.elapsed() < TRUSTED_FOR;
            let mut connection = idle.connection;
            if is_trusted || answers(connection.ping()).await {
                return Ok(Lent { pool: self, connection, losses, _room: room });
            }
            self.door.lost();
        }
        let losses = self.door.losses();
        // In a box: it is large, and seldom needed by those who hold a future of it.
        let connection = Box::pin(self.door.open_with(&self.settings)).await?;
        Ok(Lent { pool: self, connection, losses, _room: room })
    }

    async fn wait_for_room(&self) -> Result<SemaphorePermit<'_>> {
        match timeout(self.door.timeout, self.room.acquire()).await {
            Ok(room) => room.map_err(|_closed| Error::Closed),
            Err(elapsed) => {
                let message = "no PostgreSQL connection came free within connect_timeout: raise \
                               pool_size, or ask for less at once";
                Err(Error::unavailable(message, elapsed))
            }
        }
    }

    /// Says that a connection was lost.
    pub(crate) fn lost(&self) {
        self.door.lost();
    }

    /// How many connections of the store were lost so far.
    pub(crate) fn losses(&self) -> u64 {
        self.door.losses()
    }

    /// Lends no more, and closes what is not in use.
    pub(crate) async fn close(&self) {
        self.room.close();
        let idle = std::mem::take(&mut *self.idle());
        for Idle { connection, .. } in idle {
            // What cannot say goodbye is gone already.
            let _ = timeout(ANSWER_WITHIN, connection.close()).await;
        }
    }

    /// The connection that was used last: others may be left to be closed by the server.
    fn take_idle(&self) -> Option<Idle> {
        self.idle().pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answers(ping: impl Future<Output = sqlx::Result<()>>) -> bool {
    matches!(timeout(ANSWER_WITHIN, ping).await, Ok(Ok(())))
}

impl Lent<'_> {
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Gives a connection back that has answered everything it was asked.
    pub(crate) fn give_back(self) {
        if self.pool.room.is_closed() {
            return;
        }
        let idle = Idle { connection: self.connection, since: Instant::now(), losses: self.losses };
        self.pool.idle().push(idle);
    }
}
