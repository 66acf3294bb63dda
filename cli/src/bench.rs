//! `mcp-event-store bench`: what a store costs, beside what its database can do at all.

mod joined;
mod output;

use std::env;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ArgGroup;
use mcp_event_store::Error;
use mcp_event_store_bench::{Measurement, Options};

use crate::config;
use crate::signals::Signals;
use output::Output;

/// Measure what a store costs, beside what its database can do at all.
///
/// In each measurement contenders take turns: this store; the raw limit, which is the same database
/// driven as fast as it goes with the same rows and the same durability; a bare group commit, which
/// is that database behind a mere queue, with as many callers as the store; the same with a row for
/// each stream, which is the least that a store has to keep; and a naive store, which commits each
/// event by itself. Read the ratios between them: a busy machine slows all alike, while
/// the absolute figures are only that machine's.
#[derive(clap::Args)]
#[command(
    group = ArgGroup::new("source").args(["stores", "from"]),
    after_help = SUMMARY,
    after_long_help = HELP
)]
pub(crate) struct Args {
    /// A store to measure. May be repeated; each gets rows of its own in the tables. Without it, and
    /// without --from, the one in the environment variable `MCP_EVENT_STORE_URL`.
    #[arg(long = "store", value_name = "URL")]
    stores: Vec<String>,
    /// Instead of measuring, read reports that were written with --json, and join them. Of two
    /// reports that measured the same of one kind of store, the later one counts.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["quick", "only", "up_to"])]
    from: Vec<PathBuf>,
    /// See in a short time whether everything works. The figures mean little.
    #[arg(long)]
    quick: bool,
    /// Measure only this: append, requests, replay, follow, size, sweep, memory, growth or
    /// end-to-end. Several are separated by commas.
    #[arg(long, value_name = "MEASUREMENT", value_delimiter = ',')]
    only: Vec<Measurement>,
    /// For growth, store no more events and streams than this. All of it stores eleven million
    /// events, some ten gigabytes.
    #[arg(long, value_name = "COUNT")]
    up_to: Option<u64>,
    #[command(flatten)]
    output: Output,
}

const SUMMARY: &str = "`--help` shows examples, and what each measurement is.";

const HELP: &str = "\
Examples:
  mcp-event-store bench --store sqlite:///var/tmp/bench.db --quick
      See within a minute or so that all of it works
  mcp-event-store bench --store sqlite:///var/tmp/bench.db --json sqlite.json
      Measure SQLite on the disk of /var/tmp, and keep the report
  mcp-event-store bench --store postgres://postgres@127.0.0.1/postgres --only append,requests
      Measure two things of PostgreSQL
  mcp-event-store bench --from sqlite.json postgres.json --plots docs/benchmarks
      Draw the tables and plots of both reports, without measuring anything

Measurements:
  append      events a second on long streams, by the number of streams and the size of messages
  requests    requests a second, each a stream of its own with a priming event, a progress
              notification and a response
  replay      events a second of a resumed stream
  follow      time from append to delivery, on the same instance and across instances
  size        bytes that an event takes up
  sweep       events swept away a second, and what that does to appends
  memory      memory of an idle follower, and of a long replay
  growth      costs by what is stored already
  end-to-end  tool calls a second of `serve`, against the same server with the store in memory, and
              without a store

Nothing that is in a store already is touched: the benchmark makes files, a schema or keys of its
own beside it, and removes them in the end. It wants the machine for itself, and the database too.

Progress goes to standard error, results to standard output.";

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let from = args.from;
    let output = args.output.check()?;
    let report = if from.is_empty() {
        let stores = stores(args.stores)?;
        for url in &stores {
            mcp_event_store::check_scheme(url)?;
            config::load(None, Some(url))?;
        }
        let program = env::current_exe().context("cannot find this command's own file")?;
        let (quick, only, up_to) = (args.quick, args.only, args.up_to);
        let mut signals = Signals::new()?;
        let options = Options { stores, quick, only, up_to, program };
        mcp_event_store_bench::run(&options, signals.stop_requested()).await?
    } else {
        joined::read(&from)?
    };
    output.write(&report)
}

/// The stores that were given, or the one of the environment.
fn stores(given: Vec<String>) -> Result<Vec<String>, Error> {
    if !given.is_empty() {
        return Ok(given);
    }
    let none = |_| Error::invalid("--store", "is missing: give the URL of a store to measure");
    Ok(vec![env::var("MCP_EVENT_STORE_URL").map_err(none)?])
}
