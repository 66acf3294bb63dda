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

    /// The session belongs to another principal, so to this one it does not exist.
    #[error("the session was not found")]
    NotYours,

    /// A client answered a request that this life of its session has not sent.
    #[error("the answer belongs to no request of this server instance")]
    NotAskedHere,

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
