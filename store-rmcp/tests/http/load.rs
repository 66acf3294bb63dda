//! Many sessions at once on two instances, their connections cut again and again.
//!
//! `MCP_EVENT_STORE_TEST_SESSIONS=500` runs it at full size; with `--nocapture` it shows figures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mcp_event_store_rmcp::DurableSessionConfig;
use tokio::sync::Barrier;

use crate::support::{Client, Event, Place, Proxy, Server, Sse, within};

on_every_store!(c12_every_client_gets_exactly_its_sequence_however_often_it_is_cut);

/// Sessions in an ordinary run.
const SESSIONS: usize = 24;
/// Notifications of each call.
const STEPS: usize = 20;
/// Steps of all calls between two cuts of the network.
const STEPS_A_CUT: usize = 150;

/// Numbers that look random and are the same in every run (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }
}

async fn c12_every_client_gets_exactly_its_sequence_however_often_it_is_cut(place: Place) {
    let sessions = sessions();
    // A disk that stalls is not what this is about.
    let patient = DurableSessionConfig::default().with_store_timeout(LIMIT);
    let servers = [
        Server::start_with(&place.open().await, patient.clone()).await,
        Server::start_with(&place.open().await, patient).await,
    ];
    let proxies = [Proxy::to(servers[0].address).await, Proxy::to(servers[1].address).await];
    let (mut clients, primed) = (Vec::new(), Arc::new(Barrier::new(sessions + 1)));
    for n in 0..sessions {
        // Each call runs on one instance, and is resumed on both.
        let client = Client::connect(&servers[n % 2]).await.at_url(&proxies[n % 2].url());
        let places = [client.at_url(&proxies[0].url()), client.at_url(&proxies[1].url())];
        clients.push(tokio::spawn(Caller::new(client, places, n).run(primed.clone())));
    }
    within(LIMIT, "the calls", primed.wait()).await;
    let began = Instant::now();
    let cuts = step_and_cut(&servers, &proxies, sessions).await;
    let mut expected: Vec<String> = (1..=STEPS).map(|n| format!("{n}.0")).collect();
    expected.push("result".into());
    let mut total = Tally::default();
    for client in clients {
        let (sequence, tally) = client.await.unwrap();
        assert_eq!(sequence, expected);
        total.resumes += tally.resumes;
        total.cut += tally.cut;
    }
    println!(
        "c12: {sessions} sessions, {} messages, {cuts} cuts of a network, {} connections lost, \
         {} resumes, 0 messages lost, 0 repeated, {:.1} s",
        sessions * expected.len(),
        total.cut,
        total.resumes,
        began.elapsed().as_secs_f64(),
    );
    assert!(total.resumes >= sessions, "most clients had to come back: {}", total.resumes);
}

fn sessions() -> usize {
    std::env::var("MCP_EVENT_STORE_TEST_SESSIONS").map_or(SESSIONS, |n| n.parse().unwrap())
}

/// Lets the tools step, a few at a time, and cuts one network or the other in between.
async fn step_and_cut(servers: &[Server; 2], proxies: &[Proxy; 2], sessions: usize) -> usize {
    let (mut dice, mut cuts) = (Dice(0), 0);
    for left in (1..=sessions * (STEPS + 1)).rev() {
        for server in servers {
            server.script.go(1);
        }
        if left % STEPS_A_CUT == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            proxies[dice.below(2)].cut();
            cuts += 1;
        }
    }
    cuts
}

#[derive(Default)]
struct Tally {
    resumes: usize,
    /// Connections that the network lost; the others the client dropped.
    cut: usize,
}

/// One client, which calls a tool and comes back until it has the response.
struct Caller {
    client: Client,
    places: [Client; 2],
    dice: Dice,
    last: Option<Event>,
    seen: Vec<String>,
    tally: Tally,
}

impl Caller {
    fn new(client: Client, places: [Client; 2], n: usize) -> Self {
        let (last, seen, tally) = (None, Vec::new(), Tally::default());
        Self { client, places, dice: Dice(n as u64), last, seen, tally }
    }

    async fn run(mut self, primed: Arc<Barrier>) -> (Vec<String>, Tally) {
        let mut connection = self.call().await;
        primed.wait().await;
        within(LIMIT, "the response", async {
            while !self.read(&mut connection).await {
                connection = self.resume().await;
            }
        })
        .await;
        (self.seen, self.tally)
    }

    /// The call, once its priming event is here: only then can it be resumed, and is the network
    /// cut.
    async fn call(&mut self) -> Sse {
        let mut connection = self.client.call(1, "count", STEPS as u64).await;
        self.last = Some(connection.take(1).await.remove(0));
        connection
    }

    /// Reads a few events; whether the response was among them.
    async fn read(&mut self, connection: &mut Sse) -> bool {
        for _ in 0..=self.dice.below(8) {
            match connection.next_or_cut().await {
                Ok(Some(event)) if event.data.is_empty() => self.last = Some(event),
                Ok(Some(event)) => {
                    self.seen.push(event.brief());
                    self.last = Some(event);
                }
                Ok(None) => break,
                Err(_) => {
                    self.tally.cut += 1;
                    break;
                }
            }
        }
        self.seen.last().is_some_and(|last| last == "result")
    }

    /// Comes back to either instance, again and again while the network is cut.
    async fn resume(&mut self) -> Sse {
        loop {
            let place = &self.places[self.dice.below(2)];
            self.tally.resumes += 1;
            match place.try_resume(self.last.as_ref().unwrap().id()).await {
                Ok(connection) => return connection,
                Err(_) => self.tally.cut += 1,
            }
        }
    }
}

/// What 500 sessions take on a busy machine of two cores, several times over.
const LIMIT: Duration = Duration::from_mins(5);
