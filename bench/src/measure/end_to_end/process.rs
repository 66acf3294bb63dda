//! `mcp-event-store serve` as a process, which never outlives the benchmark.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use mcp_event_store::Error;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Longer than a start takes on a slow disk.
const START: Duration = Duration::from_secs(30);
/// What `serve` prints before its address.
const LISTENING: &str = "listening on ";
/// Its exit code for wrong input.
const BAD_INPUT: i32 = 2;

/// Variables that would change what one of the two servers does, but not the rest of the benchmark.
const NOT_INHERITED: [&str; 2] = ["MCP_EVENT_STORE_URL", "MCP_EVENT_STORE_CONFIG"];

/// A running server. Dropping it kills it.
pub(super) struct Server {
    child: Child,
    url: String,
    /// Kept open: a server whose output nobody takes would fail to print.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts a server on the store at `store_url`, and waits until it listens.
    pub(super) async fn with_store(command: &Path, store_url: &str) -> anyhow::Result<Self> {
        let mut serve = serve(command);
        // Not an argument: those are shown to every user of the machine.
        serve.env("MCP_EVENT_STORE_URL", store_url);
        Self::start(serve).await
    }

    /// Starts a server that stores nothing, and waits until it listens.
    pub(super) async fn without_store(command: &Path) -> anyhow::Result<Self> {
        let mut serve = serve(command);
        serve.arg("--without-store");
        Self::start(serve).await
    }

    async fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.spawn().context("cannot start a server process")?;
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

    /// Where the MCP server is: `http://127.0.0.1:PORT/mcp`.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Returns once the process has ended.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("cannot kill the server")
    }
}

fn serve(command: &Path) -> Command {
    let mut serve = Command::new(command);
    serve.args(["serve", "--listen", "127.0.0.1:0"]);
    serve.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    serve.kill_on_drop(true);
    for name in NOT_INHERITED {
        serve.env_remove(name);
    }
    serve
}

/// Why a server did not start, in its own words.
async fn failure(child: &mut Child) -> anyhow::Result<anyhow::Error> {
    let mut words = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        timeout(START, stderr.read_to_string(&mut words)).await??;
    }
    let status = timeout(START, child.wait()).await??;
    let words = words.trim().trim_start_matches("error: ").to_owned();
    Ok(if status.code() == Some(BAD_INPUT) {
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
