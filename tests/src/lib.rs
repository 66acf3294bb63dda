//! The compliance suite of `mcp-event-store`: every promise of the `EventStore` contract as one
//! named test, for any store.
//!
//! A store author implements [`Harness`] and calls [`compliance_suite!`] in an integration test;
//! `cargo test` then lists each rule by name. What a store does not offer shows as ignored with
//! the reason, never as passed. [`run_check`] runs one check without a test, and [`CHECKS`] lists
//! all of them.
//!
//! Each test makes a scope of its own, removes it when it passes, and keeps it and says where when
//! it fails. Time is moved by a [`Clock`](mcp_event_store_core::Clock), not slept. Environment
//! variables that begin with `MCP_EVENT_STORE_TEST_` are how a test talks to its own child
//! processes.

#![deny(dead_code)] // A check that is not in the registry is dead code.
#![allow(clippy::unwrap_used, clippy::expect_used)] // All of it is test code.
#![allow(clippy::duration_suboptimal_units)] // Checks compare seconds with seconds.

mod checks;
mod context;
mod disguise;
mod failure;
mod follower;
mod harness;
mod instance;
mod need;
mod process;
mod registry;
mod runner;
mod suite_macro;
mod tools;

pub use async_trait::async_trait;
pub use failure::{Failure, FailureKind};
pub use harness::{Cut, Harness, HarnessError, Opened};
pub use need::Need;
pub use registry::{CHECKS, Check, check};
pub use runner::{in_own_process, run, run_check};

pub(crate) use registry::__statics;
