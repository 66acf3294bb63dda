//! What a check is given: its scope, its clock, and the stores it opens there.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use mcp_event_store_core::{Clock, Limits, Maintenance, Retention, Settings};

use crate::failure::{Mismatch, Outcome};
use crate::harness::{Cut, Harness, HarnessError};
use crate::instance::Instance;
use crate::need::Need;
use crate::process::{Helper, Role};

/// Makes a scope of the harness that a check runs with.
type Create = fn() -> BoxFuture<'static, Result<Box<dyn Harness>, HarnessError>>;

pub(crate) struct Ctx {
    harness: Box<dyn Harness>,
    create: Create,
    offers: Vec<Need>,
    role: Role,
    path: Option<String>,
    patience: Duration,
    pub(crate) clock: Clock,
    /// What was opened, to be closed at the end. Weak, so that a check can drop a store.
    opened: Mutex<Vec<Weak<dyn Maintenance>>>,
}

/// Settings that keep and allow everything, to be narrowed by a check.
pub(crate) fn unlimited() -> Settings {
    Settings {
        retention: Retention::keep_everything(),
        limits: Limits::unlimited(),
        ..Settings::default()
    }
}

/// Settings that keep what the changed retention says.
pub(crate) fn keeping(change: impl FnOnce(&mut Retention)) -> Settings {
    let mut settings = unlimited();
    change(&mut settings.retention);
    settings
}

/// Settings that refuse what the changed limits say.
pub(crate) fn limited(change: impl FnOnce(&mut Limits)) -> Settings {
    let mut settings = unlimited();
    change(&mut settings.limits);
    settings
}

impl Ctx {
    pub(crate) async fn new<H: Harness>(
        offers: Vec<Need>,
        role: Role,
        path: Option<String>,
    ) -> Outcome<Self> {
        let harness = match &role {
            Role::Child(address) => H::attach(address).await,
            _ => H::create().await,
        };
        let harness = harness.map_err(|error| Mismatch::harness("a scope", error))?;
        Ok(Self {
            patience: harness.patience(),
            harness: Box::new(harness),
            create: || {
                Box::pin(async { H::create().await.map(|h| Box::new(h) as Box<dyn Harness>) })
            },
            offers,
            role,
            path,
            clock: Clock::manual(),
            opened: Mutex::default(),
        })
    }

    /// The same check on another, empty scope, with a clock of its own. Whoever asks for it has
    /// to [`finish`](Self::finish) it.
    pub(crate) async fn elsewhere(&self) -> Outcome<Self> {
        let harness = (self.create)().await.map_err(|error| Mismatch::harness("a scope", error))?;
        Ok(Self {
            patience: harness.patience(),
            harness,
            create: self.create,
            offers: self.offers.clone(),
            role: self.role.clone(),
            path: self.path.clone(),
            clock: Clock::manual(),
            opened: Mutex::default(),
        })
    }

    pub(crate) fn offers(&self, need: Need) -> bool {
        self.offers.contains(&need)
    }

    /// Whether this process only helps the one that checks.
    pub(crate) fn is_child(&self) -> bool {
        matches!(self.role, Role::Child(_))
    }

    pub(crate) fn address(&self) -> String {
        self.harness.address()
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// The same, but that no operation may take longer than `patience`.
    pub(crate) fn with_patience(self, patience: Duration) -> Self {
        Self { patience: self.patience.min(patience), ..self }
    }

    pub(crate) fn recency_is_exact(&self) -> bool {
        self.harness.recency_is_exact()
    }

    pub(crate) fn wake_up_bound(&self) -> Duration {
        self.harness.wake_up_bound()
    }

    /// A store that keeps and allows everything.
    pub(crate) async fn open(&self) -> Outcome<Instance> {
        self.open_with(&unlimited()).await
    }

    pub(crate) async fn open_with(&self, settings: &Settings) -> Outcome<Instance> {
        let opened = self.harness.open(settings, &self.clock).await;
        let opened = opened.map_err(|error| Mismatch::harness("an open store", error))?;
        if let Some(maintenance) = &opened.maintenance {
            self.opened.lock().unwrap().push(Arc::downgrade(maintenance));
        }
        Ok(Instance::new(opened, self.patience))
    }

    /// `count` instances on the scope if several can be open, else one.
    pub(crate) async fn open_up_to(&self, count: usize, with: &Settings) -> Outcome<Vec<Instance>> {
        let count = if self.offers(Need::SecondInstance) { count } else { 1 };
        let mut instances = Vec::new();
        for _ in 0..count {
            instances.push(self.open_with(with).await?);
        }
        Ok(instances)
    }

    /// Closes `instance` and opens the scope again.
    pub(crate) async fn reopen(&self, instance: Instance, with: &Settings) -> Outcome<Instance> {
        instance.shut().await?;
        self.open_with(with).await
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) async fn cut(&self, cut: Cut) -> Outcome {
        let cut = self.harness.cut(cut).await;
        cut.map_err(|error| Mismatch::harness("to cut the connection", error))
    }

    pub(crate) async fn mend(&self) -> Outcome {
        let mended = self.harness.mend().await;
        mended.map_err(|error| Mismatch::harness("to mend the connection", error))
    }

    pub(crate) async fn kill_server(&self) -> Outcome {
        let killed = self.harness.kill_server().await;
        killed.map_err(|error| Mismatch::harness("to kill the server", error))
    }

    pub(crate) async fn back_up(&self) -> Outcome {
        let saved = self.harness.back_up().await;
        saved.map_err(|error| Mismatch::harness("a backup", error))
    }

    pub(crate) async fn lose_tail(&self) -> Outcome {
        let lost = self.harness.lose_tail().await;
        lost.map_err(|error| Mismatch::harness("to lose the newest writes", error))
    }

    /// Starts this check once more in another process, on this scope.
    pub(crate) fn start_helper(&self) -> Outcome<Helper> {
        let path = self.path.as_deref();
        let path = path.ok_or_else(|| Mismatch::harness("a test to run again", "none"))?;
        Helper::start(path, &self.address(), self.patience)
    }

    /// Closes what is still open, and removes the scope if all went well.
    pub(crate) async fn finish(self, outcome: Outcome) -> Outcome {
        let left: Vec<_> = std::mem::take(&mut *self.opened.lock().unwrap());
        for maintenance in left.iter().filter_map(Weak::upgrade) {
            // How a store closes is looked at where it is checked.
            let _ = tokio::time::timeout(self.patience, maintenance.close()).await;
        }
        if outcome.is_ok() && !self.is_child() {
            let removed = self.harness.tear_down().await;
            removed.map_err(|error| Mismatch::harness("to remove the scope", error))
        } else {
            std::mem::forget(self.harness);
            outcome
        }
    }
}
