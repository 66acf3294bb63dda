//! A store that keeps everything in its own process, and says that it survives a kill.

use mcp_event_store_compliance::{Harness, HarnessError, Opened, async_trait};
use mcp_event_store_core::{Clock, Settings};

use super::harness::memory::Memory;

pub(crate) struct Forgetful(Memory);

#[async_trait]
impl Harness for Forgetful {
    async fn create() -> Result<Self, HarnessError> {
        Ok(Self(Memory::create().await?))
    }

    async fn attach(_address: &str) -> Result<Self, HarnessError> {
        Self::create().await
    }

    async fn open(&self, settings: &Settings, clock: &Clock) -> Result<Opened, HarnessError> {
        self.0.open(settings, clock).await
    }

    fn address(&self) -> String {
        self.0.address()
    }

    async fn tear_down(self: Box<Self>) -> Result<(), HarnessError> {
        Ok(())
    }
}
