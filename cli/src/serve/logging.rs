//! Logs on standard error.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// rmcp stays silent by default: it logs session IDs in full, which are credentials.
const DEFAULT: &str = "warn,rmcp=off";

/// Starts logging, as `RUST_LOG` says.
pub(super) fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    // A second start, as in a test, finds logging started already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .try_init();
}
