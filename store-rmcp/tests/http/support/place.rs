//! Where a test's events are stored, and how further instances come to them.

use std::any::Any;

use mcp_event_store::{Settings, Store};
use tokio::sync::OnceCell;

use super::servers::{self, Emptied};

/// One store's data, empty at first, gone with the test.
///
/// One constructor for each kind of store; the list in `main.rs` names them.
pub struct Place {
    url: String,
    settings: Settings,
    engines: Engines,
    /// What must outlive the test: a directory, a server, a schema.
    _data: Box<dyn Any + Send + Sync>,
}

/// How many engines may work on the data at the same time.
enum Engines {
    /// One: all instances share it.
    One(OnceCell<Store>),
    /// Many: each instance opens its own.
    Many,
}

#[allow(clippy::unused_async, reason = "stores that are servers have to be started")]
impl Place {
    pub async fn memory() -> Self {
        Self::new("memory://".into(), Engines::One(OnceCell::new()), ())
    }

    pub async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("events.db").display());
        Self::new(url, Engines::Many, directory)
    }

    pub async fn rocksdb() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("rocksdb://{}", directory.path().join("events").display());
        Self::new(url, Engines::One(OnceCell::new()), directory)
    }

    pub async fn postgres() -> Self {
        Self::on_server(servers::postgres().await)
    }

    pub async fn redis() -> Self {
        Self::on_server(servers::redis().await)
    }

    fn on_server(part: Emptied) -> Self {
        Self::new(part.url().to_owned(), Engines::Many, part)
    }

    fn new(url: String, engines: Engines, data: impl Any + Send + Sync) -> Self {
        Self { url, settings: Settings::default(), engines, _data: Box::new(data) }
    }

    /// The same place with other settings. Before it is opened.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// A store for another server instance.
    pub async fn open(&self) -> Store {
        match &self.engines {
            Engines::One(store) => store.get_or_init(|| self.open_engine()).await.clone(),
            Engines::Many => self.open_engine().await,
        }
    }

    async fn open_engine(&self) -> Store {
        let config = mcp_event_store::config().settings(self.settings.clone()).load().unwrap();
        mcp_event_store::open_with(&self.url, &config).await.unwrap()
    }

    /// For a process of its own. Where only one engine may work, not while another does.
    pub fn url(&self) -> &str {
        &self.url
    }
}
