//! How a manager is put into rmcp's service, and what becomes of rmcp's settings.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rmcp::ServerHandler;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

use crate::guard::ResumeGuard;
use crate::manager::DurableSessionManager;

impl DurableSessionManager {
    /// rmcp's service over this manager, behind a [`ResumeGuard`]: what an axum router nests.
    ///
    /// `config` passes through [`configure`](Self::configure).
    pub fn service<H: ServerHandler + Send + 'static>(
        self: &Arc<Self>,
        handler: impl Fn() -> Result<H, io::Error> + Send + Sync + 'static,
        config: StreamableHttpServerConfig,
    ) -> ResumeGuard<StreamableHttpService<H, Self>> {
        let config = self.configure(config);
        ResumeGuard::new(StreamableHttpService::new(handler, self.clone(), config))
    }

    /// Fits rmcp's configuration to this manager: sessions are restored from, and by DELETE
    /// deleted in, the store, and `retry` is left to the stored priming events.
    ///
    /// Warns in the log of settings that do not work together with it.
    #[must_use]
    pub fn configure(&self, mut config: StreamableHttpServerConfig) -> StreamableHttpServerConfig {
        for conflict in conflicts(&config) {
            tracing::warn!("{conflict}");
        }
        self.context.note_service(&config.cancellation_token);
        config.session_store = Some(Arc::new(self.session_store()));
        config.sse_retry = None;
        config
    }
}

/// rmcp's default of `sse_retry`, which nobody has asked for.
const DEFAULT_SSE_RETRY: Duration = Duration::from_secs(3);

/// What the author asked for and does not get.
fn conflicts(config: &StreamableHttpServerConfig) -> Vec<&'static str> {
    let mut conflicts = Vec::new();
    if config.sse_retry.is_some_and(|retry| retry != DEFAULT_SSE_RETRY) {
        conflicts.push(
            "sse_retry has no effect with a DurableSessionManager: priming events are stored; \
             set DurableSessionConfig::retry instead",
        );
    }
    if config.session_store.is_some() {
        conflicts.push(
            "session_store is replaced by the DurableSessionManager's own: a session's record \
             and events must be deleted together",
        );
    }
    if !config.legacy_session_mode {
        conflicts.push(
            "legacy_session_mode is off: a DurableSessionManager has no sessions to keep, and only \
             the responses of session-less requests are stored",
        );
    }
    conflicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_configuration_is_at_peace() {
        assert!(conflicts(&StreamableHttpServerConfig::default()).is_empty());
    }

    #[test]
    fn settings_without_effect_are_named() {
        let config = StreamableHttpServerConfig::default()
            .with_sse_retry(Some(Duration::from_secs(9)))
            .with_legacy_session_mode(false);
        let named = conflicts(&config).join("\n");
        assert!(named.contains("DurableSessionConfig::retry"));
        assert!(named.contains("legacy_session_mode"));
    }
}
