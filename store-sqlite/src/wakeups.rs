//! Noticing other processes' commits.
//!
//! `PRAGMA data_version` changes when another connection has committed, and not for the asking
//! connection's own commits; so it is the writer that asks. Source:
//! <https://www.sqlite.org/pragma.html#pragma_data_version>.

use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream;
use mcp_event_store_core::Result;
use mcp_event_store_core::backend::Wakeup;
use sqlx::Row;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::error::classify;
use crate::writer::Writer;

/// How long another process's commit may go unnoticed: the bound of rule F2.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// How long to wait before asking a database that did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Says [`Wakeup::Any`] after each commit of another connection, as long as it is polled.
pub(crate) fn watch(writer: Arc<Writer>) -> impl Stream<Item = Wakeup> + Send + 'static {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold((writer, ticks, None), |(writer, mut ticks, mut seen)| async move {
        loop {
            ticks.tick().await;
            let version = data_version(&writer).await.ok();
            if version.is_none() {
                // Followers are better woken than left waiting, but not all the time.
                sleep(PAUSE).await;
            }
            if version.is_none() || version != seen {
                seen = version;
                return Some((Wakeup::Any, (writer, ticks, seen)));
            }
        }
    })
}

async fn data_version(writer: &Writer) -> Result<i64> {
    let mut connection = writer.lock().await?;
    let query = sqlx::query("PRAGMA data_version");
    let row = query.fetch_one(&mut *connection).await.map_err(classify)?;
    row.try_get(0).map_err(classify)
}
