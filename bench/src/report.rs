//! What a benchmark measured, as it is written to JSON and read back.

use serde::{Deserialize, Serialize};

use crate::stats::Spread;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The version of `mcp-event-store`.
    pub version: String,
    /// Whether it was a quick run: too short for its figures to mean much.
    pub quick: bool,
    /// Where it ran.
    pub machine: Machine,
    /// A store each.
    pub stores: Vec<StoreReport>,
}

/// Where a benchmark ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Threads that run at a time.
    pub cores: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The operating system and its version.
    pub os: String,
    /// Time to make 4 KiB at the end of a file durable (`fdatasync`), in microseconds.
    pub sync_us: Spread,
}

/// What was measured of one store. What was not measured is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoreReport {
    /// The URL's scheme, such as `sqlite`.
    pub backend: String,
    /// The engine, its version, and the settings that matter.
    pub engine: String,
    /// Appends to long streams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub appends: Vec<Append>,
    /// One stream a request: a priming event, a progress notification, a response.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Append>,
    /// Replays of long streams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replays: Vec<Replay>,
    /// Time from append to delivery.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub follows: Vec<Follow>,
    /// Bytes on disk, or in the server's memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<Size>,
    /// Sweeping, and what it does to appends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
    /// Memory of this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Costs by what is stored already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub growth: Vec<Growth>,
    /// Tool calls to a whole server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub end_to_end: Vec<EndToEnd>,
}

impl StoreReport {
    /// Takes over what `later` has measured of the same kind of store.
    pub fn update(&mut self, later: Self) {
        fn replace<T>(earlier: &mut Vec<T>, later: Vec<T>) {
            if !later.is_empty() {
                *earlier = later;
            }
        }
        self.engine = later.engine;
        replace(&mut self.appends, later.appends);
        replace(&mut self.requests, later.requests);
        replace(&mut self.replays, later.replays);
        replace(&mut self.follows, later.follows);
        replace(&mut self.sizes, later.sizes);
        self.sweep = later.sweep.or(self.sweep.take());
        self.memory = later.memory.or(self.memory.take());
        replace(&mut self.growth, later.growth);
        replace(&mut self.end_to_end, later.end_to_end);
    }
}

/// Who did the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contender {
    /// This store.
    Store,
    /// The engine by itself, driven as fast as it goes with the same rows and durability. End to
    /// end: a server without a store.
    Raw,
    /// The engine by itself behind the least that joins callers into commits: each of them waits
    /// for its own row, and connections commit what waits.
    GroupCommit,
    /// The same, which also keeps a row for each stream: the least of a store that has to know where
    /// its streams end. It decides nothing, refuses nothing, and knows no sessions.
    Keeper,
    /// The engine's own driver, writing all that this store writes for an event into this store's own
    /// tables, and answering where it is: one commit an event, with nothing in front of it. It checks
    /// and decides nothing.
    Writer,
    /// The same, with a statement that decides what no store may leave to others: by the stream's row,
    /// where it ends and what it holds, and whether it still is that stream and may go on; and what time
    /// it is on the server. Several callers wait for it as for a bare group commit.
    Decider,
    /// One commit an event, as a simple store would do it.
    Naive,
    /// End to end: a server with the store in memory, which shows what is left of the distance
    /// between the other two without any database.
    Memory,
}

/// How fast something was stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Append {
    /// Who stored it.
    pub contender: Contender,
    /// Tasks that stored at the same time: streams, or connections.
    pub lanes: usize,
    /// Events that one commit of a lane holds. (This store and the bare group commit join lanes
    /// into commits by themselves.)
    pub rows: usize,
    /// Bytes of a message.
    pub message_bytes: usize,
    /// Events a second; for requests, requests a second.
    pub rate: Spread,
    /// Time of one commit, in microseconds.
    pub p50_us: Spread,
    /// The same, for the slowest of 100.
    pub p99_us: Spread,
    /// The same, for the slowest of 1,000.
    pub p999_us: Spread,
    /// Processor time of the whole machine (client and server) for an event or request, in
    /// microseconds. Zero where it cannot be told.
    pub cpu_us: Spread,
}

