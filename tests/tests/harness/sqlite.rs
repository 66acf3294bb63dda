//! The SQLite store: a directory for each scope.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mcp_event_store_compliance::{Harness, HarnessError, Opened, async_trait};
use mcp_event_store_core::{Clock, Engine, Settings, Store};
use mcp_event_store_sqlite::{SqliteBackend, SqliteOptions};
use tempfile::TempDir;

pub(crate) struct Sqlite {
    dir: PathBuf,
    /// Absent in a process that only attached.
    owned: Option<TempDir>,
}

impl Sqlite {
    fn database(&self) -> PathBuf {
        self.dir.join("database")
    }
}

#[async_trait]
impl Harness for Sqlite {
    async fn create() -> Result<Self, HarnessError> {
        let owned = TempDir::with_prefix("mcp-event-store-")?;
        let dir = owned.path().to_owned();
        fs::create_dir(dir.join("database"))?;
        Ok(Self { dir, owned: Some(owned) })
    }

    async fn attach(address: &str) -> Result<Self, HarnessError> {
        Ok(Self { dir: address.into(), owned: None })
    }

    async fn open(&self, settings: &Settings, clock: &Clock) -> Result<Opened, HarnessError> {
        let file = self.database().join("events.db");
        let options = SqliteOptions::default();
        let backend =
            SqliteBackend::open(file, &options, settings.durability, clock.clone()).await?;
        Ok(Store::new(Engine::open(backend, settings.clone())?).into())
    }

    fn address(&self) -> String {
        self.dir.display().to_string()
    }

    async fn tear_down(self: Box<Self>) -> Result<(), HarnessError> {
        self.owned.map_or(Ok(()), |dir| Ok(dir.close()?))
    }

    async fn back_up(&self) -> Result<(), HarnessError> {
        replace(&self.database(), &self.dir.join("backup"))
    }

    async fn lose_tail(&self) -> Result<(), HarnessError> {
        replace(&self.dir.join("backup"), &self.database())
    }

    fn wake_up_bound(&self) -> Duration {
        // Documented as 20 ms, on a machine with nothing else to do.
        Duration::from_millis(500)
    }
}

/// Makes `to` a copy of `from`, whatever it was.
fn replace(from: &Path, to: &Path) -> Result<(), HarnessError> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
