//! One connection that tells other instances of this one's commits, and hears of theirs.
//!
//! It notifies after the commit, never inside: a transaction that notifies takes a lock on the
//! whole database until it has committed. What changes meanwhile is told together, as hashes: names
//! may be long, and whoever may connect to the database may listen.
//!
//! Whoever is alone says nothing. Each new connection says hello, and whoever hears it answers. So an
//! instance knows that there are others before any of them can miss a word: one that thought that it
//! was alone tells a newcomer that anything may have changed, and from then on what does.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mcp_event_store_core::StreamRef;
use mcp_event_store_core::backend::Wakeup;
use sqlx::postgres::{PgConnectOptions, PgListener, PgNotification, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Executor, Row};
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};

use crate::names::Names;

/// Time between two notifications, in which changes gather.
const SPACING: Duration = Duration::from_millis(2);

/// Streams that one notification names; a payload holds less than 8,000 bytes.
const NAMED: usize = 400;

/// Says that any stream may have changed.
const ANY: &str = "*";

/// What an instance says first on each connection: that any stream may have changed unheard, and that
/// it wants to hear of whoever is there.
const HELLO: &str = "?";

/// The answer to that of whoever has nothing else to say.
const HERE: &str = "!";

/// How often an instance says that it is there, whether it is alone or not: so a connection that is dead
/// shows, and whoever was missed is met again.
const PULSE: Duration = Duration::from_secs(30);

/// How long the server has to answer a notification.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Whoever has heard of nobody for so long after saying hello is alone.
const ALONE_AFTER: Duration = Duration::from_secs(1);

/// Wake-ups that a slow listener may fall behind by before it is told to look everywhere.
const WAKEUPS: usize = 8192;

/// How long to wait before connecting again to a server that is not there.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What has to be told, and whom to tell what was heard.
#[derive(Debug)]
pub(crate) struct Notices {
    channel: String,
    /// Guards what waits to be told; nothing awaits under it.
    untold: Mutex<Untold>,
    changed: Notify,
    told: Notify,
    heard: broadcast::Sender<Wakeup>,
}

#[derive(Debug, Default)]
struct Untold {
    /// Whether nobody would hear it. Then nothing is kept here.
    alone: bool,
    word: Word,
    /// Whether another is on its way.
    on_the_way: bool,
}

/// What one notification says.
#[derive(Debug, Default, PartialEq, Eq)]
enum Word {
    #[default]
    Nothing,
    /// This instance is there.
    Here,
    /// Streams have changed whose names have these hashes.
    Streams(BTreeSet<u64>),
    /// Any stream may have changed.
    Any,
}

impl Notices {
    pub(crate) fn new(names: &Names) -> Arc<Self> {
        Arc::new(Self {
            channel: names.channel(),
            untold: Mutex::default(),
            changed: Notify::new(),
            told: Notify::new(),
            heard: broadcast::Sender::new(WAKEUPS),
        })
    }

    /// Tells other instances of a commit that changed these streams.
    pub(crate) fn tell<'a>(&self, streams: impl IntoIterator<Item = &'a StreamRef>) {
        let mut untold = self.untold();
        if !untold.alone {
            streams.into_iter().for_each(|stream| untold.word.add(stream.name_hash()));
            self.changed.notify_one();
        }
    }

    /// Tells other instances that any stream may have changed.
    pub(crate) fn tell_any(&self) {
        let mut untold = self.untold();
        if !untold.alone {
            untold.word = Word::Any;
            self.changed.notify_one();
        }
    }

    /// Sets whether nobody else is there.
    fn set_alone(&self, alone: bool) {
        self.untold().alone = alone;
    }

    /// Another instance was heard.
    fn meet(&self, wants_answer: bool) {
        let mut untold = self.untold();
        if std::mem::take(&mut untold.alone) {
            // It may have listened for some time.
            untold.word = Word::Any;
        } else if wants_answer && untold.word == Word::Nothing {
            untold.word = Word::Here;
        }
        self.changed.notify_one();
    }

    /// Waits until everything has been told, for whoever is about to stop the telling. Who was alone
    /// may not have heard of a newcomer yet, who would hear of nothing.
    pub(crate) async fn all_told(&self) {
        if self.untold().alone {
            self.meet(false);
        }
        loop {
            let told = self.told.notified();
            {
                let untold = self.untold();
                if untold.word == Word::Nothing && !untold.on_the_way {
                    return;
                }
            }
            told.await;
        }
    }

    /// What is heard from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Wakeup> {
        self.heard.subscribe()
    }

    fn untold(&self) -> MutexGuard<'_, Untold> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something has to be told and `not_before` has come. May be dropped.
    async fn something_to_tell(&self, not_before: Instant) {
        loop {
            let changed = self.changed.notified();
            if self.untold().word != Word::Nothing {
                sleep_until(not_before).await;
                return;
            }
            changed.await;
        }
    }

    fn hear(&self, wakeup: Wakeup) {
        // Nobody may be listening.
        let _ = self.heard.send(wakeup);
    }
}

