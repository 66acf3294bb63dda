//! The proxy passes bytes on, and cuts connections where it says.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::net::SocketAddr;

use common::{answer, request, resp};
use mcp_event_store_test_servers::{Cut, Proxy, Redis, Spotter};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Spots INCR, also when it comes in pieces.
fn incr_spotter() -> Spotter {
    let mut seen = Vec::new();
    Box::new(move |bytes| {
        seen.extend_from_slice(bytes);
        let found = seen.windows(4).any(|four| four == b"INCR");
        if found {
            seen.clear();
        }
        found
    })
}

struct Setting {
    server: Redis,
    proxy: Proxy,
}

impl Setting {
    async fn new() -> Self {
        let server = Redis::own(&[]).await.unwrap();
        let proxy = Proxy::to(server.address(), incr_spotter).await.unwrap();
        Self { server, proxy }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.proxy.address()).await.unwrap()
    }

    async fn stored(&self) -> String {
        stored(self.server.address()).await
    }
}

async fn stored(address: SocketAddr) -> String {
    resp(address, &["GET", "n"]).await
}

async fn say(connection: &mut TcpStream, command: &[&str]) -> String {
    // A dead connection may refuse the bytes already.
    let _ = connection.write_all(&request(command)).await;
    answer(connection).await
}

#[tokio::test]
async fn passes_everything_on_when_nothing_is_cut() {
    let setting = Setting::new().await;
    let mut connection = setting.connect().await;
    assert_eq!(say(&mut connection, &["INCR", "n"]).await, ":1");
    let long = "x".repeat(5 << 20);
    assert_eq!(say(&mut connection, &["SET", "long", &long]).await, "+OK");
    assert_eq!(say(&mut connection, &["STRLEN", "long"]).await, format!(":{}", long.len()));
}

#[tokio::test]
async fn cuts_the_request_before_the_server_has_it_once() {
    let setting = Setting::new().await;
    let mut connection = setting.connect().await;
    setting.proxy.cut(Cut::Request);
    assert_eq!(say(&mut connection, &["PING"]).await, "+PONG", "not a write");
    assert_eq!(say(&mut connection, &["INCR", "n"]).await, "");
    assert_eq!(setting.stored().await, "$-1", "the server must not have got it");
    let mut again = setting.connect().await;
    assert_eq!(say(&mut again, &["INCR", "n"]).await, ":1");
}

#[tokio::test]
async fn cuts_a_request_that_comes_in_pieces() {
    let setting = Setting::new().await;
    let mut connection = setting.connect().await;
    connection.set_nodelay(true).unwrap();
    setting.proxy.cut(Cut::Request);
    let bytes = request(&["INCR", "n"]);
    for piece in bytes.chunks(3) {
        let _ = connection.write_all(piece).await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(answer(&mut connection).await, "");
    assert_eq!(setting.stored().await, "$-1");
}

#[tokio::test]
async fn cuts_the_answer_after_the_server_did_it_once() {
    let setting = Setting::new().await;
    let mut connection = setting.connect().await;
    setting.proxy.cut(Cut::Answer);
    assert_eq!(say(&mut connection, &["PING"]).await, "+PONG", "not a write");
    assert_eq!(say(&mut connection, &["INCR", "n"]).await, "");
    assert_eq!(setting.stored().await, "$1\r\n1", "the server must have done it");
    let mut again = setting.connect().await;
    assert_eq!(say(&mut again, &["INCR", "n"]).await, ":2");
}

#[tokio::test]
async fn an_answer_to_an_earlier_request_does_not_undo_the_write() {
    let setting = Setting::new().await;
    for round in 1..=50 {
        let mut connection = setting.connect().await;
        setting.proxy.cut(Cut::Answer);
        let mut bytes = request(&["PING"]).repeat(100);
        bytes.extend(request(&["INCR", "n"]));
        connection.write_all(&bytes).await.unwrap();
        while !answer(&mut connection).await.is_empty() {}
        let expected = format!("{round}");
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        while !setting.stored().await.ends_with(&expected) {
            assert!(tokio::time::Instant::now() < deadline, "round {round} was lost");
        }
    }
}

#[tokio::test]
async fn nothing_gets_through_while_it_is_down() {
    let setting = Setting::new().await;
    let (mut one, mut other) = (setting.connect().await, setting.connect().await);
    assert_eq!(say(&mut one, &["INCR", "n"]).await, ":1");
    assert_eq!(say(&mut other, &["INCR", "n"]).await, ":2");
    setting.proxy.cut(Cut::Down);
    for connection in [&mut one, &mut other, &mut setting.connect().await] {
        assert_eq!(say(connection, &["INCR", "n"]).await, "");
    }
    setting.proxy.mend();
    assert_eq!(say(&mut one, &["INCR", "n"]).await, "", "a dead connection stays dead");
    assert_eq!(say(&mut setting.connect().await, &["INCR", "n"]).await, ":3");
}

#[tokio::test]
async fn mending_forgets_a_cut_that_did_not_strike() {
    let setting = Setting::new().await;
    setting.proxy.cut(Cut::Request);
    setting.proxy.mend();
    assert_eq!(say(&mut setting.connect().await, &["INCR", "n"]).await, ":1");
}

#[tokio::test]
async fn ends_when_it_is_dropped() {
    let Setting { server, proxy } = Setting::new().await;
    let address = proxy.address();
    let mut connection = TcpStream::connect(address).await.unwrap();
    assert_eq!(say(&mut connection, &["INCR", "n"]).await, ":1");
    drop(proxy);
    assert_eq!(say(&mut connection, &["INCR", "n"]).await, "");
    assert_eq!(stored(server.address()).await, "$1\r\n1");
}
