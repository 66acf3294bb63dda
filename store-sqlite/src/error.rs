//! SQLite's result codes, by what the caller can do about them.
//!
//! Source: <https://www.sqlite.org/rescode.html>. The driver gives extended codes; the low byte is
//! the primary one.

use mcp_event_store_core::Error;

const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const READONLY: u32 = 8;
const IOERR: u32 = 10;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const CANTOPEN: u32 = 14;
const TOOBIG: u32 = 18;
const NOTADB: u32 = 26;

/// `SQLITE_CONSTRAINT_TRIGGER`, an extended code: a trigger's `RAISE`.
const RAISED: u32 = 1811;

/// The extended result code of `error`, if SQLite gave one.
fn extended_code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// The primary result code of `error`, if SQLite gave one.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    extended_code(error).map(|extended| extended & 0xff)
}

/// Whether `error` came from a `RAISE` in the schema.
pub(crate) fn is_raised(error: &sqlx::Error) -> bool {
    extended_code(error) == Some(RAISED)
}

/// Whether another connection's lock was in the way.
pub(crate) fn is_locked(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(BUSY | LOCKED))
}

/// Whether `error` leaves it open what reached the disk: the store must be opened again.
pub(crate) fn is_io_error(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(IOERR) || matches!(error, sqlx::Error::WorkerCrashed)
}

/// What `error` means for the caller of a statement that stored nothing.
pub(crate) fn classify(error: sqlx::Error) -> Error {
    match primary_code(&error) {
        _ if is_locked(&error) => Error::unavailable(
            "the SQLite database is locked by another process: end it, or raise busy_timeout",
            error,
        ),
        Some(FULL) => Error::unavailable(
            "the disk or the SQLite file is full: free space, or raise max_file_size",
            error,
        ),
        Some(READONLY) => Error::backend(
            "the SQLite database is read-only: let this user write the file and its directory",
            error,
        ),
        Some(CANTOPEN) => Error::backend(
            "the SQLite database cannot be opened: check that the path is a file that this user \
             may read and write, in a directory where it may create files",
            error,
        ),
        Some(CORRUPT) => Error::corrupt(
            "the SQLite database is damaged: run `PRAGMA integrity_check`, and restore a backup",
            error,
        ),
        Some(NOTADB) => Error::corrupt(
            "the file is no SQLite database: choose another path, or move the file away",
            error,
        ),
        Some(TOOBIG) => Error::backend("SQLite cannot store a text of this size", error),
        Some(IOERR) => Error::backend(
            "the disk failed while SQLite used it: check the disk, then open the store again",
            error,
        ),
        _ => Error::backend("SQLite refused", error),
    }
}

/// What `error` of a `COMMIT` means: after an I/O error the commit may be on the disk or not.
pub(crate) fn classify_commit(error: sqlx::Error) -> Error {
    if is_io_error(&error) {
        let message = "the disk failed during a commit: the events may be stored or not; check the \
                       disk, then open the store again";
        Error::outcome_unknown(message, error)
    } else {
        classify(error)
    }
}
