//! The server: sends calls to it, and decides what is sent again.

use std::convert::identity;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mcp_event_store_core::{Clock, Error, Result};
use sqlx::postgres::PgRow;
use sqlx::{ColumnIndex, Decode, Postgres, Row, Type};
use tokio::time::{sleep, timeout};

use crate::call::{Call, Style};
use crate::error::{
    classify, classify_append, is_lost_connection, is_stale_statement, may_begin_again,
};
use crate::names::Names;
use crate::pool::{Door, Lent, Pool};
use crate::schema;
use crate::statement::Statement;

/// How often a transaction that the server ended in favour of others is begun again.
const ATTEMPTS: u32 = 25;
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// An open database.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) names: Names,
    style: Style,
    /// What stands in `extend` and in `extend_one`.
    pub(crate) extend: Arc<Statement>,
    pub(crate) extend_one: Arc<Statement>,
    /// A connection for each writer, so that appends wait for no read.
    appends: Pool,
    others: Pool,
    request_timeout: Duration,
    /// The `synchronous_commit` of transactions that have to last.
    sync: &'static str,
    clock: Clock,
}

/// What [`Server::new`] needs beside the door.
pub(crate) struct Setup {
    pub(crate) names: Names,
    pub(crate) style: Style,
    pub(crate) writers: usize,
    pub(crate) pool_size: usize,
    pub(crate) request_timeout: Duration,
    pub(crate) sync: &'static str,
    pub(crate) clock: Clock,
}

impl Server {
    pub(crate) fn new(door: Door, setup: Setup) -> Self {
        Self {
            extend: Arc::new(Statement::inside(schema::EXTEND, &setup.names)),
            extend_one: Arc::new(Statement::inside(schema::EXTEND_ONE, &setup.names)),
            appends: Pool::new(door.clone(), setup.writers, &setup.names.take_shard()),
            others: Pool::new(door, setup.pool_size, ""),
            names: setup.names,
            style: setup.style,
            request_timeout: setup.request_timeout,
            sync: setup.sync,
            clock: setup.clock,
        }
    }

    /// Whether connections are kept with settings of our own.
    pub(crate) fn has_own_settings(&self) -> bool {
        self.style == Style::Prepared
    }

    /// What a test's clock adds to the server's time.
    pub(crate) fn offset(&self) -> i64 {
        self.clock.offset_millis()
    }

    /// The `synchronous_commit` of transactions that have to last.
    pub(crate) fn sync(&self) -> &'static str {
        self.sync
    }

    /// Sends an append. It is not sent again after a lost connection, since it may have been done.
    pub(crate) async fn append(&self, call: &Call<'_>) -> Result<Vec<PgRow>> {
        let mut attempt = 0;
        loop {
            // Until here nothing was sent, and an error says `Unavailable`.
            let lent = self.appends.lend().await?;
            match self.send(lent, &self.appends, call, identity).await {
                Err(error) if may_be_sent_again(&error) && attempt < ATTEMPTS => {
                    attempt += 1;
                    sleep((FIRST_PAUSE * attempt).min(LONGEST_PAUSE)).await;
                }
                answer => return answer.map_err(classify_append),
            }
        }
    }

    /// Sends a call that may be done twice: reads, and writes of which the second finds nothing
    /// left to do. A deletion that is sent again may so report less than both have deleted.
    pub(crate) async fn ask(&self, call: &Call<'_>) -> Result<Vec<PgRow>> {
        self.ask_each(call, identity).await
    }

    /// [`ask`](Self::ask), and `take` of each row while the server makes the next.
    pub(crate) async fn ask_each<T>(
        &self,
        call: &Call<'_>,
        take: impl Fn(PgRow) -> T,
    ) -> Result<Vec<T>> {
        let mut attempt = 0;
        let mut was_lost = false;
        loop {
            let lent = self.others.lend().await?;
            match self.send(lent, &self.others, call, &take).await {
                Err(error) if may_be_sent_again(&error) && attempt < ATTEMPTS => {
                    attempt += 1;
                    sleep((FIRST_PAUSE * attempt).min(LONGEST_PAUSE)).await;
                }
                // The pool may have held a connection that was dead already.
                Err(error) if is_lost_connection(&error) && !was_lost => was_lost = true,
                answer => return answer.map_err(classify),
            }
        }
    }

    /// [`ask`](Self::ask), for one row.
    pub(crate) async fn ask_one(&self, call: &Call<'_>) -> Result<PgRow> {
        let mut rows = self.ask(call).await?;
        rows.pop().ok_or_else(|| Error::Backend {
            message: "PostgreSQL gave no answer: do the store's functions belong to this version?"
                .into(),
            cause: None,
        })
    }

    async fn send<T>(
        &self,
        mut lent: Lent<'_>,
        pool: &Pool,
        call: &Call<'_>,
        take: impl Fn(PgRow) -> T,
    ) -> sqlx::Result<Vec<T>> {
        let sent = call.send(lent.connection(), &self.names, self.style, take);
        let answer = timeout(self.request_timeout, sent)
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        match &answer {
            Err(error) if is_lost_connection(error) => pool.lost(),
            // A fresh connection has no old statements; any other error leaves nothing behind.
            Err(error) if is_stale_statement(error) => {}
            _ => lent.give_back(),
        }
        answer
    }

    /// How many connections were lost so far.
    pub(crate) fn losses(&self) -> u64 {
        self.others.losses()
    }

    /// Whether the server answers.
    pub(crate) async fn ping(&self) -> Result<()> {
        self.ask(&Call::new("now").with(self.offset())).await.map(drop)
    }

    pub(crate) async fn close(&self) {
        self.appends.close().await;
        self.others.close().await;
    }
}

fn may_be_sent_again(error: &sqlx::Error) -> bool {
    may_begin_again(error) || is_stale_statement(error)
}

/// A column of a row.
pub(crate) fn column<'r, T>(row: &'r PgRow, at: impl ColumnIndex<PgRow>) -> Result<T>
where
    T: Decode<'r, Postgres> + Type<Postgres>,
{
    row.try_get(at).map_err(classify)
}
