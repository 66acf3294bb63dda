//! Tool calls to a whole server: with this store, with the one in memory, and as rmcp serves them
//! without any.
//!
//! Servers are processes of their own, so that their processor time can be told from the clients'.

mod client;
mod process;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::machine::process_time;
use crate::progress::Progress;
use crate::report::{Contender, EndToEnd};
use crate::stats::{Spread, Times, float};
use client::Client;
use process::Server;

/// The store in memory, with its defaults.
const MEMORY: &str = "memory://";

/// Who takes part, and the store that each serves.
pub(crate) fn contenders(store_url: &str) -> Vec<(Contender, Option<&str>)> {
    let ours = (Contender::Store, Some(store_url));
    let without = (Contender::Raw, None);
    if store_url.starts_with(MEMORY) {
        return vec![ours, without];
    }
    vec![ours, (Contender::Memory, Some(MEMORY)), without]
}

/// Lets `clients` sessions of each contender's server call a tool as fast as they can, in rounds of
/// `time` that alternate between the servers. The first round of each only warms up.
///
/// `server` is the `mcp-event-store` command.
///
/// # Errors
/// A server did not start, or a call was not answered with what it asked for.
pub(crate) async fn measure(
    server: &Path,
    contenders: &[(Contender, Option<&str>)],
    clients: usize,
    rounds: usize,
    time: Duration,
    progress: &Progress,
) -> anyhow::Result<Vec<EndToEnd>> {
    let mut entrants = Vec::with_capacity(contenders.len());
    for (contender, store) in contenders {
        let server = match store {
            Some(url) => Server::with_store(server, url).await?,
            None => Server::without_store(server).await?,
        };
        entrants.push(Entrant::enter(*contender, server, clients).await?);
    }
    for round in 0..=rounds {
        for entrant in &mut entrants {
            let measured = entrant.run(time).await?;
            if round > 0 {
                entrant.rounds.push(measured);
            }
            progress.step();
        }
    }
    let results = entrants.iter().map(Entrant::result).collect();
    for entrant in entrants {
        entrant.leave().await?;
    }
    Ok(results)
}

/// A server and its clients.
struct Entrant {
    contender: Contender,
    server: Server,
    clients: Vec<Client>,
    rounds: Vec<Round>,
}

/// What one round measured.
struct Round {
    rate: f64,
    times: Times,
    server_cpu_us: f64,
}

impl Entrant {
    async fn enter(contender: Contender, server: Server, clients: usize) -> anyhow::Result<Self> {
        let mut opened = Vec::new();
        for number in 0..clients {
            opened.push(Client::open(server.url(), number).await?);
        }
        Ok(Self { contender, server, clients: opened, rounds: Vec::new() })
    }

    /// Lets all clients call for `time`.
    async fn run(&mut self, time: Duration) -> anyhow::Result<Round> {
        let (started, worked) = (Instant::now(), process_time(self.server.pid()));
        // Whatever fails ends the others too.
        let mut tasks = JoinSet::new();
        for mut client in self.clients.drain(..) {
            tasks.spawn(async move {
                let (mut times, mut calls) = (Times::default(), 0_u64);
                while started.elapsed() < time {
                    times.record(client.call().await?);
                    calls += 1;
                }
                anyhow::Ok((client, times, calls))
            });
        }
        let (mut times, mut calls) = (Times::default(), 0);
        while let Some(ended) = tasks.join_next().await {
            let (client, of_client, more) = ended.context("a client of the benchmark broke")??;
            self.clients.push(client);
            times.add(&of_client);
            calls += more;
        }
        let elapsed = started.elapsed().as_secs_f64();
        let worked = process_time(self.server.pid()).saturating_sub(worked).as_secs_f64();
        let server_cpu_us = if calls == 0 { 0.0 } else { worked * 1e6 / float(calls) };
        Ok(Round { rate: float(calls) / elapsed, times, server_cpu_us })
    }

    fn result(&self) -> EndToEnd {
        let of = |value: &dyn Fn(&Round) -> f64| Spread::of(self.rounds.iter().map(value));
        EndToEnd {
            contender: self.contender,
            clients: self.clients.len(),
            rate: of(&|round| round.rate),
            p50_us: of(&|round| round.times.micros(0.5)),
            p99_us: of(&|round| round.times.micros(0.99)),
            server_cpu_us: of(&|round| round.server_cpu_us),
        }
    }

    /// Deletes the sessions, with all that is stored of them, and ends the server.
    async fn leave(self) -> anyhow::Result<()> {
        for client in &self.clients {
            client.close().await?;
        }
        self.server.kill().await
    }
}
