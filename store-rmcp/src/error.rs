//! What can go wrong between rmcp and the store.

/// The result of the adapter's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the session manager or its transport refused.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This instance does not hold the session.
    #[error("this server instance does not hold the session")]
    SessionNotFound,

    /// The session was deleted, evicted, or its server is shutting down.
    #[error("the session has ended")]
    SessionEnded,

    /// rmcp handed over another kind of message than the operation is for.
    #[error("expected {0}")]
    UnexpectedMessage(&'static str),

    /// The store refused.
    #[error(transparent)]
    Store(#[from] mcp_event_store_core::Error),

    /// A background task was cut off by the runtime's shutdown, or panicked.
    #[error("a background task did not finish")]
    Task(#[from] tokio::task::JoinError),
}
