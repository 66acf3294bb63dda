//! `mcp-event-store bench`: what the store costs, measured against what its database can do at all.
//!
//! Each measurement lets contenders take turns in one run, so that a noisy machine hits all alike:
//! this store, the **raw limit** of the same engine (same rows, same durability, driven as fast as
//! it goes), and a **naive store** that commits each event by itself. Read the ratios; the absolute
//! figures are those of one machine.
//!
//! Nothing is measured in the store that a URL names: the benchmark makes its own files, schema or
//! keys beside it, and removes them when it ends.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod machine;
mod progress;
mod race;
mod report;
mod stats;

pub use report::{
    Append, Axis, Contender, EndToEnd, Follow, Growth, Machine, Memory, Replay, Report, Size,
    StoreReport, Sweep,
};
pub use stats::Spread;
