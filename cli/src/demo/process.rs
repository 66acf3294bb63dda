//! A server as a process of its own, which never outlives the demo.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use mcp_event_store::Error;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::report::BAD_INPUT;

/// Longer than a start takes on a slow disk.
const START: Duration = Duration::from_secs(10);
/// What `serve` prints before its address.
const LISTENING: &str = "listening on ";

/// A running `mcp-event-store serve`. Dropping it kills it.
pub(super) struct Server {
    child: Child,
    url: String,
    /// Kept open: a server whose output nobody takes would fail to print.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts a server on the store at `store_url` and waits until it listens.
    pub(super) async fn start(store_url: &str) -> anyhow::Result<Self> {
        let command = std::env::current_exe().context("cannot find this command's own file")?;
        let mut child = Command::new(command)
            .args(["serve", "--listen", "127.0.0.1:0", "--retry", "500ms"])
            // Not an argument: those are shown to every user of the machine.
            .env("MCP_EVENT_STORE_URL", store_url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a server process")?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        let started = timeout(START, stdout.read_line(&mut line)).await;
        started.context("the server did not start in time")??;
        let Some(url) = line.trim_end().strip_prefix(LISTENING) else {
            return Err(failure(&mut child).await?);
        };
        let url = url.to_owned();
        drain(&mut child);
        Ok(Self { child, url, _stdout: stdout })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Kills the server with SIGKILL, and says how it ended.
    pub(super) async fn kill(mut self) -> anyhow::Result<String> {
        let pid = self.pid();
        self.child.start_kill().context("cannot kill the server")?;
        let status = self.child.wait().await?;
        Ok(format!("process {pid} ended with {status}"))
    }
}

/// Why a server did not start, in its own words.
async fn failure(child: &mut Child) -> anyhow::Result<anyhow::Error> {
    let mut words = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        timeout(START, stderr.read_to_string(&mut words)).await??;
    }
    let status = timeout(START, child.wait()).await??;
    let words = words.trim().trim_start_matches("error: ").to_owned();
    Ok(if status.code() == Some(BAD_INPUT.into()) {
        Error::invalid("the server did not start", words).into()
    } else {
        anyhow!("the server did not start ({status}): {words}")
    })
}

/// Reads and forgets standard error, so that the server never waits to write to it.
fn drain(child: &mut Child) {
    if let Some(mut stderr) = child.stderr.take() {
        tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
    }
}
