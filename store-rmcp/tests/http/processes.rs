//! Servers that are killed, in processes of their own.

use reqwest::StatusCode;

use crate::support::process::{self, LEASE};
use crate::support::{Client, LATEST, Place, Process, Server, briefs};

on_lasting_stores!(
    c08_a_killed_servers_finished_call_is_resumed_on_another,
    c08_a_killed_servers_running_call_ends_with_an_error_once,
);

/// The child process of the other tests; by itself, a test that it lives and dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_serves_until_it_is_killed() {
    if let Some(url) = process::told_to_serve() {
        return process::serve(&url).await;
    }
    let child = Process::start(&Place::sqlite().await).await;
    let stranger = Client::stranger(&child.url);
    assert_eq!(stranger.initialize_raw().await.status(), StatusCode::OK);
    child.kill().await;
    assert!(stranger.get(None).send().await.is_err(), "it is gone");
}

async fn c08_a_killed_servers_finished_call_is_resumed_on_another(place: Place) {
    let mut first = Process::start(&place).await;
    let client = Client::connect_with(&first.url, LATEST).await;
    first.go(4).await;
    let all = client.call(1, "count", 3).await.rest().await;
    assert_eq!(briefs(&all), ["-", "1.0", "2.0", "3.0", "result"]);
    first.kill().await;
    let second = Server::start(&place.open().await).await;
    let rest = client.at(&second).resume(all[1].id()).await.rest().await;
    assert_eq!(rest[1..], all[2..]);
}

async fn c08_a_killed_servers_running_call_ends_with_an_error_once(place: Place) {
    let mut first = Process::start(&place).await;
    let client = Client::connect_with(&first.url, LATEST).await;
    let mut call = client.call(9, "count", 5).await;
    first.go(2).await;
    let seen = call.take(3).await;
    first.kill().await;
    let killed = std::time::Instant::now();
    let store = place.open().await;
    let second = Server::start_with(&store, process::config()).await;
    let third = Server::start_with(&store, process::config()).await;
    let (one, two) = (client.at(&second), client.at(&third));
    // Two followers on two instances; the later one takes over, and both instances watch.
    let mut overtaken = one.resume(seen[0].id()).await;
    overtaken.take(3).await;
    let rest = two.resume(seen[0].id()).await.rest().await;
    assert!(killed.elapsed() >= LEASE / 2, "its server might have lived");
    assert_eq!(briefs(&rest), ["-", "1.0", "2.0", "error"]);
    assert_eq!(rest[1..3], seen[1..3]);
    let error = rest[3].json();
    assert_eq!(error["id"], 9);
    assert_eq!(error["error"]["data"]["reason"], "interrupted");
    let again = one.resume(seen[2].id()).await.rest().await;
    assert_eq!(again[1..], rest[3..], "once");
}
