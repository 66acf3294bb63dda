//! Many sessions at once on two instances, their connections cut again and again.
//!
//! `MCP_EVENT_STORE_TEST_SESSIONS=500` runs it larger.

use crate::support::{Client, Event, Place, Server};

on_every_store!(every_client_gets_exactly_its_sequence_however_often_it_is_cut);

const STEPS: usize = 20;

/// Numbers that look random and are the same in every run (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % n).unwrap()
    }
}

async fn every_client_gets_exactly_its_sequence_however_often_it_is_cut(place: Place) {
    let sessions = sessions();
    let servers =
        [Server::start(&place.open().await).await, Server::start(&place.open().await).await];
    let mut clients = Vec::new();
    for n in 0..sessions {
        let here = Client::connect(&servers[n % 2]).await;
        let places = [here.at(&servers[0]), here.at(&servers[1])];
        clients.push(tokio::spawn(run(here, places, Dice(n as u64))));
    }
    for server in &servers {
        server.script.go(sessions * (STEPS + 1));
    }
    for client in clients {
        let mut expected: Vec<String> = (1..=STEPS).map(|n| format!("{n}.0")).collect();
        expected.push("result".into());
        assert_eq!(client.await.unwrap(), expected);
    }
}

fn sessions() -> usize {
    std::env::var("MCP_EVENT_STORE_TEST_SESSIONS").map_or(24, |n| n.parse().unwrap())
}

/// Calls a tool, and cuts and resumes its connection at random until the response is there.
async fn run(client: Client, places: [Client; 2], mut dice: Dice) -> Vec<String> {
    let mut sse = client.call(1, "count", STEPS as u64).await;
    let mut last = sse.take(1).await.remove(0);
    let mut seen: Vec<Event> = Vec::new();
    loop {
        for _ in 0..dice.below(5) {
            match sse.next().await {
                Some(event) if event.data.is_empty() => assert_eq!(event.id, last.id),
                Some(event) => {
                    last = event.clone();
                    seen.push(event);
                }
                None => return seen.iter().map(Event::brief).collect(),
            }
        }
        sse = places[dice.below(2)].resume(last.id()).await;
    }
}
