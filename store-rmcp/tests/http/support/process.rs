//! A server in a process of its own, to be killed: this test binary once more.

use std::process::Stdio;
use std::time::Duration;

use mcp_event_store_rmcp::DurableSessionConfig;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::{Place, Server, within_deadline};

const STORE: &str = "MCP_EVENT_STORE_TEST_SERVE";

/// What begins the line that names the server; the test binary prints others.
const MARK: &str = "@@ ";

/// The lease of a process's requests: a killed one's are answered after it.
pub const LEASE: Duration = Duration::from_secs(2);

pub fn config() -> DurableSessionConfig {
    DurableSessionConfig::default().with_lease_ttl(LEASE)
}

/// A server process.
pub struct Process {
    child: Child,
    orders: ChildStdin,
    pub url: String,
}

impl Process {
    /// Starts a server on `place`.
    pub async fn start(place: &Place) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["processes::a_process_serves_until_it_is_killed", "--exact", "--nocapture"]);
        command.env(STORE, place.url()).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = within_deadline("a server process", async {
            loop {
                let line = lines.next_line().await.unwrap().expect("a line with its address");
                if let Some((_, url)) = line.split_once(MARK) {
                    return url.to_owned();
                }
            }
        });
        let url = url.await;
        let orders = child.stdin.take().unwrap();
        Self { child, orders, url }
    }

    /// Lets its tools take `steps` steps.
    pub async fn go(&mut self, steps: usize) {
        self.orders.write_all(format!("{steps}\n").as_bytes()).await.unwrap();
        self.orders.flush().await.unwrap();
    }

    /// Sends SIGKILL and waits for the end.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// The URL of the store that this process is to serve, if it is such a process.
pub fn told_to_serve() -> Option<String> {
    std::env::var(STORE).ok()
}

/// Serves the store at `url` until the process is killed, or its parent is gone.
pub async fn serve(url: &str) {
    let store = mcp_event_store::open(url).await.unwrap();
    let server = Server::start_with(&store, config()).await;
    println!("\n{MARK}{}", server.url());
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(steps) = orders.next_line().await.unwrap() {
        server.script.go(steps.parse().unwrap());
    }
}
