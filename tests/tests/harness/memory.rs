//! The in-memory store.

use std::sync::OnceLock;

use mcp_event_store_compliance::{Harness, HarnessError, Opened, async_trait};
use mcp_event_store_core::memory::MemoryBackend;
use mcp_event_store_core::{Clock, Engine, Settings, Store};

/// Streams in memory, which outlive the stores that are opened on them.
#[derive(Default)]
pub(crate) struct Memory {
    /// Made when the clock is known; each store works on a clone of it.
    backend: OnceLock<MemoryBackend>,
}

impl Memory {
    /// Another handle on the streams.
    pub(crate) fn backend(&self, clock: &Clock) -> MemoryBackend {
        self.backend.get_or_init(|| MemoryBackend::new(clock.clone())).clone()
    }
}

#[async_trait]
impl Harness for Memory {
    async fn create() -> Result<Self, HarnessError> {
        Ok(Self::default())
    }

    async fn open(&self, settings: &Settings, clock: &Clock) -> Result<Opened, HarnessError> {
        Ok(Store::new(Engine::open(self.backend(clock), settings.clone())?).into())
    }

    fn address(&self) -> String {
        "memory, gone with this process".to_owned()
    }

    async fn tear_down(self: Box<Self>) -> Result<(), HarnessError> {
        Ok(())
    }
}
