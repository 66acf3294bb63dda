//! A report that nobody measured, for the tests of what is made of one.

use crate::report::{
    Append, Axis, Contender, EndToEnd, Follow, Growth, Machine, Memory, Replay, Report, Size,
    StoreReport, Sweep,
};
use crate::stats::Spread;

pub(crate) fn report(stores: Vec<StoreReport>) -> Report {
    let machine = Machine {
        cpu: "Abacus".into(),
        cores: 2,
        memory_bytes: 8 << 30,
        os: "Linux".into(),
        sync_us: around(110.0),
    };
    Report { version: "1.2.3".into(), quick: false, machine, stores }
}

/// A store that reaches every aim, most of them just so.
pub(crate) fn store(backend: &str) -> StoreReport {
    StoreReport {
        backend: backend.into(),
        engine: format!("The {backend} engine"),
        appends: appends(500, 40_000.0),
        requests: appends(500, 10_000.0),
        replays: [(Contender::Store, 0.5), (Contender::Raw, 1.0)].map(replay).to_vec(),
        follows: [(false, 1), (false, 100), (true, 1)].map(follow).to_vec(),
        sizes: [(Contender::Store, 690.0), (Contender::Raw, 600.0)].map(size).to_vec(),
        sweep: Some(Sweep {
            lanes: 64,
            rate: around(150_000.0),
            quiet_rate: around(40_000.0),
            sweeping_rate: around(30_000.0),
            quiet_p99_us: around(2000.0),
            sweeping_p99_us: around(4000.0),
        }),
        memory: Some(Memory {
            followers: 10_000,
            bytes_per_follower: 1536.0,
            replayed: 100_000,
            replay_bytes: 31 << 20,
        }),
        growth: [Axis::Events, Axis::Streams].into_iter().flat_map(growth).collect(),
        end_to_end: [
            (Contender::Store, 800.0),
            (Contender::Memory, 900.0),
            (Contender::Raw, 1000.0),
        ]
        .map(calls)
        .to_vec(),
    }
}

/// A spread, a tenth to either side.
pub(crate) fn around(median: f64) -> Spread {
    Spread { low: median * 0.9, median, high: median * 1.1 }
}

/// Appends whose raw limit with 64 rows is `limit` events a second.
pub(crate) fn appends(message_bytes: usize, limit: f64) -> Vec<Append> {
    let row = |contender, lanes, rows, share: f64, p50_us| Append {
        contender,
        lanes,
        rows,
        message_bytes,
        rate: around(limit * share),
        p50_us: around(p50_us),
        p99_us: around(p50_us * 4.0),
        p999_us: around(p50_us * 20.0),
        cpu_us: around(25.0),
    };
    vec![
        row(Contender::Store, 1, 1, 0.08, 250.0),
        row(Contender::Store, 16, 1, 0.5, 500.0),
        row(Contender::Store, 64, 1, 0.8, 1500.0),
        row(Contender::Store, 256, 1, 1.1, 5000.0),
        row(Contender::Store, 1024, 1, 1.2, 16_000.0),
        row(Contender::Raw, 1, 64, 1.0, 1600.0),
        row(Contender::Raw, 1, 512, 1.25, 10_000.0),
        row(Contender::GroupCommit, 64, 1, 0.9, 1400.0),
        row(Contender::GroupCommit, 1024, 1, 1.2, 16_000.0),
        row(Contender::Keeper, 1, 1, 0.09, 225.0),
        row(Contender::Keeper, 64, 1, 0.85, 1450.0),
        row(Contender::Naive, 1, 1, 0.1, 200.0),
        row(Contender::Naive, 64, 1, 0.15, 9000.0),
    ]
}

fn replay((contender, share): (Contender, f64)) -> Replay {
    Replay { contender, events: 100_000, message_bytes: 500, rate: around(300_000.0 * share) }
}

fn follow((across, followers): (bool, usize)) -> Follow {
    Follow {
        across,
        followers,
        p50_us: around(400.0),
        p99_us: around(1500.0),
        after_commit_p99_us: around(1000.0),
    }
}

fn size((contender, bytes_per_event): (Contender, f64)) -> Size {
    Size { contender, events_per_stream: 1000, message_bytes: 500, bytes_per_event }
}

fn growth(axis: Axis) -> impl Iterator<Item = Growth> {
    [(10_000, 1.0), (100_000, 1.1), (1_000_000, 1.25)].into_iter().map(move |(stored, share)| {
        Growth {
            axis,
            stored,
            append_us: around(25.0 * share),
            lone_us: around(250.0 * share),
            replay_us: around(4.0 * share),
            raw_read_us: around(3.0 * share),
            raw_append_us: around(20.0 * share),
        }
    })
}

fn calls((contender, rate): (Contender, f64)) -> EndToEnd {
    EndToEnd {
        contender,
        clients: 64,
        rate: around(rate),
        p50_us: around(6000.0),
        p99_us: around(12_000.0),
        server_cpu_us: around(700.0),
    }
}
