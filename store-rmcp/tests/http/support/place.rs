//! Where a test's events are stored, and how further instances come to them.

use mcp_event_store::{Settings, Store};
use tempfile::TempDir;

/// One store's data, empty at first, gone with the test.
pub struct Place {
    kind: Kind,
    settings: Settings,
}

enum Kind {
    /// All instances share one engine.
    Memory(Store),
    /// Each instance opens the file for itself.
    Sqlite(TempDir),
}

impl Place {
    pub async fn memory() -> Self {
        let settings = Settings::default();
        Self { kind: Kind::Memory(open("memory://", &settings).await), settings }
    }

    pub fn sqlite() -> Self {
        Self { kind: Kind::Sqlite(tempfile::tempdir().unwrap()), settings: Settings::default() }
    }

    /// The same kind of place with other settings.
    pub async fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.settings;
        change(&mut settings);
        let kind = match self.kind {
            Kind::Memory(_) => Kind::Memory(open("memory://", &settings).await),
            Kind::Sqlite(directory) => Kind::Sqlite(directory),
        };
        Self { kind, settings }
    }

    /// A store for another server instance.
    pub async fn open(&self) -> Store {
        match &self.kind {
            Kind::Memory(store) => store.clone(),
            Kind::Sqlite(directory) => {
                let file = directory.path().join("events.db");
                open(&format!("sqlite://{}", file.display()), &self.settings).await
            }
        }
    }
}

async fn open(url: &str, settings: &Settings) -> Store {
    let config = mcp_event_store::config().settings(settings.clone()).load().unwrap();
    mcp_event_store::open_with(url, &config).await.unwrap()
}
