//! A worked example: a `Backend` of one's own, and the whole contract over it.
//!
//! It stores rows in ordered maps, as a key-value database would. Event IDs, verdicts, paging,
//! following and what a sweep removes are the engine's; what must be decided inside a commit are
//! functions of `StreamMeta`. So little is left here but storing and finding.

mod backend;
mod tables;

use std::sync::OnceLock;

use mcp_event_store_compliance::{Harness, HarnessError, Opened, async_trait, compliance_suite};
use mcp_event_store_core::{Clock, Engine, Settings, Store};

use backend::MapBackend;

/// Tables that outlive the stores that are opened on them.
struct MapHarness(OnceLock<MapBackend>);

#[async_trait]
impl Harness for MapHarness {
    async fn create() -> Result<Self, HarnessError> {
        Ok(Self(OnceLock::new()))
    }

    async fn open(&self, settings: &Settings, clock: &Clock) -> Result<Opened, HarnessError> {
        let backend = self.0.get_or_init(|| MapBackend::new(clock.clone())).clone();
        Ok(Store::new(Engine::open(backend, settings.clone())?).into())
    }

    fn address(&self) -> String {
        "maps, gone with this process".to_owned()
    }

    async fn tear_down(self: Box<Self>) -> Result<(), HarnessError> {
        Ok(())
    }
}

compliance_suite!(MapHarness, offers: [
    reopen, second_instance, sessions, maintenance, leases, retention, follow,
]);
