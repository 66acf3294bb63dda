//! How these tests speak to servers.
#![allow(dead_code)] // Each test binary uses some of it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use sqlx::{Connection, PgConnection, Row};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The first field of the first row as text; empty if there is no row.
pub(crate) async fn ask(url: &str, query: &str) -> String {
    let mut connection = PgConnection::connect(url).await.expect("a connection");
    let row = sqlx::raw_sql(sqlx::AssertSqlSafe(query)).fetch_optional(&mut connection).await;
    let answer = row.expect("an answer").map(|row| row.get_unchecked::<String, _>(0));
    answer.unwrap_or_default()
}

pub(crate) async fn insert(url: &str, id: usize) {
    ask(url, &format!("INSERT INTO kept VALUES ({id})")).await;
}

pub(crate) async fn count(url: &str) -> usize {
    ask(url, "SELECT count(*) FROM kept").await.parse().expect("a number")
}

/// Sends one command to a Redis server; gives what it answered at first, the lines joined.
pub(crate) async fn resp(address: SocketAddr, command: &[&str]) -> String {
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    connection.write_all(&request(command)).await.expect("a sent command");
    answer(&mut connection).await
}

pub(crate) fn request(command: &[&str]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", command.len());
    for word in command {
        let _ = write!(request, "${}\r\n{word}\r\n", word.len());
    }
    request.into_bytes()
}

/// Empty if the connection is dead.
pub(crate) async fn answer(connection: &mut TcpStream) -> String {
    let mut buffer = [0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(20), connection.read(&mut buffer)).await;
    let length = read.expect("an answer, or an end, in time").unwrap_or(0);
    String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned()
}

/// Polls until it holds; panics with what was waited for.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
