//! No operation may look at more rows than it needs, however many there are and were: RocksDB's
//! own counters are the witness.

use std::sync::Arc;
use std::time::Duration;

use mcp_event_store_core::backend::{
    Candidates, Cursor, Group, PageLimit, PendingEvent, Removal, Remove, StreamKey, Tag,
};
use mcp_event_store_core::{
    Durability, Lease, Message, Result, SessionId, Settings, StreamId, StreamRef, Timestamp,
};
use rocksdb::{PerfContext, PerfMetric, PerfStatsLevel, perf::set_perf_stats};

use crate::batch::{Batch, Totals};
use crate::config::RocksOptions;
use crate::connect::connect;
use crate::database::Database;
use crate::{append, leases, read, sessions, sweep};

const STREAMS: u64 = 2000;
const EVENTS: u64 = 300;
const LIMIT: usize = 32;

/// A database with many streams, some of them long, after twice as many that are gone.
struct Filled {
    database: Arc<Database>,
    totals: Totals,
    garbage_from: u64,
    _folder: tempfile::TempDir,
}

pub(crate) fn key(n: u64) -> StreamKey {
    let mut key = [0xa5; 16];
    key[4..12].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    StreamKey(key)
}

/// The number of the `n`th stream that is there.
fn live(n: u64) -> u64 {
    2 * STREAMS + n
}

fn name(n: u64) -> StreamRef {
    let session = SessionId::new(format!("session-{}", n % 100)).unwrap();
    StreamRef::in_session(session, StreamId::new(format!("stream-{n}")).unwrap())
}

pub(crate) fn group(n: u64, events: u64) -> Group {
    let event = |seq: u64| PendingEvent {
        tag: Tag([seq.to_be_bytes()[7]; 6]),
        message: Some(Message::from_value(&"x".repeat(100)).unwrap()),
        retry_ms: None,
        lease: None,
        completes_stream: false,
    };
    Group { stream: name(n), candidate_key: key(n), events: (0..events).map(event).collect() }
}

impl Filled {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = RocksOptions { write_buffer: 1024 * 1024, ..RocksOptions::default() };
        let database = connect(&folder.path().join("work"), &options, Durability::Relaxed);
        let totals = Totals::default();
        let database = Arc::new(database.unwrap());
        let mut filled = Self { database, totals, garbage_from: 0, _folder: folder };
        for n in 0..3 * STREAMS {
            let events = if n % 100 == 0 { EVENTS } else { 2 };
            filled.append(&[group(n, events)], n);
        }
        for n in 0..2 * STREAMS {
            filled.commit(|batch| sessions::delete_stream(batch, &name(n))).unwrap();
        }
        while filled.reclaim(1000) > 0 {}
        // The last hundred wait to be freed.
        for n in 3 * STREAMS..3 * STREAMS + 100 {
            filled.append(&[group(n, 2)], n);
            filled.commit(|batch| sessions::delete_stream(batch, &name(n))).unwrap();
        }
        filled
    }

    fn commit<T>(&mut self, fill: impl FnOnce(&mut Batch<'_>) -> Result<T>) -> Result<T> {
        let mut batch = Batch::new(&self.database, self.totals);
        let filled = fill(&mut batch)?;
        self.totals = batch.commit()?;
        Ok(filled)
    }

    fn append(&mut self, groups: &[Group], at: u64) {
        let now = Timestamp(at.cast_signed());
        let settings = Settings::default();
        let append = |batch: &mut Batch<'_>| Ok(append::append(batch, groups, &settings, now));
        self.commit(append).unwrap().iter().for_each(|appended| assert!(appended.is_ok()));
    }

    fn reclaim(&mut self, events: u64) -> u64 {
        let from = self.garbage_from;
        let freed = self.commit(|batch| sweep::reclaim(batch, from, events)).unwrap();
        self.garbage_from = freed.garbage_from;
        freed.events
    }
}

/// Rows that `work` stepped over, deleted ones among them.
fn stepped_over<T>(work: impl FnOnce() -> T) -> u64 {
    set_perf_stats(PerfStatsLevel::EnableCount);
    let mut counters = PerfContext::default();
    counters.reset();
    work();
    let metrics = [PerfMetric::InternalKeySkippedCount, PerfMetric::InternalDeleteSkippedCount];
    let steps = metrics.map(|metric| counters.metric(metric)).iter().sum();
    set_perf_stats(PerfStatsLevel::Disable);
    steps
}

#[test]
fn no_operation_steps_over_more_than_it_needs() {
    let mut filled = Filled::new();
    let database = filled.database.clone();
    let now = Timestamp(1_000_000);
    let settings = Settings::default();
    let check = |what: &str, allowed: u64, steps: u64| {
        assert!(steps <= allowed, "{what} stepped over {steps} rows, {allowed} would be enough");
    };

    let page = PageLimit { events: 10, bytes: u64::MAX };
    let read = |after| read::read(&database, &key(live(0)), after, page, || now).unwrap().unwrap();
    check("a page from the beginning", 10, stepped_over(|| read(0)));
    check("a page from the middle", 11, stepped_over(|| read(EVENTS / 2)));
    check("the end", 1, stepped_over(|| read(EVENTS)));
    assert_eq!(read(EVENTS / 2).events.len(), 10);
    check(
        "a look-up",
        0,
        stepped_over(|| read::find(&database, &name(live(7)), now).unwrap().unwrap()),
    );
    check("a look-up in vain", 0, stepped_over(|| read::find(&database, &name(u64::MAX), now)));

    check("an append", 0, stepped_over(|| filled.append(&[group(live(5), 1)], 9_000)));
    check("a creation", 0, stepped_over(|| filled.append(&[group(90_000, 1)], 9_000)));
    let lease = Lease::new("owner", Duration::from_secs(30));
    let renew =
        |batch: &mut Batch<'_>| leases::renew(batch, &name(live(5)), &lease, &settings, now);
    check("a renewal", 0, stepped_over(|| filled.commit(renew).unwrap()));

    for which in [Candidates::Idle(now), Candidates::LeastRecent, Candidates::Aged(now)] {
        let list =
            |after: Option<&Cursor>| sweep::candidates(&database, &which, after, LIMIT).unwrap();
        // The first listing finds where the list begins.
        let first = list(None);
        assert_eq!(first.streams.len(), LIMIT, "{which:?}");
        let allowed = 3 * LIMIT as u64;
        check("a first page", allowed, stepped_over(|| list(None)));
        check("a later page", allowed, stepped_over(|| list(first.next.as_ref())));
    }
    for which in [Candidates::Complete(now), Candidates::Tombstones(now)] {
        let list = || sweep::candidates(&database, &which, None, LIMIT).unwrap();
        list();
        check("an empty page", 1, stepped_over(list));
    }

    let removal = Removal { key: key(live(100)), what: Remove::Prefix { through: EVENTS / 2 } };
    let remove = |batch: &mut Batch<'_>| sweep::remove(batch, &[removal]);
    check("a trimming", 2, stepped_over(|| filled.commit(remove).unwrap()));
    check("freeing", 20, stepped_over(|| filled.reclaim(20)));
    let delete = |batch: &mut Batch<'_>| sessions::delete_stream(batch, &name(live(200)));
    check("a deletion", 0, stepped_over(|| filled.commit(delete).unwrap()));
    let forget = |batch: &mut Batch<'_>| sessions::forget(batch, &settings, LIMIT, now);
    check("forgetting nothing", 1, stepped_over(|| filled.commit(forget).unwrap()));
}
