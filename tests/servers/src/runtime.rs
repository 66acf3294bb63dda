//! The runtime of this crate, which outlives those of the tests.

use std::future::Future;
use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};

use crate::error::Error;

static RUNTIME: LazyLock<Result<Runtime, Error>> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).thread_name("test-servers").enable_all();
    builder.build().map_err(|error| Error::here("a runtime for the servers", error))
});

pub(crate) fn runtime() -> Result<&'static Runtime, Error> {
    RUNTIME.as_ref().map_err(Clone::clone)
}

/// Runs the future on this crate's runtime, to its end: a caller that goes away does not stop it.
pub(crate) async fn run<T: Send + 'static>(
    future: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let task = runtime()?.spawn(future);
    task.await.unwrap_or_else(|error| Err(Error::here("a task of the servers", error)))
}
