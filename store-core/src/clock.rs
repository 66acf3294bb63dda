//! The clock of a store: the database's or the machine's, which tests can move.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use crate::event::Timestamp;

/// Tells a backend the time. The default is the machine's clock; a database server's clock
/// replaces that part where there is one. Clones share one offset.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Milliseconds added to the real time; `None` for a clock that cannot be moved.
    offset: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The real time.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// The real time plus an offset that [`advance`](Self::advance) moves: a test lets a day pass
    /// without sleeping.
    #[must_use]
    pub fn manual() -> Self {
        Self { offset: Some(Arc::new(AtomicI64::new(0))) }
    }

    /// Lets `duration` pass. Has no effect on a [`system`](Self::system) clock.
    pub fn advance(&self, duration: Duration) {
        self.move_by(Timestamp(0).plus(duration).0);
    }

    /// Takes `duration` back, as a machine whose clock is corrected does.
    pub fn turn_back(&self, duration: Duration) {
        self.move_by(-Timestamp(0).plus(duration).0);
    }

    fn move_by(&self, millis: i64) {
        if let Some(offset) = &self.offset {
            offset.fetch_add(millis, Ordering::SeqCst);
        }
    }

    /// Milliseconds that a backend adds to its database's own time.
    #[must_use]
    pub fn offset_millis(&self) -> i64 {
        self.offset.as_ref().map_or(0, |offset| offset.load(Ordering::SeqCst))
    }

    /// The machine's time with the offset, for backends without a database server.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp(Timestamp::from(SystemTime::now()).0.saturating_add(self.offset_millis()))
    }
}
