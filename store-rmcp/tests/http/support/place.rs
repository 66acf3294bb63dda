//! Where a test's events are stored, and how further instances come to them.

use mcp_event_store_core::{Clock, Settings, Store, memory};

/// One store's data.
pub struct Place {
    settings: Settings,
    store: Store,
}

impl Place {
    pub async fn memory() -> Self {
        Self::memory_with(Settings::default()).await
    }

    async fn memory_with(settings: Settings) -> Self {
        let store = memory::open(settings.clone(), Clock::system()).unwrap();
        store.maintenance().ping().await.unwrap();
        Self { settings, store }
    }

    /// The same kind of place, empty, with other settings.
    pub async fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.settings;
        change(&mut settings);
        Self::memory_with(settings).await
    }

    /// A store for another server instance: the same engine in memory.
    pub async fn open(&self) -> Store {
        self.store.maintenance().ping().await.unwrap();
        self.store.clone()
    }
}