/// How fast a stream was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// Who read it: this store, or a raw scan.
    pub contender: Contender,
    /// Events of the replay.
    pub events: u64,
    /// Bytes of a message.
    pub message_bytes: usize,
    /// Events a second.
    pub rate: Spread,
}

/// How soon an event reached its follower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Follow {
    /// Whether the follower was on another instance than the appender.
    pub across: bool,
    /// Followers, each of a stream of its own.
    pub followers: usize,
    /// From the call of append to delivery, in microseconds.
    pub p50_us: Spread,
    /// The same, for the slowest of 100.
    pub p99_us: Spread,
    /// From the return of append to delivery, for the slowest of 100, in microseconds; zero if
    /// the delivery came first.
    pub after_commit_p99_us: Spread,
}

/// What an event takes up, all that belongs to it included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// Who stored it.
    pub contender: Contender,
    /// Events of each stream.
    pub events_per_stream: u64,
    /// Bytes of a message.
    pub message_bytes: usize,
    /// Stored bytes for an event.
    pub bytes_per_event: f64,
}

/// Sweeping, and what it does to appends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// Tasks that append meanwhile.
    pub lanes: usize,
    /// Events that were swept away a second, while others were appended.
    pub rate: Spread,
    /// Appends a second without and with a sweep.
    pub quiet_rate: Spread,
    /// Appends a second during a sweep.
    pub sweeping_rate: Spread,
    /// Time of the slowest of 100 appends without a sweep, in microseconds.
    pub quiet_p99_us: Spread,
    /// The same during a sweep.
    pub sweeping_p99_us: Spread,
}

/// Memory of the process that holds the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Idle followers that were opened.
    pub followers: usize,
    /// What each of them took, in bytes.
    pub bytes_per_follower: f64,
    /// Events of the replay.
    pub replayed: u64,
    /// By how much memory grew during that replay, at most, in bytes.
    pub replay_bytes: u64,
}

/// What the store holds more and more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Events, in a thousand streams at most.
    Events,
    /// Streams of one event.
    Streams,
}

/// Costs by what is stored already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// What there is much of.
    pub axis: Axis,
    /// How much of it.
    pub stored: u64,
    /// Time that an append takes with 64 appenders, all told: the time for one event, in microseconds.
    pub append_us: Spread,
    /// Time of one append by a lone appender, in microseconds: the median.
    pub lone_us: Spread,
    /// Time for an event of a replay of 100 events, in microseconds.
    pub replay_us: Spread,
    /// Time for an event when the same events are read by nothing but the engine's driver, in
    /// microseconds. Zero where it was not measured.
    #[serde(default)]
    pub raw_read_us: Spread,
    /// Time for an event of raw commits of 64, each with its stream's row, beside as many streams, in
    /// microseconds. Zero where it was not measured.
    #[serde(default)]
    pub raw_append_us: Spread,
}

/// Tool calls to a whole server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndToEnd {
    /// With this store, with the one in memory, or without any ([`Contender::Raw`]).
    pub contender: Contender,
    /// Clients that call at the same time.
    pub clients: usize,
    /// Calls a second.
    pub rate: Spread,
    /// Time of a call, in microseconds: the median.
    pub p50_us: Spread,
    /// The same, for the slowest of 100.
    pub p99_us: Spread,
    /// Processor time of the server process for a call, in microseconds. Zero where it cannot be told.
    pub server_cpu_us: Spread,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up;

    #[test]
    fn what_a_later_run_measured_counts_and_the_rest_stays() {
        let nothing = StoreReport { backend: "sqlite".into(), ..StoreReport::default() };
        let all = made_up::store("sqlite");
        let mut joined = nothing.clone();
        joined.update(all.clone());
        assert_eq!(joined, all);
        joined.update(StoreReport { engine: all.engine.clone(), ..nothing.clone() });
        assert_eq!(joined, all);
        let growth = vec![Growth { stored: 7, ..all.growth[0].clone() }];
        joined.update(StoreReport { engine: "new".into(), growth: growth.clone(), ..nothing });
        assert_eq!(joined, StoreReport { engine: "new".into(), growth, ..all });
    }
}
