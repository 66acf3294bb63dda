//! Opening: a first connection, and clear words for a server or a role that will not do.

use mcp_event_store_core::{Clock, Durability, Error, Result};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::call::Style;
use crate::config::PostgresOptions;
use crate::error::classify;
use crate::names::Names;
use crate::pool::Door;
use crate::schema;
use crate::server::{Server, Setup, column};

/// The oldest version that is supported.
const OLDEST: i64 = 130_000;

/// What the server says of itself and of the role.
const ABOUT: &str = "SELECT current_setting('server_version_num')::bigint, \
    pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on', \
    current_setting('server_encoding'), current_setting('fsync'), \
    current_setting('transaction_isolation')";

/// Connects, checks the server, and brings the schema up to date.
pub(crate) async fn connect(
    connect: PgConnectOptions,
    options: &PostgresOptions,
    durability: Durability,
    clock: Clock,
) -> Result<Server> {
    let names = Names::new(&options.schema, &options.table_prefix)?;
    let style = if options.notify { Style::Prepared } else { Style::Simple };
    let sync = synchronous_commit(durability);
    let door = Door::new(connect, options.connect_timeout, style, sync);
    let mut first = door.open().await?;
    check(&mut first, options, durability).await?;
    schema::migrate(&mut first, &names).await?;
    schema::check_rights(&mut first, &names).await?;
    // A goodbye that fails has no meaning.
    let _ = first.close().await;
    let setup = Setup {
        names,
        style,
        writers: options.writers,
        pool_size: options.pool_size,
        request_timeout: options.request_timeout,
        sync,
        clock,
    };
    Ok(Server::new(door, setup))
}

/// What `durability` asks of transactions that have to last.
fn synchronous_commit(durability: Durability) -> &'static str {
    match durability {
        Durability::Committed => "on",
        Durability::Relaxed => "off",
    }
}

async fn check(
    connection: &mut PgConnection,
    options: &PostgresOptions,
    durability: Durability,
) -> Result<()> {
    let about = sqlx::raw_sql(ABOUT).fetch_one(connection).await.map_err(classify)?;
    let version: i64 = column(&about, 0)?;
    if version < OLDEST {
        let found = version / 10_000;
        return refuse(format!("is of version {found}, and 13 is the oldest that is supported"));
    }
    if column(&about, 1)? {
        return refuse("is read-only, as a standby is: connect to the primary server");
    }
    let encoding: &str = column(&about, 2)?;
    if encoding != "UTF8" {
        return refuse(format!(
            "keeps this database in the encoding {encoding}: create one with ENCODING 'UTF8'"
        ));
    }
    if column::<&str>(&about, 3)? != "on"
        && durability == Durability::Committed
        && !options.external_fsync
    {
        return refuse(
            "runs with fsync = off, so that a crash can lose what was committed: set fsync = on, \
             or durability = \"relaxed\", or server_fsync = \"external\" if the service keeps its \
             log safe in another way",
        );
    }
    let isolation: &str = column(&about, 4)?;
    if isolation != "read committed" {
        return refuse(format!(
            "gives this role transactions that are {isolation}: run ALTER ROLE … SET \
             default_transaction_isolation = 'read committed'"
        ));
    }
    Ok(())
}

fn refuse(reason: impl AsRef<str>) -> Result<()> {
    let message = format!("the PostgreSQL server {}", reason.as_ref()).into();
    Err(Error::Backend { message, cause: None })
}