impl Untold {
    /// What waits to be told, which is on its way from now on.
    fn take(&mut self) -> Word {
        self.on_the_way = true;
        std::mem::take(&mut self.word)
    }
}

impl Word {
    /// Also says that the streams with this hash have changed.
    fn add(&mut self, hash: u64) {
        match self {
            Self::Nothing | Self::Here => *self = Self::Streams(BTreeSet::from([hash])),
            Self::Streams(hashes) => {
                hashes.insert(hash);
            }
            Self::Any => {}
        }
    }

    fn to_payload(&self) -> String {
        match self {
            Self::Nothing | Self::Here => HERE.to_owned(),
            Self::Streams(hashes) if hashes.len() <= NAMED => {
                let mut payload = String::with_capacity(16 * hashes.len());
                for hash in hashes {
                    let _ = write!(payload, "{hash:016x}");
                }
                payload
            }
            Self::Streams(_) | Self::Any => ANY.to_owned(),
        }
    }
}

/// Tells and hears, and connects again for as long as it is polled.
pub(crate) async fn run(notices: Arc<Notices>, connect: PgConnectOptions, timeout: Duration) {
    let mut pause = FIRST_PAUSE;
    loop {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(timeout)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(connect.clone());
        match Line::open(&notices, &pool).await {
            Ok(mut line) => {
                pause = FIRST_PAUSE;
                // What was said before told no one here.
                notices.hear(Wakeup::Any);
                if let Err(error) = line.serve(&notices).await {
                    tracing::warn!(%error, "the connection for notifications was lost");
                }
                // Nobody can be heard.
                notices.set_alone(false);
            }
            Err(error) => tracing::warn!(%error, "no connection for notifications"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// An open connection.
struct Line {
    listener: PgListener,
    /// The server's process behind it, which its own notifications come from.
    process: i64,
}

impl Line {
    async fn open(notices: &Notices, pool: &PgPool) -> sqlx::Result<Self> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.eager_reconnect(false);
        // A notification has nothing that a crash could lose, so it waits for no disk.
        listener.execute("SET synchronous_commit = off").await?;
        let row = listener.fetch_one("SELECT pg_backend_pid()::bigint").await?;
        listener.listen(&notices.channel).await?;
        notify(&mut listener, notices, HELLO).await?;
        Ok(Self { listener, process: row.try_get(0)? })
    }

    /// Serves until the connection is lost.
    async fn serve(&mut self, notices: &Notices) -> sqlx::Result<()> {
        let mut not_before = Instant::now();
        let mut alone_at = Some(not_before + ALONE_AFTER);
        let mut pulse = interval_at(not_before + PULSE, PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                heard = self.listener.try_recv() => match heard? {
                    Some(notification) if self.is_own(&notification) => {}
                    Some(notification) => {
                        alone_at = None;
                        take(notices, notification.payload());
                    }
                    None => return Ok(()),
                },
                _ = pulse.tick() => notify(&mut self.listener, notices, HERE).await?,
                () = sleep_until(alone_at.unwrap_or(not_before)), if alone_at.is_some() => {
                    alone_at = None;
                    notices.set_alone(true);
                }
                () = notices.something_to_tell(not_before) => {
                    self.tell(notices).await?;
                    not_before = Instant::now() + SPACING;
                }
            }
        }
    }

    async fn tell(&mut self, notices: &Notices) -> sqlx::Result<()> {
        let word = notices.untold().take();
        let told = notify(&mut self.listener, notices, &word.to_payload()).await;
        {
            let mut untold = notices.untold();
            untold.on_the_way = false;
            if told.is_err() {
                // Others may have heard it or not.
                untold.word = Word::Any;
            }
        }
        notices.told.notify_waiters();
        told
    }

    fn is_own(&self, notification: &PgNotification) -> bool {
        i64::from(notification.process_id()) == self.process
    }
}

/// Sends a notification, and waits until the server has taken it.
async fn notify(listener: &mut PgListener, notices: &Notices, payload: &str) -> sqlx::Result<()> {
    let notify = format!("NOTIFY {}, '{payload}'", notices.channel);
    let sent = timeout(ANSWER_WITHIN, listener.execute(AssertSqlSafe(notify))).await;
    sent.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into())).map(drop)
}

/// Takes what another instance says.
fn take(notices: &Notices, payload: &str) {
    notices.meet(payload == HELLO);
    match payload {
        ANY | HELLO => return notices.hear(Wakeup::Any),
        HERE => return,
        _ => {}
    }
    for digits in payload.as_bytes().chunks(16) {
        let hash = std::str::from_utf8(digits).map(|text| u64::from_str_radix(text, 16));
        match hash {
            Ok(Ok(hash)) => notices.hear(Wakeup::NameHash(hash)),
            // Not ours: whoever can connect to the database can notify.
            _ => notices.hear(Wakeup::Any),
        }
    }
}
