//! The stores of this project as scopes of the suite.

#![allow(dead_code)] // Each test binary uses one of them.
#![allow(clippy::unwrap_used)]

pub(crate) mod link;
pub(crate) mod memory;
pub(crate) mod postgres;
mod postgres_wire;
pub(crate) mod redis;
pub(crate) mod rocksdb;
pub(crate) mod sqlite;
