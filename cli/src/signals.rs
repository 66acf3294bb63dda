//! SIGINT and SIGTERM.

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask a server to stop. Listening begins when this is made.
pub(crate) struct Signals {
    #[cfg(unix)]
    unix: (Signal, Signal),
}

impl Signals {
    #[cfg(unix)]
    pub(crate) fn new() -> std::io::Result<Self> {
        let (int, term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { unix: (int, term) })
    }

    #[cfg(not(unix))]
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next of them.
    #[cfg(unix)]
    pub(crate) async fn stop_requested(&mut self) {
        let (int, term) = &mut self.unix;
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
    }

    #[cfg(not(unix))]
    pub(crate) async fn stop_requested(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
