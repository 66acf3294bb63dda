//! Noticing other instances' commits: their scripts publish on one channel.
//!
//! Publishing is not reliable: a message is lost when a connection is, or when a cluster's bus
//! drops it. So a poll stands behind it, which also finds that a server was flushed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use mcp_event_store_core::backend::Wakeup;
use mcp_event_store_core::{Result, SessionId, StreamId, StreamRef};
use redis::aio::PubSubStream;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use crate::call::Redis;
use crate::keys::channel;
use crate::rows::Reader;

/// How long a change may go unnoticed whose message was lost.
const POLL: Duration = Duration::from_secs(3);

/// How long to wait before asking a server that could not be reached.
const PAUSE: Duration = Duration::from_millis(250);

struct Watch {
    redis: Arc<Redis>,
    /// Whose messages are passed over: they are known already.
    instance: [u8; 8],
    messages: Option<PubSubStream>,
    poll: Interval,
    told: VecDeque<Wakeup>,
}

/// Says which streams other instances changed, as long as it is polled.
pub(crate) fn watch(
    redis: Arc<Redis>,
    instance: [u8; 8],
) -> impl Stream<Item = Wakeup> + Send + 'static {
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watch = Watch { redis, instance, messages: None, poll, told: VecDeque::new() };
    stream::unfold(watch, |mut watch| async move {
        let wakeup = watch.next().await;
        Some((wakeup, watch))
    })
}

impl Watch {
    async fn next(&mut self) -> Wakeup {
        loop {
            if let Some(wakeup) = self.told.pop_front() {
                return wakeup;
            }
            let Some(messages) = &mut self.messages else {
                match self.redis.nodes.subscribe(&channel(&self.redis.prefix)).await {
                    Ok(pubsub) => self.messages = Some(pubsub.into_on_message()),
                    Err(error) => {
                        tracing::debug!(%error, "not listening to other instances");
                        sleep(PAUSE).await;
                    }
                }
                // What was told before, nobody heard.
                return Wakeup::Any;
            };
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => self.take(message.get_payload_bytes()),
                    None => self.messages = None,
                },
                _ = self.poll.tick() => return Wakeup::Any,
            }
        }
    }

    /// Takes one message: an instance, then the streams that it changed, or none for any.
    fn take(&mut self, message: &[u8]) {
        let Some((instance, streams)) = message.split_first_chunk() else { return };
        if *instance == self.instance {
            return;
        }
        match changed(streams) {
            Ok(streams) if !streams.is_empty() => {
                self.told.extend(streams.into_iter().map(Wakeup::Stream));
            }
            // A message of a later version is better taken for too much than for nothing.
            _ => self.told.push_back(Wakeup::Any),
        }
    }
}

fn changed(packed: &[u8]) -> Result<Vec<StreamRef>> {
    let (mut fields, mut streams) = (Reader::new(packed), Vec::new());
    while !fields.is_empty() {
        let session = usize::from(u16::from_be_bytes(fields.bytes()?));
        let name = usize::from(u16::from_be_bytes(fields.bytes()?));
        let (session, name) = (fields.text(session)?, fields.text(name)?);
        let session = (!session.is_empty()).then(|| SessionId::new(session)).transpose()?;
        streams.push(StreamRef { session, stream: StreamId::new(name)? });
    }
    Ok(streams)
}
