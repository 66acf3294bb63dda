//! The measurements, each a module.

pub(crate) mod append;
pub(crate) mod follow;
pub(crate) mod growth;
pub(crate) mod memory;
pub(crate) mod replay;
pub(crate) mod size;
pub(crate) mod sweep;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::effort::Effort;
use crate::engines::{self, Engine};
use crate::progress::Progress;
use crate::report::StoreReport;

/// What can be measured of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measurement {
    /// Memory of an idle follower, and of a long replay.
    Memory,
    /// Appends to long streams.
    Append,
    /// One stream a request.
    Requests,
    /// Replays of long streams.
    Replay,
    /// Time from append to delivery.
    Follow,
    /// Stored bytes for an event.
    Size,
    /// Sweeping, and what it does to appends.
    Sweep,
    /// Tool calls to a whole server.
    EndToEnd,
    /// Costs by what is stored already.
    Growth,
}

impl Measurement {
    /// All of them, as they are measured.
    pub const ALL: [Self; 9] = [
        Self::Memory,
        Self::Append,
        Self::Requests,
        Self::Replay,
        Self::Follow,
        Self::Size,
        Self::Sweep,
        Self::EndToEnd,
        Self::Growth,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Append => "append",
            Self::Requests => "requests",
            Self::Replay => "replay",
            Self::Follow => "follow",
            Self::Size => "size",
            Self::Sweep => "sweep",
            Self::EndToEnd => "end-to-end",
            Self::Growth => "growth",
        }
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Measurement {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("is no measurement; write one of {known}")
        })
    }
}

/// A store that is being measured.
pub(crate) struct Bench<'a> {
    pub(crate) engine: &'a dyn Engine,
    pub(crate) effort: &'a Effort,
    /// The URL that was given.
    pub(crate) url: &'a str,
    /// The `mcp-event-store` command.
    pub(crate) program: &'a Path,
    pub(crate) is_quick: bool,
    /// Whether this process measures nothing else.
    pub(crate) is_alone: bool,
}

impl Bench<'_> {
    pub(crate) fn progress(&self, what: &str, steps: usize) -> Progress {
        Progress::new(engines::scheme(self.url), what, steps)
    }

    /// Measures `what`.
    pub(crate) async fn measure(
        &self,
        what: Measurement,
        report: &mut StoreReport,
    ) -> anyhow::Result<()> {
        match what {
            Measurement::Memory if self.is_alone => report.memory = Some(memory::here(self).await?),
            Measurement::Memory => report.memory = Some(memory::elsewhere(self).await?),
            Measurement::Append => report.appends = append::appends(self).await?,
            Measurement::Requests => report.requests = append::requests(self).await?,
            Measurement::Replay => report.replays = replay::replays(self).await?,
            Measurement::Follow => report.follows = follow::follows(self).await?,
            Measurement::Size => report.sizes = size::sizes(self).await?,
            Measurement::Sweep => report.sweep = Some(sweep::sweep(self).await?),
            Measurement::EndToEnd => {}
            Measurement::Growth => report.growth = growth::growth(self).await?,
        }
        Ok(())
    }
}
