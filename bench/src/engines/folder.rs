//! A folder of the benchmark's own, beside the path that a URL names: on the same disk.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Context as _;
use mcp_event_store::Error;
use tempfile::TempDir;

/// The folder, and the query of the URL that named its neighbour.
pub(super) struct Folder {
    folder: TempDir,
    query: String,
}

impl Folder {
    /// A folder beside `scheme://PATH?query`.
    pub(super) fn beside(url: &str) -> anyhow::Result<Self> {
        let (_, rest) = url.split_once(':').unwrap_or_default();
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let parent = match Path::new(path).parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if !parent.is_dir() {
            let reason = format!("lies in {}, which is no directory: create it", parent.display());
            return Err(Error::invalid("--store", reason).into());
        }
        let folder = tempfile::Builder::new().prefix("mcp-event-store-bench-").tempdir_in(parent);
        let why = || format!("cannot make a folder in {}", parent.display());
        Ok(Self { folder: folder.with_context(why)?, query: query.to_owned() })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn url(&self, scheme: &str, name: &str) -> String {
        let separator = if self.query.is_empty() { "" } else { "?" };
        format!("{scheme}://{}{separator}{}", self.path(name).display(), self.query)
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> anyhow::Result<u64> {
        bytes_in(self.folder.path())
    }

    /// Removes what is in it.
    pub(super) fn clear(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(self.folder.path())? {
            let entry = entry?;
            let removed = match entry.file_type() {
                Ok(kind) if kind.is_dir() => fs::remove_dir_all(entry.path()),
                Ok(_) => fs::remove_file(entry.path()),
                Err(error) => Err(error),
            };
            match removed {
                // A connection that is closing removes SQLite's logs itself.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        Ok(())
    }
}

fn bytes_in(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_in(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
