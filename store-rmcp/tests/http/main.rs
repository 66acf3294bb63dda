//! What a client sees, over real HTTP.
//!
//! Every test runs on every store that can, each with a place and servers of its own. Nothing
//! sleeps and hopes: the test's tools wait for the test's word, and the test waits for events, with
//! a deadline. The tests called c01 to c13 show the promises of `docs/mcp-servers.md`.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod support;

/// Emits the named tests once for each store.
macro_rules! on_every_store {
    ($($test:ident),* $(,)?) => {
        on_store!(memory: $($test)*);
        on_lasting_stores!($($test),*);
    };
}

/// Emits the named tests once for each store that outlives a process.
macro_rules! on_lasting_stores {
    ($($test:ident),* $(,)?) => {
        on_store!(sqlite: $($test)*);
        on_store!(postgres: $($test)*);
        on_store!(redis: $($test)*);
        on_store!(rocksdb: $($test)*);
    };
}

/// Emits the named tests for the store of one of [`support::Place`]'s constructors.
macro_rules! on_store {
    ($store:ident: $($test:ident)*) => {
        mod $store {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::support::Place::$store().await).await;
            })*
        }
    };
}

mod closing;
mod drain;
mod endings;
mod failover;
mod faults;
mod hostile;
mod limits;
mod load;
mod official_client;
mod principals;
mod processes;
mod questions;
mod resume;
mod sessionless;
mod sessions;
mod settings;
mod standalone;
mod verdicts;
mod versions;
