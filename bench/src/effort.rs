//! How much a run measures, and for how long.

use std::time::Duration;

/// Sizes and times of a run.
pub(crate) struct Effort {
    /// Rounds that count; one more warms up.
    pub(crate) rounds: usize,
    /// The time of a round.
    pub(crate) round: Duration,
    /// Tasks that append at a time.
    pub(crate) appenders: &'static [usize],
    /// Bytes of a message.
    pub(crate) message_bytes: &'static [usize],
    /// Events of a replay.
    pub(crate) replays: &'static [u64],
    /// Followers at a time.
    pub(crate) followers: &'static [usize],
    /// Followers whose memory is measured.
    pub(crate) idle_followers: usize,
    /// Events that are stored to see what one takes up.
    pub(crate) sized_events: u64,
    /// Requests that each round of sweeping begins with.
    pub(crate) swept_requests: u64,
    /// Events stored, for growth.
    pub(crate) events: Vec<u64>,
    /// Streams stored, for growth.
    pub(crate) streams: Vec<u64>,
    /// Clients of a whole server.
    pub(crate) clients: usize,
}

impl Effort {
    /// Long enough for figures that mean something: minutes for a store, and what it takes to store
    /// more than ten million events for growth.
    pub(crate) fn full() -> Self {
        Self {
            rounds: 5,
            round: Duration::from_millis(500),
            appenders: &[1, 16, 64, 256, 1024],
            message_bytes: &[500, 8192],
            replays: &[10, 1000, 100_000],
            followers: &[1, 100, 1000],
            idle_followers: 10_000,
            sized_events: 200_000,
            swept_requests: 10_000,
            events: vec![10_000, 100_000, 1_000_000, 10_000_000],
            streams: vec![100, 10_000, 100_000, 1_000_000],
            clients: 64,
        }
    }

    /// Just enough to see that everything works.
    pub(crate) fn quick() -> Self {
        Self {
            rounds: 2,
            round: Duration::from_millis(150),
            appenders: &[1, 16, 64],
            message_bytes: &[500],
            replays: &[10, 1000],
            followers: &[1, 50],
            idle_followers: 500,
            sized_events: 2000,
            swept_requests: 500,
            events: vec![1000, 5000],
            streams: vec![100, 1000],
            clients: 8,
        }
    }

    /// Leaves out what stores more than `most` events or streams for growth.
    pub(crate) fn up_to(mut self, most: Option<u64>) -> Self {
        let fits = |size: &u64| most.is_none_or(|most| *size <= most);
        self.events.retain(fits);
        self.streams.retain(fits);
        self
    }
}
