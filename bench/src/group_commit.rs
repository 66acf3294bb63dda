//! The least that a store needs which joins callers into commits: a queue, and connections that
//! commit the engine's own rows for all who wait in it.
//!
//! The raw limit has as many rows under way as it likes. Callers who wait for their own row cannot
//! have more under way than they are, and each has to be woken: a store pays that too.

use anyhow::Context as _;
use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, yield_now};

use crate::engines::Connection;
use crate::race::Lane;

/// Rows of a commit, at most: as many as the store's.
const MOST: usize = 1024;

/// Where to say whether a row was stored.
type Answer = oneshot::Sender<Result<(), String>>;

/// Lanes that store a row at a time, on `connections` in turn. What works for them runs in
/// `workers`, and ends when they are dropped.
pub(crate) fn callers(
    connections: Vec<Box<dyn Connection>>,
    callers: usize,
    workers: &mut JoinSet<()>,
) -> Vec<Box<dyn Lane>> {
    let mut queues = Vec::new();
    for connection in connections {
        let (queue, waiting) = mpsc::unbounded_channel();
        workers.spawn(commit_for_callers(connection, waiting));
        queues.push(queue);
    }
    let dealt = queues.iter().cycle().take(callers);
    dealt.map(|queue| -> Box<dyn Lane> { Box::new(Caller(queue.clone())) }).collect()
}

struct Caller(mpsc::UnboundedSender<Answer>);

#[async_trait]
impl Lane for Caller {
    async fn commit(&mut self) -> anyhow::Result<usize> {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).ok().context("what commits for callers has ended")?;
        let stored = answered.await.context("what commits for callers has ended")?;
        stored.map_err(anyhow::Error::msg)?;
        Ok(1)
    }
}

async fn commit_for_callers(
    mut connection: Box<dyn Connection>,
    mut waiting: mpsc::UnboundedReceiver<Answer>,
) {
    while let Some(first) = waiting.recv().await {
        // Those who were answered just now may queue again, as the store lets them, but for as long as
        // they come: here nobody has anything else to do.
        loop {
            let before = waiting.len();
            yield_now().await;
            if waiting.len() == before {
                break;
            }
        }
        let mut callers = vec![first];
        while callers.len() < MOST
            && let Ok(caller) = waiting.try_recv()
        {
            callers.push(caller);
        }
        let stored = connection.commit(callers.len()).await;
        let stored = stored.map_err(|error| format!("{error:#}"));
        for caller in callers {
            // Whoever went away does not mind.
            let _ = caller.send(stored.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::measure::size::commit_all;

    /// Notes how many rows each commit had, and fails the one that would be the last.
    struct Noted(Arc<Mutex<Vec<usize>>>, usize);

    #[async_trait]
    impl Connection for Noted {
        async fn commit(&mut self, rows: usize) -> anyhow::Result<()> {
            let mut noted = self.0.lock().unwrap();
            noted.push(rows);
            anyhow::ensure!(noted.len() < self.1, "enough");
            Ok(())
        }
    }

    #[tokio::test]
    async fn callers_share_commits_and_learn_of_errors() {
        let (noted, mut workers) = (Arc::default(), JoinSet::new());
        let lanes = callers(vec![Box::new(Noted(Arc::clone(&noted), 4))], 10, &mut workers);
        commit_all(lanes, 3).await.unwrap();
        workers.join_all().await;
        // On one thread, all ten have queued before any of them is answered.
        assert_eq!(*noted.lock().unwrap(), [10, 10, 10]);

        let (noted, mut workers) = (Arc::default(), JoinSet::new());
        let lanes = callers(vec![Box::new(Noted(Arc::clone(&noted), 1))], 2, &mut workers);
        let error = commit_all(lanes, 1).await.unwrap_err();
        assert_eq!(error.to_string(), "enough");
    }
}
