//! The `mcp-event-store` command.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod bench;
mod config;
mod demo;
mod report;
mod serve;
mod signals;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Durable, resumable SSE streams for MCP servers.
///
/// An MCP server that speaks Streamable HTTP may close the connection of a running request; the
/// client comes back with Last-Event-ID and expects every message that it missed, from whichever
/// server it reaches. This command shows that working, checks the configuration behind it,
/// and measures what it costs.
#[derive(Parser)]
#[command(
    name = "mcp-event-store",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = SUMMARY,
    after_long_help = HELP
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const SUMMARY: &str = "Start with `mcp-event-store demo`; `--help` says more than `-h`.";

const HELP: &str = "\
Examples:
  mcp-event-store demo
      See a client resume, without loss, after its server was killed
  mcp-event-store serve --store sqlite:///var/lib/mcp/events.db --listen 127.0.0.1:8000
      Serve a small MCP server at http://127.0.0.1:8000/mcp
  mcp-event-store config show --config events.toml
      Show every setting, its value, and where that came from
  mcp-event-store bench --store sqlite:///var/tmp/bench.db --quick
      Measure what the store costs, beside what its database can do at all

Stores:
  memory://                         nothing survives the process; for trying out and for tests
  sqlite://PATH                     one file, on one machine
  postgres://USER:PASSWORD@HOST/DB  PostgreSQL, for any number of servers
  redis://HOST, rediss://HOST       Redis or Valkey, for any number of servers; also
                                    redis+cluster://H1,H2 and redis+sentinel://H1,H2/MASTER
  rocksdb://PATH                    a directory of one process on one machine
  Each but memory:// is a feature of this command's build: sqlite (on by default), postgres,
  redis, rocksdb.

Configuration, each overriding the one before:
  defaults < TOML file < environment (MCP_EVENT_STORE_STREAM_TTL=2h) < URL (?stream_ttl=2h)

Exit codes:
  0  it worked
  1  it failed while it ran: the store could not be reached, the demo lost an event
  2  wrong usage, input or configuration: trying again will not help

An error is one line on stderr that begins with `error:`; a configuration with several faults gives
a line for each. Passwords and the query of a URL are never printed.";

#[derive(Subcommand)]
enum Command {
    Serve(serve::Args),
    Demo(demo::Args),
    Config(config::Args),
    Bench(bench::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return report::usage(&error),
    };
    let result = match cli.command {
        Command::Serve(args) => serve::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Config(args) => config::run(args),
        Command::Bench(args) => bench::run(args).await,
    };
    report::exit_code(result)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        super::Cli::command().debug_assert();
    }
}
