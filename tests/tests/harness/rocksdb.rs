//! The RocksDB store: a directory for each scope.

use std::fs;
use std::path::{Path, PathBuf};

use mcp_event_store_compliance::{Harness, HarnessError, Opened, async_trait};
use mcp_event_store_core::{Clock, Engine, Settings, Store};
use mcp_event_store_rocksdb::{RocksBackend, RocksOptions};
use tempfile::TempDir;

pub(crate) struct Rocks {
    dir: PathBuf,
    /// Absent in a process that only attached.
    owned: Option<TempDir>,
}

impl Rocks {
    fn database(&self) -> PathBuf {
        self.dir.join("database")
    }
}

#[async_trait]
impl Harness for Rocks {
    async fn create() -> Result<Self, HarnessError> {
        let owned = TempDir::with_prefix("mcp-event-store-")?;
        Ok(Self { dir: owned.path().to_owned(), owned: Some(owned) })
    }

    async fn attach(address: &str) -> Result<Self, HarnessError> {
        Ok(Self { dir: address.into(), owned: None })
    }

    async fn open(&self, settings: &Settings, clock: &Clock) -> Result<Opened, HarnessError> {
        let options = RocksOptions::default();
        let (path, durability) = (self.database(), settings.durability);
        let backend = RocksBackend::open(path, &options, durability, clock.clone()).await?;
        Ok(Store::new(Engine::open(backend, settings.clone())?).into())
    }

    fn address(&self) -> String {
        self.dir.display().to_string()
    }

    async fn tear_down(self: Box<Self>) -> Result<(), HarnessError> {
        // A store that was dropped, not closed, closes its files in the background. Opening waits
        // for that.
        if self.owned.is_some() && self.database().exists() {
            let opened = self.open(&Settings::default(), &Clock::system()).await?;
            opened.maintenance.ok_or("no maintenance")?.close().await?;
        }
        self.owned.map_or(Ok(()), |dir| Ok(dir.close()?))
    }

    async fn back_up(&self) -> Result<(), HarnessError> {
        replace(&self.database(), &self.dir.join("backup"))
    }

    async fn lose_tail(&self) -> Result<(), HarnessError> {
        replace(&self.dir.join("backup"), &self.database())
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
