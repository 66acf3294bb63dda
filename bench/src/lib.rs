//! `mcp-event-store bench`: what the store costs, measured against what its database can do at all.
//!
//! Each measurement lets contenders take turns in one run, so that a noisy machine hits all alike:
//! this store, the **raw limit** of the same engine (same rows, same durability, driven as fast as
//! it goes), **bare group commits** (the same engine behind a mere queue of callers, with and without
//! a row for each stream), and a **naive store** that commits each event by itself. Read the ratios; the
//! absolute figures are those of one machine.
//!
//! Nothing is measured in the store that a URL names: the benchmark makes its own files, schema or
//! keys beside it, and removes them when it ends.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod aims;
mod compare;
mod effort;
mod engines;
mod group_commit;
mod machine;
#[cfg(test)]
mod made_up;
mod measure;
mod measurement;
mod messages;
mod numbers;
mod ours;
mod plots;
mod progress;
mod race;
mod report;
mod stats;
mod table;

use std::path::{Path, PathBuf};
use std::pin::Pin;

use anyhow::Context as _;

use effort::Effort;
use measure::Bench;

pub use measurement::{Measurement, UnknownMeasurement};
pub use report::{
    Append, Axis, Contender, EndToEnd, Follow, Growth, Machine, Memory, Replay, Report, Size,
    StoreReport, Sweep,
};
pub use stats::Spread;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// The URLs of the stores: each says where a store of the benchmark's own is to lie.
    pub stores: Vec<String>,
    /// Just enough to see that everything works; the figures mean little.
    pub quick: bool,
    /// What to measure; everything if it is empty.
    pub only: Vec<Measurement>,
    /// For growth, no more events and streams than this are stored.
    pub up_to: Option<u64>,
    /// The `mcp-event-store` command, for what needs a process of its own.
    pub program: PathBuf,
}

/// Measures the stores, one after the other.
///
/// # Errors
/// `InvalidInput` for a URL that cannot be, before anything is measured; the error of a store or
/// its engine; that `stop` came. What was stored is removed in either case.
pub async fn run(options: &Options, stop: impl Future<Output = ()>) -> anyhow::Result<Report> {
    let mut stop = std::pin::pin!(stop);
    for url in &options.stores {
        // What cannot be is said before a quarter of an hour has gone by.
        engines::open(url).await?.clean().await?;
    }
    let mut stores = Vec::new();
    for url in &options.stores {
        let what = || format!("measuring {}", engines::scheme(url));
        stores.push(store(options, url, stop.as_mut()).await.with_context(what)?);
    }
    Ok(Report {
        version: env!("CARGO_PKG_VERSION").into(),
        quick: options.quick,
        machine: Machine::here(Path::new("."))?,
        stores,
    })
}

async fn store(
    options: &Options,
    url: &str,
    stop: Pin<&mut impl Future<Output = ()>>,
) -> anyhow::Result<StoreReport> {
    let engine = engines::open(url).await?;
    let effort = if options.quick { Effort::quick() } else { Effort::full() };
    let wanted = |what: &Measurement| options.only.is_empty() || options.only.contains(what);
    let bench = Bench {
        engine: engine.as_ref(),
        effort: &effort.up_to(options.up_to),
        url,
        program: &options.program,
        is_quick: options.quick,
        is_alone: options.stores.len() == 1 && options.only == [Measurement::Memory],
    };
    let mut report = StoreReport {
        backend: engines::scheme(url).to_owned(),
        engine: engine.description().to_owned(),
        ..StoreReport::default()
    };
    let measured = async {
        for what in Measurement::ALL.into_iter().filter(wanted) {
            bench.measure(what, &mut report).await.with_context(|| what.to_string())?;
        }
        anyhow::Ok(())
    };
    let measured = tokio::select! {
        measured = measured => measured,
        () = stop => Err(anyhow::anyhow!("interrupted")),
    };
    // Tasks of what was broken off may still hold the store: whatever cannot be removed is named
    // only if nothing else went wrong.
    let cleaned = engine.clean().await.context("removing what the benchmark stored");
    measured.and(cleaned)?;
    Ok(report)
}
