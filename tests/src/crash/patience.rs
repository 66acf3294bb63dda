//! Calls that are made again while the store is unavailable: a database that was killed takes a
//! moment to come back.

use std::time::Duration;

use mcp_event_store_core::{EventStoreExt, StoredEvent, StreamRef};

use crate::failure::Outcome;
use crate::instance::{Instance, within};

/// The pause before a call is made again.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// Calls again while the store is unavailable.
macro_rules! patiently {
    ($store:expr, $call:expr) => {{
        let start = std::time::Instant::now();
        loop {
            match $call {
                Err(mcp_event_store_core::Error::Unavailable { .. })
                    if start.elapsed() < $store.patience =>
                {
                    tokio::time::sleep($crate::crash::patience::PAUSE).await;
                }
                answer => break answer?,
            }
        }
    }};
}
pub(crate) use patiently;

/// Reads a stream from its oldest event.
pub(crate) async fn read(store: &Instance, one: &StreamRef) -> Outcome<Vec<StoredEvent>> {
    let whole = || within(store.patience, "a read", store.events.read_to_vec(one));
    Ok(patiently!(store, whole().await?))
}
