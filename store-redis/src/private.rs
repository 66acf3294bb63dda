//! A connection that one call at a time has for itself, and keeps going itself.
//!
//! A shared connection is a task of its own: an answer wakes it, it wakes the writer, that wakes the
//! caller, whose next event wakes the writer again, and that the connection. The runtime lets three
//! tasks follow each other on a thread like that, and wakes another thread for the next, which takes
//! longer than all of them. Without a task of the connection they are two.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::Fuse;
use futures_util::task::AtomicWaker;
use tokio::task::unconstrained;

use crate::connect::Link;

/// How often what a call and its connection wake in each other is polled at once. There is more
/// only where the runtime wants the task to yield.
const TURNS: u32 = 16;

/// What reads and writes a connection.
pub(crate) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) struct Private {
    link: Link,
    driver: Fuse<Driver>,
    bell: Arc<Bell>,
    used_at: Instant,
}

impl Private {
    pub(crate) fn new(link: Link, driver: Driver) -> Self {
        Self { link, driver: driver.fuse(), bell: Arc::default(), used_at: Instant::now() }
    }

    /// Whether this side knows that the connection is not to be used.
    pub(crate) fn is_closed(&self) -> bool {
        self.link.is_closed()
    }

    /// Whether the connection is open, as far as this side knows: it has been at rest.
    pub(crate) fn is_open(&mut self) -> bool {
        let ended = unconstrained(&mut self.driver).now_or_never();
        ended.is_none() && !self.is_closed()
    }

    /// For how long nobody has used it.
    pub(crate) fn rested(&self) -> Duration {
        self.used_at.elapsed()
    }

    /// Keeps the connection going until `call`, which uses it, is done.
    pub(crate) async fn during<T>(&mut self, call: impl AsyncFnOnce(&Link) -> T) -> T {
        let Self { link, driver, bell, .. } = self;
        let mut call = pin!(call(link));
        let done = poll_fn(|context| {
            bell.poll(context, |context| {
                // Its end is what the call will hear of.
                let _ = driver.poll_unpin(context);
                call.as_mut().poll(context)
            })
        })
        .await;
        self.used_at = Instant::now();
        done
    }
}

/// Wakes a task, or has it go on while it runs.
#[derive(Default)]
struct Bell {
    task: AtomicWaker,
    is_running: AtomicBool,
    has_rung: AtomicBool,
}

impl Bell {
    /// Polls again what rings while it is polled, and has the task woken when it rings later.
    fn poll<T>(
        self: &Arc<Self>,
        task: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.task.register(task.waker());
        let waker = Waker::from(self.clone());
        for _ in 0..TURNS {
            self.is_running.store(true, Ordering::SeqCst);
            // What rang is seen by what is polled now.
            self.has_rung.swap(false, Ordering::SeqCst);
            if let Poll::Ready(done) = poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(done);
            }
            self.is_running.store(false, Ordering::SeqCst);
            if !self.has_rung.load(Ordering::SeqCst) {
                return Poll::Pending;
            }
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::SeqCst);
        if !self.is_running.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::{mpsc, oneshot};

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wakes {
        fn get(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn what_two_futures_wake_in_each_other_wakes_no_task() {
        let (count, bell) = (Arc::new(Wakes::default()), Arc::new(Bell::default()));
        let waker = Waker::from(count.clone());
        let mut task = Context::from_waker(&waker);
        let (ask, mut asked) = mpsc::unbounded_channel::<oneshot::Sender<u32>>();
        let mut driver = pin!(async {
            while let Some(answer) = asked.recv().await {
                answer.send(7).unwrap();
            }
        });
        let (resume, resumed) = oneshot::channel::<()>();
        let mut call = pin!(async {
            let question = async || {
                let (answer, answered) = oneshot::channel();
                ask.send(answer).unwrap();
                answered.await.unwrap()
            };
            let first = question().await;
            resumed.await.unwrap();
            first + question().await
        });
        let mut poll = || {
            bell.poll(&mut task, |context| {
                let _ = driver.as_mut().poll(context);
                call.as_mut().poll(context)
            })
        };
        assert_eq!(poll(), Poll::Pending);
        assert_eq!(count.get(), 0);
        // From elsewhere, it does.
        resume.send(()).unwrap();
        assert_eq!(count.get(), 1);
        assert_eq!(poll(), Poll::Ready(14));
        assert_eq!(count.get(), 1);
    }

    #[test]
    fn what_always_wakes_itself_lets_others_have_their_turn() {
        let (count, bell) = (Arc::new(Wakes::default()), Arc::new(Bell::default()));
        let waker = Waker::from(count.clone());
        let mut turns = 0;
        let polled = bell.poll(&mut Context::from_waker(&waker), |context| {
            turns += 1;
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert_eq!((polled, turns, count.get()), (Poll::Pending, TURNS, 1));
    }
}
