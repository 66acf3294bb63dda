//! What a client sees, over real HTTP.
//!
//! Every test runs on every store here. Nothing sleeps and hopes: the test's tools wait for the
//! test's word, and the test waits for events, with a deadline.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod support;

/// Emits the named tests once for each store.
macro_rules! on_every_store {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::support::Place::memory().await).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::support::Place::sqlite()).await;
            })*
        }
    };
}

mod endings;
mod faults;
mod load;
mod official_client;
mod resume;
mod sessionless;
mod sessions;
mod standalone;
mod versions;
