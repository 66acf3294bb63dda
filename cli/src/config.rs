//! `mcp-event-store config`: what the configuration is, and whether a file is right.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use mcp_event_store::{Config, ConfigErrors, Entry, Origin};

use crate::report::print;

/// Show or check the configuration: what is kept, for how long, and what is refused.
#[derive(clap::Args)]
#[command(arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  mcp-event-store config show > events.toml      begin a file with every default in it
  mcp-event-store config check events.toml       see what is wrong with it, with line and key
  MCP_EVENT_STORE_STREAM_TTL=2h mcp-event-store config show --config events.toml";

#[derive(Subcommand)]
enum Command {
    /// Print the effective configuration as TOML, each value with its origin.
    #[command(after_help = SHOW)]
    Show {
        #[command(flatten)]
        sources: Sources,
    },
    /// Say everything that is wrong with a TOML file, or `ok`.
    #[command(after_help = CHECK)]
    Check {
        /// The file to check. Nothing else is read: neither the environment nor a URL.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

const SHOW: &str = "\
The origin of a value is one of
  default                          nothing set it
  default, fitted to KEY           nothing set it; its default moved to agree with KEY
  events.toml:3:14                 line 3, column 14 of that file
  environment variable NAME        such as MCP_EVENT_STORE_STREAM_TTL=2h
  URL query                        such as --store 'sqlite:///var/lib/mcp/events.db?stream_ttl=2h'
The output is a valid configuration file itself.";

const CHECK: &str = "\
Prints a line for each fault on stderr, and exits with 2, for example:
  error: events.toml:3:14: retention.stream_ttl: \"2 hrz\" is not a duration; write …";

/// Where a configuration comes from, beside the environment.
#[derive(clap::Args)]
pub(crate) struct Sources {
    /// A TOML file with [retention], [limits] and a section for each backend.
    #[arg(long, value_name = "FILE", env = "MCP_EVENT_STORE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The URL of a store, for the settings in its query. The store is not opened.
    #[arg(long, value_name = "URL", env = "MCP_EVENT_STORE_URL", hide_env_values = true)]
    pub(crate) store: Option<String>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Show { sources } => {
            let config = load(sources.config.as_deref(), sources.store.as_deref())?;
            print(&config.to_toml())
        }
        Command::Check { file } => {
            let config = mcp_event_store::config().file(&file).load()?;
            print(&summary(&file, &config))
        }
    }
}

/// The configuration from a file, the environment and the query of a URL.
pub(crate) fn load(file: Option<&Path>, url: Option<&str>) -> Result<Config, ConfigErrors> {
    let mut builder = mcp_event_store::config().process_environment();
    if let Some(file) = file {
        builder = builder.file(file);
    }
    if let Some(url) = url {
        builder = builder.url(url);
    }
    builder.load()
}

/// What a correct file sets, and which defaults move because of it.
fn summary(file: &Path, config: &Config) -> String {
    let is_set = |entry: &Entry<'_>| matches!(entry.origin, Origin::File { .. });
    let set = config.entries().filter(is_set).count();
    let all = config.entries().count();
    let mut text = format!("ok: {} sets {set} of {all} keys\n", file.display());
    for entry in config.entries() {
        if let Origin::Fitted { to } = entry.origin {
            let (path, value) = (entry.field.path(), entry.value_as_toml());
            // Writing to a String cannot fail.
            let _ = writeln!(text, "note: the default of {path} becomes {value} to fit {to}");
        }
    }
    text
}
