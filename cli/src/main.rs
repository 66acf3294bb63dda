//! The `mcp-event-store` command.

mod config;
mod demo;
mod serve;

use clap::{Parser, Subcommand};

/// Durable, resumable SSE streams for MCP servers.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Args),
    Demo(demo::Args),
    Config(config::Args),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve(args) => serve::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Config(args) => config::run(args),
    }
}
