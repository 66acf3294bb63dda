//! The compliance suite of `mcp-event-store`: every promise of the `EventStore` contract as one
//! named test, for any store.
//!
//! A store author implements [`Harness`] and calls [`compliance_suite!`] in an integration test;
//! `cargo test` then lists each rule by name. What a store does not offer shows as ignored with
//! the reason, never as passed. [`run_check`] runs one check without a test, and [`CHECKS`] lists
//! all of them. [`proof_suite!`] adds the proofs: random scripts against a reference model,
//! processes and servers that are killed, and histories of several instances.
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
mod crash;
mod disguise;
mod failure;
mod follower;
mod harness;
mod history;
mod instance;
mod model;
mod need;
mod process;
mod proofs;
mod registry;
mod runner;
mod suite_macro;
mod tools;

pub use async_trait::async_trait;
pub use failure::{Failure, FailureKind};
pub use harness::{Cut, Harness, HarnessError, Opened};
pub use need::Need;
pub use proofs::PROOFS;
pub use registry::{CHECKS, Check, check};
pub use runner::{in_own_process, run, run_check};

pub(crate) use proofs::__proof_statics;
pub(crate) use registry::__statics;
