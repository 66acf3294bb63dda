//! `mcp-event-store serve`: a small but real MCP server, durable through and through.

pub(crate) mod health;
mod logging;
mod tools;
mod without_store;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use mcp_event_store::{Error, Store};
use mcp_event_store_rmcp::{DurableSessionConfig, DurableSessionManager};
use rmcp::transport::StreamableHttpServerConfig;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::report::print;
use crate::signals::Signals;

/// Serve a small MCP server whose streams survive lost connections, restarts and crashes.
///
/// Its tools are `echo`; `count`, which sends a progress notification a step; and
/// `test_reconnection`, which hangs up on its client before it answers: enough to see one resume
/// with Last-Event-ID. Several servers may share one store.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where events and sessions are stored.
    #[arg(
        long,
        value_name = "URL",
        env = "MCP_EVENT_STORE_URL",
        hide_env_values = true,
        default_value = "sqlite://mcp-events.db"
    )]
    store: String,
    /// The address to listen on; with port 0, a free one.
    #[arg(
        long,
        value_name = "ADDR",
        env = "MCP_EVENT_STORE_LISTEN",
        default_value = "127.0.0.1:8000"
    )]
    listen: String,
    /// A TOML file with [retention], [limits] and a section for each backend.
    #[arg(long, value_name = "FILE", env = "MCP_EVENT_STORE_CONFIG")]
    config: Option<PathBuf>,
    /// How long a client waits before it reconnects.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = retry)]
    retry: Duration,
    /// Another host name under which clients may reach this server. May be repeated.
    #[arg(long = "allow-host", value_name = "HOST")]
    hosts: Vec<String>,
    /// A web page's origin that may use this server, such as `https://app.example.com`. May
    /// be repeated; pages from this machine always may.
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// Serve the same tools as rmcp does it by itself. Nothing is stored, and nothing can be
    /// resumed: this is what `bench` compares with.
    #[arg(long, hide = true, conflicts_with_all = ["store", "config"])]
    without_store: bool,
}

const EXAMPLES: &str = "\
Endpoints:
  /mcp       the MCP server (Streamable HTTP)
  /healthz   200 while the store answers, 503 when it does not

Logs go to standard error; RUST_LOG=mcp_event_store_rmcp=debug shows each resume.
SIGTERM and SIGINT stop the server in good order: clients are sent away to come back elsewhere, and
running calls get 3 s to finish. A second signal stops it at once.";

/// How long a stop may take before it is cut short.
const GRACE: Duration = Duration::from_secs(15);

/// How long running calls may take to finish, while their clients follow them on other servers.
const DRAIN: Duration = Duration::from_secs(3);

/// How long a connection may take to end. A client that stalls in the middle of a request must not
/// keep the others' last events from being stored.
const CONNECTIONS_GRACE: Duration = Duration::from_secs(5);

/// Origins of web pages from this machine.
const LOCAL_ORIGINS: [&str; 3] = ["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"];

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    logging::start();
    if args.without_store {
        return without_store::serve(&args).await;
    }
    let settings = config::load(args.config.as_deref(), Some(&args.store))?;
    let store = mcp_event_store::open_with(&args.store, &settings).await?;
    let served = serve(&args, &store).await;
    let closed = store.maintenance().close().await;
    served?;
    closed.context("the store did not close in good order")
}

async fn serve(args: &Args, store: &Store) -> anyhow::Result<()> {
    let listener = listen(&args.listen).await?;
    let address = listener.local_addr()?;
    let mut signals = Signals::new()?;
    let stop = CancellationToken::new();
    let config = DurableSessionConfig::default().with_retry(args.retry);
    let sessions = Arc::new(DurableSessionManager::with_config(store, config));
    let mcp = sessions.service(|| Ok(tools::Tools), http_config(args, address, &stop));
    let health = health::Health::new(store, &sessions);
    let router = axum::Router::new()
        .nest_service("/mcp", mcp)
        .route("/healthz", get(health::respond).with_state(health));
    let server = Server::start(listener, router, &stop)?;

    signals.stop_requested().await;
    tracing::info!("stopping");
    let in_good_order = async {
        let left = sessions.drain(DRAIN).await;
        if left > 0 {
            tracing::warn!("{left} calls did not end in time and are answered with an error");
        }
        server.stop().await?;
        sessions.shutdown().await;
        anyhow::Ok(())
    };
    tokio::select! {
        stopped = tokio::time::timeout(GRACE, in_good_order) => {
            stopped.context("some calls did not end in time")?
        }
        () = signals.stop_requested() => anyhow::bail!("stopped at once, as asked twice"),
    }
}

async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    if tokio::net::lookup_host(address).await.is_err() {
        let reason = format!("{address} is no address here; write HOST:PORT, as 127.0.0.1:8000");
        return Err(Error::invalid("--listen", reason).into());
    }
    let remedy = || format!("cannot listen on {address}; choose another with --listen");
    TcpListener::bind(address).await.with_context(remedy)
}

/// The longest `--retry`: what is left of a call by then has mostly expired.
const LONGEST_RETRY: Duration = Duration::from_hours(1);

/// Reads `--retry`. Clients told to wait no time at all would come back without a pause.
fn retry(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(retry) if retry > LONGEST_RETRY => Err("must be at most 1h".into()),
        Ok(retry) if retry.as_millis() > 0 => Ok(retry),
        Ok(_) => Err("must be at least 1ms".into()),
        Err(error) => Err(format!("{error}; write a duration such as 500ms or 3s")),
    }
}

/// Who may use the server: clients on this machine, and whom the options name.
fn http_config(
    args: &Args,
    address: SocketAddr,
    stop: &CancellationToken,
) -> StreamableHttpServerConfig {
    let local = StreamableHttpServerConfig::default();
    let hosts = local.allowed_hosts.clone().into_iter().chain([address.ip().to_string()]);
    let origins = LOCAL_ORIGINS.map(str::to_owned).into_iter().chain(args.origins.clone());
    local
        .with_allowed_hosts(hosts.chain(args.hosts.clone()))
        .with_allowed_origins(origins)
        .enforce_origin_validation()
        .with_cancellation_token(stop.child_token())
}

/// A listening HTTP server.
struct Server {
    task: JoinHandle<io::Result<()>>,
    stop: CancellationToken,
}

impl Server {
    /// Serves until `stop`, and says where.
    fn start(
        listener: TcpListener,
        router: axum::Router,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        // A response is several small writes. Without this each waits until the client has
        // confirmed the one before, which takes Linux 40 ms.
        let listener = listener.tap_io(|connection| {
            if let Err(error) = connection.set_nodelay(true) {
                tracing::debug!(%error, "a connection sends small writes late");
            }
        });
        let stopped = stop.clone().cancelled_owned();
        let server = axum::serve(listener, router).with_graceful_shutdown(stopped).into_future();
        let task = tokio::spawn(server);
        print(&format!("listening on http://{address}/mcp\n"))?;
        Ok(Self { task, stop: stop.clone() })
    }

    /// Lets connections end, but waits for no client that stalls.
    async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        if let Ok(ended) = tokio::time::timeout(CONNECTIONS_GRACE, self.task).await {
            ended??;
        } else {
            tracing::warn!("cut off connections in the middle of a request");
        }
        Ok(())
    }
}
