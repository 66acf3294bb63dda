//! Where both servers keep their events.

use std::path::Path;

use anyhow::Context as _;
use mcp_event_store::Error;
use tempfile::TempDir;
use url::Url;

const MEMORY: &str = "memory:";

/// A store's URL.
pub(super) struct Place {
    url: String,
    /// Removes the temporary directory in the end.
    _directory: Option<TempDir>,
}

impl Place {
    /// The store at `url`, or a SQLite file that does not outlive the demo.
    pub(super) fn choose(url: Option<String>) -> anyhow::Result<Self> {
        let Some(url) = url else { return Self::temporary() };
        if url.starts_with(MEMORY) {
            let reason = "memory:// dies with its server; the demo needs a store that lasts";
            return Err(Error::invalid("--store", reason).into());
        }
        Ok(Self { url, _directory: None })
    }

    fn temporary() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("mcp-event-store-demo-")
            .tempdir()
            .context("cannot make a temporary directory; set TMPDIR to a writable one")?;
        let url = sqlite_url(&directory.path().join("events.db"))?;
        Ok(Self { url, _directory: Some(directory) })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The URL without what may be secret in it.
    pub(super) fn shown(&self) -> String {
        let Ok(mut url) = Url::parse(&self.url) else { return "the given store".into() };
        url.set_query(None);
        // A URL that cannot have credentials refuses, and has none.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.into()
    }
}

/// The URL of a SQLite file. A `%`, `?` or `#` in its path must not end or change the path.
fn sqlite_url(path: &Path) -> anyhow::Result<String> {
    let file = Url::from_file_path(path).ok();
    let url = file.as_ref().and_then(|url| url.as_str().strip_prefix("file:"));
    Ok(format!("sqlite:{}", url.context("the temporary directory has no absolute path")?))
}
