//! The lock on a directory, which also says who holds it.
//!
//! RocksDB has a lock of its own, but knows neither who holds it nor how to wait for it. So
//! another file is locked first, and holds the number of the process that did. The system takes
//! the lock away when that process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use mcp_event_store_core::{Error, Result};

/// The file in the directory.
pub(crate) const FILE: &str = "mcp-event-store.lock";

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// A locked directory; dropping it lets the directory go.
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code, reason = "held, not used")] File);

impl Lock {
    /// Locks `directory`, waiting up to `patience` for who holds it. Blocks.
    ///
    /// # Errors
    /// `Unavailable` with the number of the process that holds the lock.
    pub(crate) fn take(directory: &Path, patience: Duration) -> Result<Self> {
        let path = directory.join(FILE);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.map_err(|error| unusable(&path, error))?;
        let deadline = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(PAUSE);
                }
                Err(TryLockError::WouldBlock) => return Err(held(directory, &mut file)),
                Err(TryLockError::Error(error)) => return Err(unusable(&path, error)),
            }
        }
        let name = format!("{}\n", std::process::id());
        // A full disk must not keep the store closed: then the lock has no name on it.
        if let Err(error) = file.set_len(0).and_then(|()| file.write_all(name.as_bytes())) {
            tracing::warn!(%error, "the RocksDB directory's lock file cannot be written");
        }
        Ok(Self(file))
    }
}

fn unusable(path: &Path, error: std::io::Error) -> Error {
    let reason = format!("{} cannot be locked: let this user write it", path.display());
    Error::backend(reason, error)
}

/// The error that says who holds the lock.
fn held(directory: &Path, file: &mut File) -> Error {
    let mut text = String::new();
    let holder = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok());
    let directory = directory.display();
    let message = match holder {
        Some(process) if process == std::process::id() => format!(
            "{directory} is open in this process already: share that store, or close it first"
        ),
        Some(process) => format!(
            "{directory} is open in process {process}, and RocksDB lets one process in at a time: \
             end that process, or raise lock_timeout"
        ),
        None => format!(
            "{directory} is open in another process, and RocksDB lets one process in at a time: \
             end that process, or raise lock_timeout"
        ),
    };
    Error::Unavailable { message: message.into(), cause: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_names_its_holder_and_ends_with_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path(), Duration::ZERO).unwrap();
        let refused = Lock::take(folder.path(), Duration::from_millis(20)).unwrap_err();
        assert!(refused.is_retryable());
        assert!(refused.to_string().contains("open in this process already"), "{refused}");
        drop(first);
        Lock::take(folder.path(), Duration::ZERO).unwrap();
    }

    #[test]
    fn a_lock_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path(), Duration::ZERO).unwrap();
        let path = folder.path().to_owned();
        let second = std::thread::spawn(move || Lock::take(&path, Duration::from_secs(20)));
        std::thread::sleep(Duration::from_millis(50));
        drop(first);
        second.join().unwrap().unwrap();
    }
}
