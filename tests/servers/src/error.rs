//! Why there is no server, or why it does not do what it should.

/// Why a test gets no server, or why a server does not do what it should. Shows no password.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to take a server from.
    #[error("no {what} to test with. Looked for:\n{looked}\nDo one of these:\n{remedies}")]
    NoServer {
        /// The kind of server.
        what: &'static str,
        /// A line for each place, and what was found there.
        looked: String,
        /// A line for each way to get one.
        remedies: String,
    },
    /// A variable of the environment asks for what cannot be.
    #[error("{variable}: {problem}")]
    Variable {
        /// The name of the variable.
        variable: &'static str,
        /// What is wrong with its value, and what to do.
        problem: String,
    },
    /// A server did not start.
    #[error("{what} did not start: {problem}\nIts last words:\n{log}")]
    Start {
        /// The kind of server, and where it should run.
        what: String,
        /// What it did instead.
        problem: String,
        /// The end of its log.
        log: String,
    },
    /// A running server could not be dealt with.
    #[error("{what}: {problem}")]
    Server {
        /// The kind of server, and where it runs.
        what: String,
        /// What happened.
        problem: String,
    },
    /// The server is the user's: no test may kill it.
    #[error(
        "{what} is the user's own, and no test may stop it; ask for a server of the test's own"
    )]
    Users {
        /// The kind of server, and where it runs.
        what: String,
    },
    /// This process itself lacks something, such as a free port.
    #[error("{what}: {problem}")]
    Here {
        /// What was wanted.
        what: &'static str,
        /// What happened.
        problem: String,
    },
}

impl Error {
    pub(crate) fn here(what: &'static str, problem: impl std::fmt::Display) -> Self {
        Self::Here { what, problem: format!("{problem}") }
    }

    /// Adds a place that was looked into first.
    pub(crate) fn after_looking(mut self, place: &str) -> Self {
        if let Self::NoServer { looked, .. } = &mut self {
            *looked = format!("  - {place}\n{looked}");
        }
        self
    }
}
