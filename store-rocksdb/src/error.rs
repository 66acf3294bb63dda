//! RocksDB's errors, by what the caller can do about them.
//!
//! The C interface hands out a status as text, `code: subcode: message`. Code and subcode come
//! from fixed tables in RocksDB (`util/status.cc`); only they are looked at here, never the
//! message, which may hold the system's own words.

use mcp_event_store_core::Error;
use rocksdb::ErrorKind;

/// RocksDB's name for the subcode `kNoSpace`.
const NO_SPACE: &str = "No space left on device";

fn is_full(error: &rocksdb::Error) -> bool {
    error.kind() == ErrorKind::IOError
        && error.as_ref().split(": ").nth(1).is_some_and(|subcode| subcode == NO_SPACE)
}

/// Whether `error` of a write leaves it open what reached the disk: the store must be opened
/// again. A full disk is none: RocksDB goes on by itself once there is room.
pub(crate) fn is_io_error(error: &rocksdb::Error) -> bool {
    error.kind() == ErrorKind::IOError && !is_full(error)
}

/// What `error` means for the caller of an operation that stored nothing.
pub(crate) fn classify(error: rocksdb::Error) -> Error {
    match error.kind() {
        _ if is_full(&error) => Error::unavailable(
            "the disk of the RocksDB directory is full: free space, and the store goes on by \
             itself within seconds",
            error,
        ),
        ErrorKind::Busy | ErrorKind::TimedOut | ErrorKind::TryAgain | ErrorKind::Incomplete => {
            Error::unavailable("RocksDB is busy: try again", error)
        }
        ErrorKind::Corruption => Error::corrupt(
            "the RocksDB directory is damaged: restore a backup, or check the files with \
             `ldb checkconsistency` and `sst_dump --verify_checksum`",
            error,
        ),
        ErrorKind::IOError => Error::backend(
            "the disk failed while RocksDB used it: check the disk, then open the store again",
            error,
        ),
        ErrorKind::ShutdownInProgress => Error::Closed,
        _ => Error::backend("RocksDB refused", error),
    }
}

/// Whether `error` only says that what was looked for in memory may be on the disk.
pub(crate) fn is_not_in_memory(error: &Error) -> bool {
    let cause = error.cause().and_then(|cause| cause.downcast_ref::<rocksdb::Error>());
    cause.is_some_and(|cause| cause.kind() == ErrorKind::Incomplete)
}

/// What `error` of a commit means: after an I/O error the commit may be on the disk or not.
pub(crate) fn classify_commit(error: rocksdb::Error) -> Error {
    if is_io_error(&error) {
        let message = "the disk failed during a commit: the events may be stored or not; check the \
                       disk, then open the store again";
        Error::outcome_unknown(message, error)
    } else {
        classify(error)
    }
}

/// The error for a value that cannot be read.
pub(crate) fn damaged(what: &str) -> Error {
    let message = format!("the RocksDB directory holds a damaged {what}: restore a backup");
    Error::Corrupt { message: message.into(), cause: None }
}
