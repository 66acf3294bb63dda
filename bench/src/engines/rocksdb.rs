//! RocksDB by itself: synced batches of puts, with keys and values like the store's.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use async_trait::async_trait;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    Direction, IteratorMode, Options, ReadOptions, SliceTransform, WriteBatch, WriteOptions,
};
use tokio::task::{block_in_place, spawn_blocking};

use super::folder::Folder;
use super::{Among, Connection, Engine, Raw, Reader, STREAMS, Scan, StreamKey, Turns, stream_row};
use crate::messages::Messages;

/// Bytes that the store puts before a message: tag, time, running bytes, `retry`.
const HEAD: [u8; 26] = [7; 26];

/// Streams that are much larger than a cache are read past it, which is faster.
const CACHED_EVENTS: u64 = 10_000;

/// The store's default size of its cache.
const BLOCK_CACHE: usize = 32 * 1024 * 1024;

/// The store's default size of its write buffer.
const WRITE_BUFFER: usize = 32 * 1024 * 1024;

pub(super) struct RocksDb {
    folder: Folder,
    turns: Turns,
    /// Taken out while the folder is cleared: a directory can be open once.
    db: Mutex<Option<Arc<DB>>>,
}

impl RocksDb {
    pub(super) fn open(url: &str) -> anyhow::Result<Self> {
        let folder = Folder::beside(url)?;
        Ok(Self { folder, turns: Turns::shared(), db: Mutex::default() })
    }

    fn db(&self) -> anyhow::Result<Arc<DB>> {
        let mut db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        if db.is_none() {
            *db = Some(open(&self.folder, "raw")?);
        }
        db.clone().context("it is open")
    }
}

fn open(folder: &Folder, name: &str) -> anyhow::Result<Arc<DB>> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_write_buffer_size(WRITE_BUFFER);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(1024 * 1024);
    options.set_compression_type(DBCompressionType::Lz4);
    Ok(Arc::new(DB::open(&options, folder.path(name))?))
}

#[async_trait]
impl Engine for RocksDb {
    fn description(&self) -> &'static str {
        "RocksDB (crate rocksdb 0.25), synced writes, LZ4"
    }

    fn store_url(&self, name: &str) -> String {
        self.folder.url("rocksdb", name)
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn raw(&self) -> Option<&dyn Raw> {
        Some(self)
    }

    async fn stored_bytes(&self) -> anyhow::Result<u64> {
        self.db()?.flush()?;
        self.folder.bytes()
    }

    async fn clean(&self) -> anyhow::Result<()> {
        drop(self.db.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.folder.clear()
    }
}

#[async_trait]
impl Raw for RocksDb {
    fn connections(&self) -> &'static [usize] {
        &[1, 2]
    }

    fn naive_connections(&self) -> &'static [usize] {
        &[1, 64]
    }

    async fn connection(&self, messages: Messages) -> anyhow::Result<Box<dyn Connection>> {
        let turns = self.turns.clone();
        Ok(Box::new(Puts { db: self.db()?, turns, keeps_streams: false, messages }))
    }

    async fn keeper(
        &self,
        messages: Messages,
        streams: u64,
    ) -> anyhow::Result<Box<dyn Connection>> {
        let turns = Turns::of_its_own(streams);
        Ok(Box::new(Puts { db: self.db()?, turns, keeps_streams: true, messages }))
    }

    async fn stream(&self, events: u64, mut messages: Messages) -> anyhow::Result<Box<dyn Scan>> {
        // Beside those that lanes put into.
        let (db, stream) = (self.db()?, STREAMS + events);
        let mut batch = WriteBatch::default();
        for seq in 0..events {
            batch.put(key(stream, seq), value(&mut messages));
        }
        db.write(batch)?;
        db.flush()?;
        Ok(Box::new(Stream { db, number: stream, is_long: events > CACHED_EVENTS }))
    }

    async fn reader(&self, store: &str) -> anyhow::Result<Option<Box<dyn Reader>>> {
        let path = self.folder.path(store);
        // A merge of the open store may take a file away from under the first look.
        let events = Events::open(&path).or_else(|_| Events::open(&path))?;
        Ok(Some(Box::new(events)))
    }

    async fn keeper_among(
        &self,
        mut messages: Messages,
        among: Among,
    ) -> anyhow::Result<Option<Box<dyn Connection>>> {
        let db = open(&self.folder, &format!("raw_{}", among.streams))?;
        if db.get_pinned(stream_key(spread(0)))?.is_none() {
            fill(&db, among.streams, &mut messages)?;
        }
        Ok(Some(Box::new(Few { db, among, messages })))
    }
}

/// Reads the store's own tables.
struct Events {
    db: DB,
}

