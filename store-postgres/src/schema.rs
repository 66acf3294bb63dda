//! The schema and its versions: SQL files compiled in, applied in order in one transaction under a
//! lock.

use mcp_event_store_core::{Error, Result};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use crate::error::classify;
use crate::names::Names;
use crate::server::column;

/// The functions of which a statement is taken, as the newest version has them.
pub(crate) const EXTEND: &str = include_str!("schema/0001_extend.sql");
pub(crate) const EXTEND_ONE: &str = include_str!("schema/0001_extend_one.sql");

/// What version 1, 2 … adds. Released files never change.
const MIGRATIONS: &[&[&str]] = &[&[
    include_str!("schema/0001_tables.sql"),
    include_str!("schema/0001_common.sql"),
    EXTEND,
    EXTEND_ONE,
    include_str!("schema/0001_start.sql"),
    include_str!("schema/0001_append.sql"),
    include_str!("schema/0001_read.sql"),
    include_str!("schema/0001_leases.sql"),
    include_str!("schema/0001_sessions.sql"),
    include_str!("schema/0001_sweep.sql"),
]];

const TABLES: [&str; 7] = ["meta", "totals", "sweeps", "sessions", "streams", "events", "garbage"];

/// Names the advisory locks of migrations among those of other applications: "MCES".
const LOCK_CLASS: i32 = 0x4d43_4553;

/// Brings the database to this version's schema.
///
/// # Errors
/// `InvalidInput` if a newer version made the schema; `Backend` for a missing right.
pub(crate) async fn migrate(connection: &mut PgConnection, names: &Names) -> Result<()> {
    if version(connection, names).await? == Some(MIGRATIONS.len()) {
        return Ok(());
    }
    // Under READ COMMITTED each statement sees what others committed while this one waited.
    let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
    let mut tx = connection.begin_with(begin).await.map_err(classify)?;
    let lock = sqlx::raw_sql(AssertSqlSafe(format!(
        "SELECT pg_advisory_xact_lock({LOCK_CLASS}, hashtext('{}'))",
        names.scope()
    )));
    lock.execute(&mut *tx).await.map_err(classify)?;
    create_schema(&mut tx, names).await?;
    let applied = version(&mut tx, names).await?.unwrap_or(0);
    for (step, files) in MIGRATIONS.iter().enumerate().skip(applied) {
        for sql in *files {
            let sql = AssertSqlSafe(names.fill_in(sql));
            sqlx::raw_sql(sql).execute(&mut *tx).await.map_err(of_migration)?;
        }
        let mark = names.fill_in(&format!(
            "INSERT INTO {{meta}} (version) VALUES ({version})
             ON CONFLICT (one) DO UPDATE SET version = excluded.version",
            version = step + 1
        ));
        sqlx::raw_sql(AssertSqlSafe(mark)).execute(&mut *tx).await.map_err(of_migration)?;
    }
    tx.commit().await.map_err(classify)
}

/// Checks that the role may do what every operation does: it need not be the one that made the
/// tables.
pub(crate) async fn check_rights(connection: &mut PgConnection, names: &Names) -> Result<()> {
    let tables = TABLES.map(|table| format!("('{}')", names.qualified(table))).join(",");
    let rights = ["SELECT", "INSERT", "UPDATE", "DELETE"];
    let has = rights.map(|right| format!("has_table_privilege(t, '{right}')")).join(" AND ");
    let lacking =
        format!("SELECT string_agg(t, ', ') FROM (VALUES {tables}) AS v (t) WHERE NOT ({has})");
    let lacking = sqlx::raw_sql(AssertSqlSafe(lacking)).fetch_one(connection).await;
    match column::<Option<&str>>(&lacking.map_err(of_migration)?, 0)? {
        None => Ok(()),
        Some(tables) => {
            let message = format!(
                "this PostgreSQL role may not read and write {tables}: run GRANT SELECT, INSERT, \
                 UPDATE, DELETE ON ALL TABLES IN SCHEMA {} for it",
                names.quoted_schema()
            );
            Err(Error::Backend { message: message.into(), cause: None })
        }
    }
}

/// The version of the schema that is there, if there is one.
async fn version(connection: &mut PgConnection, names: &Names) -> Result<Option<usize>> {
    let exists = format!("SELECT to_regclass('{}') IS NOT NULL", names.qualified("meta"));
    let exists = sqlx::raw_sql(AssertSqlSafe(exists)).fetch_one(&mut *connection).await;
    if !column::<bool>(&exists.map_err(of_migration)?, 0)? {
        return Ok(None);
    }
    let version = names.fill_in("SELECT version FROM {meta}");
    let version = sqlx::raw_sql(AssertSqlSafe(version)).fetch_one(connection).await;
    let version: i64 = column(&version.map_err(of_migration)?, 0)?;
    let known = MIGRATIONS.len();
    match usize::try_from(version) {
        Ok(version) if version <= known => Ok(Some(version)),
        _ => {
            let reason = format!(
                "has version {version}, and this program knows {known} at most: use the newer \
                 program"
            );
            Err(Error::invalid("postgres schema", reason))
        }
    }
}

/// Creates the schema if it is missing. Even `IF NOT EXISTS` would need the right to create one.
async fn create_schema(connection: &mut PgConnection, names: &Names) -> Result<()> {
    let exists = format!("SELECT to_regnamespace('{}') IS NOT NULL", names.quoted_schema());
    let exists = sqlx::raw_sql(AssertSqlSafe(exists)).fetch_one(&mut *connection).await;
    if column(&exists.map_err(classify)?, 0)? {
        return Ok(());
    }
    let create = format!("CREATE SCHEMA {}", names.quoted_schema());
    let created = sqlx::raw_sql(AssertSqlSafe(create)).execute(connection).await;
    created.map(drop).map_err(|error| {
        let schema = names.quoted_schema();
        let message = format!(
            "the schema {schema} is missing and this role may not create it: run CREATE SCHEMA \
             {schema} AUTHORIZATION followed by the role, or choose one of the role's own with \
             ?schema="
        );
        refusal(error, message)
    })
}

fn of_migration(error: sqlx::Error) -> Error {
    let message = "this PostgreSQL role may not create or read the store's tables: run GRANT USAGE, \
                   CREATE ON SCHEMA for it, or GRANT the rights that `Rights` in docs/postgres.md \
                   lists";
    refusal(error, message.to_owned())
}

/// `message` for a missing right, and what the error itself says otherwise.
fn refusal(error: sqlx::Error, message: String) -> Error {
    let code = error.as_database_error().and_then(|e| e.code().map(std::borrow::Cow::into_owned));
    if code.as_deref() == Some("42501") { Error::backend(message, error) } else { classify(error) }
}
