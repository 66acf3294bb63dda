//! A part of a database server for one test: a schema, a key prefix. It is emptied when the test
//! passes and stays when it fails.

use std::future::Future;
use std::thread;

use mcp_event_store_test_servers::{Postgres, Redis};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

/// A part of a server.
pub struct Emptied {
    url: String,
    empty: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Emptied {
    /// The URL of a store in it.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn new<F>(url: String, empty: impl FnOnce() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()>,
    {
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(empty());
        };
        Self { url, empty: Some(Box::new(run)) }
    }
}

impl Drop for Emptied {
    fn drop(&mut self) {
        if let Some(empty) = self.empty.take().filter(|_| !thread::panicking()) {
            // The test's own runtime may be at its end.
            thread::spawn(empty).join().unwrap();
        }
    }
}

fn with_query(url: &str, query: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{query}")
}

/// A schema of the shared server.
pub async fn postgres() -> Emptied {
    let server = Postgres::shared().await.unwrap().url();
    let schema = format!("http_{}", Uuid::new_v4().simple());
    let url = with_query(server, &format!("schema={schema}"));
    Emptied::new(url, move || async move {
        let mut connection = PgConnection::connect(server).await.unwrap();
        let drop = AssertSqlSafe(format!("DROP SCHEMA IF EXISTS {schema} CASCADE"));
        sqlx::raw_sql(drop).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    })
}

/// A key prefix of the shared server.
pub async fn redis() -> Emptied {
    let server = Redis::shared().await.unwrap().url();
    let prefix = format!("http-{}:", Uuid::new_v4().simple());
    let url = with_query(server, &format!("key_prefix={prefix}"));
    Emptied::new(url, move || async move {
        let client = redis::Client::open(server).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(1000);
            let (next, keys): (u64, Vec<Vec<u8>>) =
                scan.query_async(&mut connection).await.unwrap();
            for key in keys {
                redis::cmd("UNLINK").arg(key).exec_async(&mut connection).await.unwrap();
            }
            if next == 0 {
                return;
            }
            cursor = next;
        }
    })
}
