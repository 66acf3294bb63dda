//! What a server author can tune in the adapter. Retention belongs to the store.

use std::time::Duration;

/// Settings of a [`DurableSessionManager`](crate::DurableSessionManager). Times under a millisecond
/// are raised to one, with a warning; times above a year are taken for a year.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurableSessionConfig {
    /// How long a client waits before it reconnects: the SSE `retry` of priming events and of
    /// resumed connections. Default 3 s.
    pub retry: Duration,
    /// How long a running request's stream outlives a server that died without a word; after it,
    /// another instance ends the stream with an error. Renewed every third of it. Default 30 s.
    pub lease_ttl: Duration,
    /// A session without open requests, connections or messages for this long leaves this
    /// instance's memory; its next request restores it from the store. `None` keeps it. Default
    /// 5 minutes.
    pub idle_timeout: Option<Duration>,
    /// How long an append waits for a store that is slow or away, before the sender hears of it.
    /// Default 10 s.
    pub store_timeout: Duration,
}

impl Default for DurableSessionConfig {
    fn default() -> Self {
        Self {
            retry: Duration::from_secs(3),
            lease_ttl: Duration::from_secs(30),
            idle_timeout: Some(Duration::from_mins(5)),
            store_timeout: Duration::from_secs(10),
        }
    }
}

impl DurableSessionConfig {
    /// Raises what would not work, and says so. Lowers what stands for "for ever": moments that far
    /// away cannot be reckoned with.
    pub(crate) fn workable(mut self) -> Self {
        const LEAST: Duration = Duration::from_millis(1);
        const MOST: Duration = Duration::from_hours(365 * 24);
        let idle = self.idle_timeout.as_mut().map(|idle| ("idle_timeout", idle));
        let fields = [
            ("retry", &mut self.retry),
            ("lease_ttl", &mut self.lease_ttl),
            ("store_timeout", &mut self.store_timeout),
        ];
        for (field, value) in fields.into_iter().chain(idle) {
            if *value < LEAST {
                tracing::warn!(field, ?value, "too short: 1ms is used; set it to more");
            }
            *value = (*value).clamp(LEAST, MOST);
        }
        self
    }

    /// Sets [`retry`](Self::retry).
    #[must_use]
    pub fn with_retry(mut self, retry: Duration) -> Self {
        self.retry = retry;
        self
    }

    /// Sets [`lease_ttl`](Self::lease_ttl).
    #[must_use]
    pub fn with_lease_ttl(mut self, lease_ttl: Duration) -> Self {
        self.lease_ttl = lease_ttl;
        self
    }

    /// Sets [`idle_timeout`](Self::idle_timeout).
    #[must_use]
    pub fn with_idle_timeout(mut self, idle_timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = idle_timeout.into();
        self
    }

    /// Sets [`store_timeout`](Self::store_timeout).
    #[must_use]
    pub fn with_store_timeout(mut self, store_timeout: Duration) -> Self {
        self.store_timeout = store_timeout;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patience::patiently;

    #[test]
    fn times_that_would_not_work_are_raised() {
        let zero = Duration::ZERO;
        let config = DurableSessionConfig::default()
            .with_retry(zero)
            .with_lease_ttl(zero)
            .with_idle_timeout(zero)
            .with_store_timeout(zero)
            .workable();
        let least = Duration::from_millis(1);
        assert_eq!((config.retry, config.lease_ttl), (least, least));
        assert_eq!((config.idle_timeout, config.store_timeout), (Some(least), least));
        assert_eq!(DurableSessionConfig::default().workable(), DurableSessionConfig::default());
    }

    #[tokio::test]
    async fn for_ever_is_a_time_that_can_be_reckoned_with() {
        let ever = Duration::MAX;
        let config = DurableSessionConfig::default()
            .with_retry(ever)
            .with_lease_ttl(ever)
            .with_idle_timeout(ever)
            .with_store_timeout(ever)
            .workable();
        assert!(config.lease_ttl.checked_mul(3).is_some());
        assert_eq!(patiently(config.store_timeout, || async { Ok(7) }).await.unwrap(), 7);
        assert!(config.retry < ever && config.idle_timeout < Some(ever));
    }
}
