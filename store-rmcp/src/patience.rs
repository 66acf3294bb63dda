//! Waiting for a store that is slow or away, and how long.

use std::time::Duration;

use mcp_event_store_core::{Error as StoreError, Result as StoreResult};
use tokio::time::{Instant, sleep, timeout_at};

/// Tries `operation` again and again while the store is away, for `at_most` in all.
pub(crate) async fn patiently<T, F: Future<Output = StoreResult<T>>>(
    at_most: Duration,
    mut operation: impl FnMut() -> F,
) -> StoreResult<T> {
    let deadline = Instant::now() + at_most;
    let mut backoff = Backoff::new();
    loop {
        let outcome = timeout_at(deadline, operation()).await.unwrap_or_else(|_| Err(too_slow()));
        let patient = Instant::now() + backoff.next < deadline;
        match outcome {
            Err(error) if error.is_retryable() && patient => backoff.pause().await,
            outcome => return outcome,
        }
    }
}

/// A dropped append may have been stored all the same.
fn too_slow() -> StoreError {
    let message = "the store did not answer within store_timeout".into();
    StoreError::OutcomeUnknown { message, cause: None }
}

/// Ever longer pauses between tries to reach the store.
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(2);

    pub(crate) fn new() -> Self {
        Self { next: Self::FIRST }
    }

    pub(crate) async fn pause(&mut self) {
        sleep(self.next).await;
        self.next = (self.next * 2).min(Self::LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn away() -> StoreError {
        StoreError::unavailable("away", std::io::Error::other("away"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_comes_back_in_time_answers() {
        let began = Instant::now();
        let answer = patiently(SECOND, || async {
            if began.elapsed() < SECOND / 2 { Err(away()) } else { Ok(7) }
        });
        assert_eq!(answer.await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_with_the_last_error() {
        let began = Instant::now();
        let answer = patiently(SECOND, || async { Err::<(), _>(away()) }).await;
        assert!(answer.unwrap_err().is_retryable());
        assert!(began.elapsed() <= SECOND);
        let silent = patiently(SECOND, std::future::pending::<StoreResult<()>>).await;
        assert!(matches!(silent, Err(StoreError::OutcomeUnknown { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_happened_is_not_tried_again() {
        let mut tries = 0;
        let _ = patiently(SECOND, || {
            tries += 1;
            async { Err::<(), _>(too_slow()) }
        })
        .await;
        assert_eq!(tries, 1);
    }
}
