//! SQLSTATEs, by what the caller can do about them.
//!
//! Source: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.

use std::io::ErrorKind;

use mcp_event_store_core::Error;
use sqlx::Error as SqlError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// Raised by `append` when another instance created a stream between two of its steps.
const BEGIN_AGAIN: &str = "MCE01";

/// The SQLSTATE of `error`, if the server gave one.
fn code(error: &SqlError) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Whether nothing was done and the same statement may be sent again at once.
pub(crate) fn may_begin_again(error: &SqlError) -> bool {
    // Serialization failure, deadlock, and our own.
    code(error).is_some_and(|code| ["40001", "40P01", BEGIN_AGAIN].contains(&&*code))
}

/// Whether the connection that `error` came from is of no more use. What it was asked to do may
/// have been done or not.
pub(crate) fn is_lost_connection(error: &SqlError) -> bool {
    match error {
        SqlError::Database(_) => {
            is_last_word(error) || code(error).is_some_and(|code| says_lost(&code))
        }
        SqlError::Io(_) | SqlError::Protocol(_) | SqlError::Tls(_) | SqlError::WorkerCrashed => {
            true
        }
        _ => false,
    }
}

/// Whether the server ended the connection, or itself, with this error, whatever its code: one that
/// cannot write its log panics with a commit half done, which may be found done after the restart.
fn is_last_word(error: &SqlError) -> bool {
    let error = error.as_database_error().and_then(|e| e.try_downcast_ref::<PgDatabaseError>());
    error.is_some_and(|e| matches!(e.severity(), PgSeverity::Fatal | PgSeverity::Panic))
}

/// Whether the code says no more than that the connection ended.
fn says_lost(code: &str) -> bool {
    code.starts_with("08") || ["57P01", "57P02", "57P03", "57P05"].contains(&code)
}

/// Whether the server forgot a prepared statement, or its meaning has changed.
pub(crate) fn is_stale_statement(error: &SqlError) -> bool {
    code(error).is_some_and(|code| ["26000", "42P05", "0A000"].contains(&&*code))
}

/// What `error` means for the caller of a statement that stored nothing.
pub(crate) fn classify(error: SqlError) -> Error {
    match code(&error) {
        Some(code) if !says_lost(&code) => of_server(&code, error),
        _ if is_lost_connection(&error) => {
            Error::unavailable("the connection to PostgreSQL was lost", error)
        }
        _ => Error::backend("the PostgreSQL driver failed", error),
    }
}

fn of_server(code: &str, error: SqlError) -> Error {
    match (&code[..2.min(code.len())], code) {
        (_, "53100") => {
            Error::unavailable("PostgreSQL's disk is full: free space on the server", error)
        }
        (_, "53300") => Error::unavailable(
            "PostgreSQL takes no more connections: raise its max_connections, or lower writers \
             and pool_size",
            error,
        ),
        ("53", _) => Error::unavailable("PostgreSQL lacks memory or another resource", error),
        ("40", _) | (_, "MCE01") => Error::unavailable(
            "PostgreSQL ended the transaction in favour of others, several times",
            error,
        ),
        (_, "55P03") => Error::unavailable("PostgreSQL waited too long for a lock", error),
        (_, "25P04") => Error::unavailable(
            "PostgreSQL ended the connection: see the role's transaction_timeout",
            error,
        ),
        (_, "57014") => {
            let message = "PostgreSQL cancelled the statement: see the role's statement_timeout";
            Error::unavailable(message, error)
        }
        (_, "25006") => Error::unavailable(
            "PostgreSQL is read-only, as a standby is: connect to the primary server",
            error,
        ),
        (_, "42501") => {
            let message = "the PostgreSQL role lacks a right: see `Rights` in docs/postgres.md";
            Error::backend(message, error)
        }
        (_, "42P01" | "42883" | "3F000") => Error::backend(
            "a table or function of the store is missing in PostgreSQL: was the schema dropped?",
            error,
        ),
        (_, "26000" | "42P05" | "42704") => Error::backend(
            "PostgreSQL forgot a prepared statement or a setting: behind a pooler in transaction \
             mode, open the store with notify=off",
            error,
        ),
        ("XX", "XX001" | "XX002") => Error::corrupt(
            "PostgreSQL found damaged data: see its log, and restore a backup if need be",
            error,
        ),
        (_, "22021" | "22P05") => {
            let reason = "has a character that PostgreSQL cannot store, such as NUL";
            Error::invalid("text", reason)
        }
        ("58", _) => Error::unavailable("PostgreSQL met an error of its disk or system", error),
        _ => Error::backend("PostgreSQL refused", error),
    }
}

/// What `error` of an append means: when the connection is lost, nobody knows what was stored.
pub(crate) fn classify_append(error: SqlError) -> Error {
    if is_lost_connection(&error) {
        let message = "the connection to PostgreSQL was lost during a commit: the events may be \
                       stored or not";
        Error::outcome_unknown(message, error)
    } else {
        classify(error)
    }
}

/// What `error` means for whoever opens a connection to `server`.
pub(crate) fn classify_connect(error: SqlError, server: &str, user: &str) -> Error {
    match (&error, code(&error).as_deref()) {
        (_, Some("28P01" | "28000")) => Error::backend(
            format!(
                "PostgreSQL at {server} does not let `{user}` in: check the user, the password and \
                 pg_hba.conf"
            ),
            error,
        ),
        (_, Some("3D000")) => Error::backend(
            format!("PostgreSQL at {server} has no such database: create it, or check the URL"),
            error,
        ),
        (_, Some("57P03")) => Error::unavailable(
            format!("PostgreSQL at {server} is starting up or shutting down"),
            error,
        ),
        (SqlError::Io(io), _) if io.kind() != ErrorKind::InvalidData => Error::unavailable(
            format!("PostgreSQL at {server} cannot be reached: check the URL and the server"),
            error,
        ),
        // What TLS finds wrong with a certificate comes as invalid data.
        (SqlError::Tls(_) | SqlError::Io(_), _) => Error::backend(
            format!(
                "no trusted TLS connection to PostgreSQL at {server}: check sslmode, sslrootcert \
                 and the server's certificate"
            ),
            error,
        ),
        _ => classify(error),
    }
}