impl Events {
    /// As the store opens them, where that matters to reads.
    fn open(path: &Path) -> anyhow::Result<Self> {
        let cache = Cache::new_lru_cache(BLOCK_CACHE);
        let tables = DB::list_cf(&Options::default(), path)?.into_iter().map(|name| {
            let mut blocks = BlockBasedOptions::default();
            blocks.set_block_cache(&cache);
            blocks.set_cache_index_and_filter_blocks(true);
            blocks.set_bloom_filter(10.0, false);
            let mut options = Options::default();
            if name == "events" {
                options.set_prefix_extractor(SliceTransform::create_fixed_prefix(16));
                blocks.set_whole_key_filtering(false);
            }
            options.set_block_based_table_factory(&blocks);
            ColumnFamilyDescriptor::new(name, options)
        });
        let tables: Vec<_> = tables.collect();
        let db = DB::open_cf_descriptors_read_only(&Options::default(), path, tables, false)?;
        Ok(Self { db })
    }

    fn table(&self, name: &str) -> anyhow::Result<&ColumnFamily> {
        self.db.cf_handle(name).with_context(|| format!("the store has no table {name}"))
    }
}

#[async_trait]
impl Reader for Events {
    async fn read(&mut self, key: StreamKey, from: u64, most: u64) -> anyhow::Result<u64> {
        block_in_place(|| {
            let row = self.db.get_pinned_cf(self.table("streams")?, key)?;
            row.context("there is no such stream")?;
            let first = [&key[..], &from.to_be_bytes()].concat();
            let mut options = ReadOptions::default();
            options.set_prefix_same_as_start(true);
            let mode = IteratorMode::From(&first, Direction::Forward);
            let rows = self.db.iterator_cf_opt(self.table("events")?, options, mode);
            let mut events = 0;
            for row in rows.take(usize::try_from(most)?) {
                row?;
                events += 1;
            }
            Ok(events)
        })
    }
}

/// Like the store's: a stream's key of 16 bytes, and a sequence.
fn key(stream: u64, seq: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[8..16].copy_from_slice(&stream.to_be_bytes());
    key[16..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// The key of a stream's row.
fn stream_key(stream: u64) -> [u8; 16] {
    let mut key = [0; 16];
    // Away from events.
    key[0] = 1;
    key[8..].copy_from_slice(&stream.to_be_bytes());
    key
}

/// A number for `stream` that lies anywhere among the others, as the store's random keys do.
fn spread(stream: u64) -> u64 {
    stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn value(messages: &mut Messages) -> Vec<u8> {
    [&HEAD[..], messages.next().get().as_bytes()].concat()
}

struct Puts {
    db: Arc<DB>,
    turns: Turns,
    keeps_streams: bool,
    messages: Messages,
}

#[async_trait]
impl Connection for Puts {
    async fn commit(&mut self, rows: usize) -> anyhow::Result<()> {
        let mut batch = WriteBatch::default();
        for _ in 0..rows {
            let (stream, seq) = self.turns.next();
            batch.put(key(stream, seq), value(&mut self.messages));
            if self.keeps_streams {
                batch.put(stream_key(stream), stream_row(seq));
            }
        }
        if rows == 1 {
            // As an async server calls it: many at a time, which RocksDB itself joins.
            let db = self.db.clone();
            spawn_blocking(move || write(&db, batch)).await?
        } else {
            block_in_place(|| write(&self.db, batch))
        }
    }
}

fn write(db: &DB, batch: WriteBatch) -> anyhow::Result<()> {
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    Ok(db.write_opt(batch, &synced)?)
}

/// Makes `streams` streams of two events each.
fn fill(db: &DB, streams: u64, messages: &mut Messages) -> anyhow::Result<()> {
    for stream in (0..streams).map(spread) {
        let mut batch = WriteBatch::default();
        for seq in 0..2 {
            batch.put(key(stream, seq), value(messages));
        }
        batch.put(stream_key(stream), stream_row(1));
        db.write(batch)?;
    }
    Ok(())
}

/// Commits of a few of many streams.
struct Few {
    db: Arc<DB>,
    among: Among,
    messages: Messages,
}

#[async_trait]
impl Connection for Few {
    async fn commit(&mut self, rows: usize) -> anyhow::Result<()> {
        let mut batch = WriteBatch::default();
        for (stream, seq) in self.among.by_ref().take(rows) {
            batch.put(key(spread(stream), seq), value(&mut self.messages));
            batch.put(stream_key(spread(stream)), stream_row(seq));
        }
        block_in_place(|| write(&self.db, batch))
    }
}

struct Stream {
    db: Arc<DB>,
    number: u64,
    is_long: bool,
}

#[async_trait]
impl Scan for Stream {
    async fn scan(&mut self) -> anyhow::Result<(u64, u64)> {
        block_in_place(|| {
            let (first, prefix) = (key(self.number, 0), self.number.to_be_bytes());
            let mut options = ReadOptions::default();
            options.fill_cache(!self.is_long);
            let mode = IteratorMode::From(&first, Direction::Forward);
            let (mut events, mut bytes) = (0, 0);
            // As from the other drivers, rows that may be kept.
            for row in self.db.iterator_opt(mode, options) {
                let (key, value) = row?;
                if key[8..16] != prefix {
                    break;
                }
                events += 1;
                bytes += (value.len() - HEAD.len()) as u64;
            }
            Ok((events, bytes))
        })
    }
}
