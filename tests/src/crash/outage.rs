//! Rounds in which writers of this process append while their database is killed or their
//! connection is cut, and what they heard is compared with what is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mcp_event_store_core::{EventId, ReplayMode, StreamRef};
use tokio::task::JoinHandle;

use super::follow::Following;
use super::ledger::{Figures, Heard, Ledger, Name};
use super::patience::{PAUSE, patiently};
use crate::context::{Ctx, unlimited};
use crate::failure::{Outcome, ensure};
use crate::follower::Follower;
use crate::harness::Cut;
use crate::instance::Instance;
use crate::tools::{eventually, lone, random, stream, text};

const WRITERS: usize = 8;

/// Rounds that share their streams; then come fresh ones, so that reading them stays cheap.
const ROUNDS_A_STREAM: u64 = 10;

/// What happens to the writers in the middle of a round.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outage {
    /// The server is killed, and started again.
    ServerKilled,
    /// The connection is cut during a commit.
    Cut,
}

impl Outage {
    async fn strike(self, ctx: &Ctx) -> Outcome {
        match self {
            Self::ServerKilled => ctx.kill_server().await,
            Self::Cut if random(2) == 0 => ctx.cut(Cut::Request).await,
            Self::Cut => ctx.cut(Cut::Answer).await,
        }
    }

    async fn end(self, ctx: &Ctx) -> Outcome {
        match self {
            Self::ServerKilled => Ok(()),
            Self::Cut => ctx.mend().await,
        }
    }
}

fn places(generation: u64) -> [StreamRef; 3] {
    let name = format!("generation {generation}");
    [stream("s", &name), stream("t", &name), lone(&name)]
}

/// So many rounds; what was heard in all of them.
pub(crate) async fn outages(ctx: &Ctx, outage: Outage, rounds: u64) -> Outcome<Figures> {
    let stores = ctx.open_up_to(2, &unlimited()).await?;
    let mut all = Figures::default();
    let mut ledger = Ledger::default();
    for round in 0..rounds {
        let places = places(round / ROUNDS_A_STREAM);
        if round % ROUNDS_A_STREAM == 0 {
            all += ledger.figures();
            ledger = Ledger::new(&places, false);
        }
        one_round(ctx, outage, &stores, &places, round, &mut ledger).await?;
        for store in &stores {
            ledger.is_kept_by(store).await?;
        }
        if (round + 1) % ROUNDS_A_STREAM == 0 {
            println!("crash: {outage:?}, {} of {rounds} rounds", round + 1);
        }
    }
    all += ledger.figures();
    Ok(all)
}

async fn one_round(
    ctx: &Ctx,
    outage: Outage,
    stores: &[Instance],
    places: &[StreamRef; 3],
    round: u64,
    ledger: &mut Ledger,
) -> Outcome {
    let writers = Writers::start(stores, places, round);
    let mut followers = Vec::new();
    for (n, place) in places.iter().enumerate() {
        followers.push(Following::start(&stores[n % stores.len()], place));
    }
    writers.each_was_acknowledged(ctx).await?;
    tokio::time::sleep(Duration::from_micros(random(50_000))).await;
    outage.strike(ctx).await?;
    // They go on when the database is back, by themselves.
    writers.each_was_acknowledged(ctx).await?;
    outage.end(ctx).await?;
    for (place, name, heard) in writers.stop().await? {
        ledger.note(place, name, heard);
    }
    for (place, follower) in followers.into_iter().enumerate() {
        let name = Name { writer: format!("last of {round}"), n: place as u64 };
        let id = append_surely(&stores[0], &places[place], &name, ledger, place).await?;
        follower.saw_all(&stores[0], &id).await?;
    }
    Ok(())
}

/// Appends until an event is stored for certain; those whose outcome is unknown are noted.
async fn append_surely(
    store: &Instance,
    to: &StreamRef,
    name: &Name,
    ledger: &mut Ledger,
    place: usize,
) -> Outcome<EventId> {
    for attempt in 0.. {
        let name = Name { writer: format!("{}, attempt {attempt}", name.writer), n: name.n };
        let message = name.text();
        let heard = Heard::of(store.try_append(to, text(message)).await?)?;
        ledger.note(place, name, heard.clone());
        match heard {
            Heard::Stored(id) => return Ok(id),
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
    unreachable!("the deadline of the test comes first")
}

/// What became of an append, and the number of its place.
type Said = (usize, Name, Heard);

/// Tasks that append until they are stopped.
struct Writers {
    stop: Arc<AtomicBool>,
    /// How often each was acknowledged.
    acknowledged: Vec<Arc<AtomicU64>>,
    tasks: Vec<JoinHandle<Outcome<Vec<Said>>>>,
}

impl Writers {
    fn start(stores: &[Instance], places: &[StreamRef; 3], round: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged: Vec<Arc<AtomicU64>> = (0..WRITERS).map(|_| Arc::default()).collect();
        let task = |n: usize| {
            let (store, place) = (stores[n % stores.len()].clone(), n % places.len());
            let (stop, acknowledged) = (stop.clone(), acknowledged[n].clone());
            let (to, writer) = (places[place].clone(), format!("{round}-{n}"));
            tokio::spawn(async move {
                let mut heard = Vec::new();
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let name = Name { writer: writer.clone(), n };
                    let said = Heard::of(store.try_append(&to, text(name.text())).await?)?;
                    match said {
                        Heard::Stored(_) => {
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                        _ => tokio::time::sleep(PAUSE / 4).await,
                    }
                    heard.push((place, name, said));
                }
                Ok(heard)
            })
        };
        let tasks = (0..WRITERS).map(task).collect();
        Self { stop, acknowledged, tasks }
    }

    /// Waits until each has been acknowledged again; a database that comes back may take a while.
    async fn each_was_acknowledged(&self, ctx: &Ctx) -> Outcome {
        let now = || self.acknowledged.iter().map(|count| count.load(Ordering::Relaxed));
        let before: Vec<_> = now().collect();
        let each = || {
            let ended = self.tasks.iter().any(JoinHandle::is_finished);
            let each = now().zip(&before).all(|(now, before)| now > *before);
            async move { Outcome::Ok(each || ended) }
        };
        eventually(ctx.patience(), "an acknowledgement for every writer", each).await
    }

    async fn stop(self) -> Outcome<Vec<Said>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut heard = Vec::new();
        for task in self.tasks {
            heard.extend(task.await.expect("no panic")?);
        }
        ensure(!heard.is_empty(), "writers that append", "none")?;
        Ok(heard)
    }
}

/// Follows `one` from `after`, or from its oldest event, as soon as the store is available.
pub(super) async fn follow(
    store: &Instance,
    one: &StreamRef,
    after: Option<&EventId>,
) -> Outcome<Follower> {
    let mode = ReplayMode::follow();
    let Some(id) = after else {
        return Ok(patiently!(store, store.try_follow_from_start(one, mode).await?));
    };
    Ok(patiently!(store, store.try_follow(one.scope(), id, mode).await?))
}
