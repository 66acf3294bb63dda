//! A server with scripted tools, and a client that shows what is on the wire.

mod client;
mod fault;
mod place;
pub mod process;
mod proxy;
mod server;
mod servers;
mod tools;

use std::time::Duration;

pub use client::{Client, Event, LATEST, Sse, briefs, refusal, request};
pub use fault::{Fault, Mode};
pub use place::Place;
pub use process::Process;
pub use proxy::Proxy;
pub use server::{Server, USER, serve};
pub use tools::{Script, Tools};

/// Longer than anything here takes on a busy machine; reached only by a failing test.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Waits for `future`, but not for ever.
pub async fn within_deadline<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(DEADLINE, what, future).await
}

/// Waits for `future` as long as `limit`.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen within {limit:?}"))
}

/// Looks again and again until `done`, but not for ever.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    within_deadline(what, async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
