//! The Redis backend against real servers: what the suite of all stores does not ask for.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod access;
mod accounting;
mod cluster;
mod common;
mod deleting;
mod faults;
mod limits;
mod losses;
mod opening;
mod sentinel;
mod short_way;
