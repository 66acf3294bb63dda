//! No statement may scan a table that grows: SQLite's own plans are the witness.

use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use crate::batch::write_sql;
use crate::config::SqliteOptions;
use crate::connect::connect;
use crate::{append, batch, read, sessions, sweep};

/// A database with some rows, and without the statistics of `ANALYZE`, as in production.
async fn database() -> (tempfile::TempDir, SqliteConnection) {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::default();
    let path = folder.path().join("plans.db");
    let connections = connect(&path, &options, mcp_event_store_core::Durability::Relaxed).await;
    let mut writer = connections.unwrap().writer;
    let rows = "
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
        INSERT INTO streams SELECT i, randomblob(16), 's' || (i % 50), 'n' || i, 1, 1, 1, NULL, 0,
            100, 1, 1, 1, i % 3, 0, NULL, NULL, 0, 0, i, 1, 0 FROM n;
        INSERT INTO events SELECT id, 1, 1, 1, 1, NULL, '{}' FROM streams;
        INSERT INTO sessions SELECT DISTINCT session, '{}', 1, NULL, 1, 1, 1, 0 FROM streams;";
    sqlx::raw_sql(rows).execute(&mut writer).await.unwrap();
    (folder, writer)
}

/// The steps of the plan for each statement of `sql`.
async fn plan(connection: &mut SqliteConnection, sql: &str) -> Vec<String> {
    let mut steps = Vec::new();
    for statement in sql.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        if ["BEGIN", "COMMIT"].iter().any(|word| statement.starts_with(word)) {
            continue;
        }
        let explain = format!("EXPLAIN QUERY PLAN {statement}");
        let rows = sqlx::query(AssertSqlSafe(explain)).fetch_all(&mut *connection).await.unwrap();
        steps.extend(rows.iter().map(|row| row.get::<String, _>(3)));
    }
    steps
}

#[tokio::test]
async fn no_statement_scans_a_growing_table() {
    let (_folder, mut connection) = database().await;
    let mut statements = vec![write_sql!()];
    statements.extend(append::STATEMENTS);
    statements.extend(batch::STATEMENTS);
    statements.extend(read::STATEMENTS);
    statements.extend(sessions::STATEMENTS);
    statements.extend(sweep::STATEMENTS);
    for sql in statements {
        for step in plan(&mut connection, sql).await {
            let scans =
                ["streams", "events", "sessions", "s", "e", "x", "n"].map(|t| format!("SCAN {t}"));
            let is_scan = scans.iter().any(|scan| {
                step == *scan || step.starts_with(&format!("{scan} ")) && !step.contains("INDEX")
            });
            assert!(!is_scan, "{step}\nin the plan of\n{sql}");
        }
    }
}
