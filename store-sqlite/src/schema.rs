//! The schema and its versions: SQL files compiled in, applied in order in one transaction.

use mcp_event_store_core::{Error, Result};
use sqlx::{Connection, Row, SqliteConnection};

use crate::error::classify;

/// What version 1, 2 … adds. Released files never change.
const MIGRATIONS: &[&str] = &[include_str!("schema/0001_initial.sql")];

/// "MCES": marks the file as an event store's, for `file(1)` and against opening another's.
const APPLICATION_ID: i64 = 0x4d43_4553;

/// Brings the database to this version's schema.
///
/// # Errors
/// `InvalidInput` if a newer version wrote the file, or if it is another application's.
pub(crate) async fn migrate(connection: &mut SqliteConnection) -> Result<()> {
    // The lock lets several processes start at once on an empty file.
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.map_err(classify)?;
    let version = pragma(&mut tx, "PRAGMA user_version").await?;
    let application = pragma(&mut tx, "PRAGMA application_id").await?;
    let tables = pragma(&mut tx, "SELECT count(*) FROM sqlite_master").await?;
    let applied = usize::try_from(version).unwrap_or(usize::MAX);
    if applied > MIGRATIONS.len() && application == APPLICATION_ID {
        let reason = format!(
            "has schema version {version}, and this program knows {} at most: use the newer program",
            MIGRATIONS.len()
        );
        return Err(Error::invalid("sqlite file", reason));
    }
    if application != APPLICATION_ID && (tables > 0 || version != 0) {
        let reason = "is a SQLite database of another application: choose another file";
        return Err(Error::invalid("sqlite file", reason));
    }
    for sql in &MIGRATIONS[applied..] {
        sqlx::raw_sql(*sql).execute(&mut *tx).await.map_err(classify)?;
    }
    if applied < MIGRATIONS.len() {
        let marks = format!(
            "PRAGMA user_version = {}; PRAGMA application_id = {APPLICATION_ID}",
            MIGRATIONS.len()
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(marks)).execute(&mut *tx).await.map_err(classify)?;
    }
    tx.commit().await.map_err(classify)
}

async fn pragma(connection: &mut SqliteConnection, sql: &'static str) -> Result<i64> {
    let row = sqlx::query(sql).fetch_one(connection).await.map_err(classify)?;
    row.try_get(0).map_err(classify)
}
