//! One error type, its variants named for what the caller decides.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::sync::Arc;

use crate::id::{EventId, StreamRef};

/// The result of every operation here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The driver's own error, shared because one failed commit answers many callers.
pub type Cause = Arc<dyn StdError + Send + Sync + 'static>;

/// What went wrong, by what the caller can do about it.
#[non_exhaustive]
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The caller gave something that can never work. Change it.
    #[error("{field}: {reason}")]
    InvalidInput {
        /// The argument or configuration key.
        field: Cow<'static, str>,
        /// What is wrong with it, and what would be right.
        reason: Cow<'static, str>,
    },

    /// The event or record exceeds a configured size. Nothing was stored.
    #[error("{field} has {bytes} bytes, and {limit} allows {allowed}: send less, or raise {limit}")]
    TooLarge {
        /// What was too large.
        field: &'static str,
        /// Its size in bytes.
        bytes: u64,
        /// The configuration key of the limit.
        limit: &'static str,
        /// The limit's value in bytes.
        allowed: u64,
    },

    /// A configured number is used up. Nothing was stored; others are not affected.
    #[error("{limit} ({allowed}) is reached: finish or delete some, or raise {limit}")]
    LimitReached {
        /// The configuration key of the limit.
        limit: &'static str,
        /// The limit's value.
        allowed: u64,
    },

    /// The stream's last response is stored already; it takes no more events.
    #[error("the stream is complete and takes no more events")]
    StreamComplete,

    /// The session was deleted; until its mark expires nothing can be stored under its name.
    #[error("the session was deleted")]
    SessionDeleted,

    /// No such event in this scope: never stored, deleted, forgotten, or another's.
    #[error("the event ID is unknown here")]
    UnknownEvent,

    /// Events after the given one were removed by retention, so a replay would have a hole.
    #[error("events after this one have expired")]
    EventsExpired {
        /// The stream that the event belongs to.
        stream: StreamRef,
        /// The newest removed event: replaying after it gives everything that is left.
        resume_after: EventId,
    },

    /// The database cannot be reached or is busy. Nothing was stored; trying again may help.
    #[error("{message}")]
    Unavailable {
        /// What happened and what to do.
        message: Cow<'static, str>,
        /// The driver's error.
        #[source]
        cause: Option<Cause>,
    },

    /// The connection was lost during a commit: the event may be stored or not. Storing it again
    /// blindly could store it twice.
    #[error("{message}")]
    OutcomeUnknown {
        /// What happened.
        message: Cow<'static, str>,
        /// The driver's error.
        #[source]
        cause: Option<Cause>,
    },

    /// Stored data is damaged. Other streams may still be readable.
    #[error("{message}")]
    Corrupt {
        /// What is damaged and what to do.
        message: Cow<'static, str>,
        /// The driver's error.
        #[source]
        cause: Option<Cause>,
    },

    /// The store was closed.
    #[error("the store is closed")]
    Closed,

    /// The database refused, and trying again will not help.
    #[error("{message}")]
    Backend {
        /// What happened and what to do.
        message: Cow<'static, str>,
        /// The driver's error.
        #[source]
        cause: Option<Cause>,
    },
}

macro_rules! with_cause {
    ($(#[$doc:meta])* $name:ident, $variant:ident) => {
        $(#[$doc])*
        pub fn $name(
            message: impl Into<Cow<'static, str>>,
            cause: impl StdError + Send + Sync + 'static,
        ) -> Self {
            Self::$variant { message: message.into(), cause: Some(Arc::new(cause)) }
        }
    };
}

impl Error {
    /// [`Error::InvalidInput`] for `field`.
    pub fn invalid(
        field: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::InvalidInput { field: field.into(), reason: reason.into() }
    }

    with_cause! {
        /// [`Error::Unavailable`] with its cause.
        unavailable, Unavailable
    }
    with_cause! {
        /// [`Error::OutcomeUnknown`] with its cause.
        outcome_unknown, OutcomeUnknown
    }
    with_cause! {
        /// [`Error::Corrupt`] with its cause.
        corrupt, Corrupt
    }
    with_cause! {
        /// [`Error::Backend`] with its cause.
        backend, Backend
    }

    /// The driver's error, for a caller that knows its type.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        match self {
            Self::Unavailable { cause, .. }
            | Self::OutcomeUnknown { cause, .. }
            | Self::Corrupt { cause, .. }
            | Self::Backend { cause, .. } => cause.as_deref(),
            _ => None,
        }
    }

    /// Whether the same call may succeed later, without any risk of doing it twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_stays_in_source() {
        let error = Error::unavailable("busy", std::io::Error::other("disk says no"));
        assert_eq!(error.to_string(), "busy");
        assert_eq!(error.source().unwrap().to_string(), "disk says no");
        assert!(error.cause().unwrap().is::<std::io::Error>());
    }

    #[test]
    fn only_unavailable_may_be_retried() {
        assert!(Error::unavailable("", std::io::Error::other("")).is_retryable());
        assert!(!Error::outcome_unknown("", std::io::Error::other("")).is_retryable());
        assert!(!Error::UnknownEvent.is_retryable());
    }
}
