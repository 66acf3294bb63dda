//! `mcp-event-store demo`: the point of the project in one screen, with real processes.
//!
//! A server is killed after its client lost the connection; a second one, on the same store,
//! gives the client everything that it missed. What was received is then compared with what is
//! stored, and the command fails if they differ.

mod client;
mod place;
mod process;
mod screen;
mod tally;

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::signals::Signals;
use client::{Client, Events, Received};
use place::Place;
use process::Server;
use tally::Tally;

/// See a client resume, without loss, after its server was killed.
#[derive(clap::Args)]
#[command(after_help = ABOUT)]
pub(crate) struct Args {
    /// The store of both servers; by default a SQLite file in a temporary directory.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

const ABOUT: &str = "\
Two servers run one after the other, as processes of their own, on one store. The exit code is 0
only if the client received every message once and in order.";

/// How far the tool counts; with its result, one message more is sent.
const COUNT_TO: u32 = 9;
const EVERY: Duration = Duration::from_millis(200);
/// Messages after which the connection drops.
const RECEIVED_LIVE: usize = 4;

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    tokio::select! {
        told = tell(args) => told,
        // What is dropped here kills the servers.
        () = signals.stop_requested() => bail!("interrupted"),
    }
}

async fn tell(args: Args) -> anyhow::Result<()> {
    let place = Place::choose(args.store)?;
    screen::title()?;

    screen::step(1, "Start a server on a store that outlives it.")?;
    screen::note(&place.shown())?;
    let first = start(&place).await?;
    let mut story = Story::begin(&first).await?;

    screen::step(4, "Kill the server.")?;
    screen::note(&first.kill().await?)?;

    screen::step(5, "Start another server on the same store.")?;
    let second = start(&place).await?;
    story.resume_at(&second).await?;
    story.check().await
}

async fn start(place: &Place) -> anyhow::Result<Server> {
    let server = Server::start(place.url()).await?;
    screen::note(&format!("process {}, listening on {}", server.pid(), server.url()))?;
    Ok(server)
}

/// A client's call, and what came of it.
struct Story {
    client: Client,
    /// The ID of the stream's first event.
    first_id: String,
    tally: Tally,
}

impl Story {
    /// Calls the tool, loses the connection, and waits until the call has ended without it.
    async fn begin(server: &Server) -> anyhow::Result<Self> {
        let call = format!("Open a session and call count(to: {COUNT_TO}). Every event has an ID.");
        screen::step(2, &call)?;
        let client = Client::open(server.url()).await?;
        let mut call = client.count(COUNT_TO, EVERY).await?;
        let priming = call.next().await?.context("the stream has no events")?;
        screen::live(&priming)?;
        let mut tally = Tally::new(COUNT_TO);
        while tally.live.len() < RECEIVED_LIVE {
            let event = call.next().await?.context("the call ended before its connection")?;
            screen::live(&event)?;
            tally.live.push(event);
        }
        screen::step(3, "The connection drops. The call goes on, and nobody is listening.")?;
        drop(call);
        client.wait_until_nothing_runs().await?;
        screen::note("the server has stored the call's last event")?;
        Ok(Self { client, first_id: priming.id, tally })
    }

    /// Resumes the call's stream on another server.
    async fn resume_at(&mut self, server: &Server) -> anyhow::Result<()> {
        screen::step(6, "Resume: GET with the ID of the last event that was received.")?;
        let last = self.tally.live.last().context("nothing was received")?;
        screen::note(&format!("Last-Event-ID: {}", last.id))?;
        self.client.move_to(server.url());
        let resumed = self.client.resume(&last.id).await?;
        self.tally.replayed = messages(resumed, screen::replayed).await?;
        Ok(())
    }

    /// Compares what was received with the whole stream, and deletes the session.
    async fn check(mut self) -> anyhow::Result<()> {
        let whole = self.client.resume(&self.first_id).await?;
        self.tally.stored = messages(whole, |_| Ok(())).await?;
        self.client.close().await?;
        let outcome = self.tally.outcome();
        screen::result(&outcome)?;
        ensure!(outcome.is_perfect(), "the client did not receive what was sent: {outcome}");
        Ok(())
    }
}

/// The messages of a connection until the server ends it; each is shown as it comes.
async fn messages(
    mut events: Events,
    show: impl Fn(&Received) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Received>> {
    let mut messages = Vec::new();
    while let Some(event) = events.next().await? {
        if event.is_message() {
            show(&event)?;
            messages.push(event);
        }
    }
    Ok(messages)
}
