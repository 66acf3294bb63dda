//! The measurements, each a module.

pub(crate) mod append;
pub(crate) mod end_to_end;
pub(crate) mod follow;
pub(crate) mod growth;
pub(crate) mod memory;
pub(crate) mod replay;
pub(crate) mod size;
pub(crate) mod sweep;

use std::path::Path;

use crate::effort::Effort;
use crate::engines::{self, Engine};
use crate::measurement::Measurement;
use crate::progress::Progress;
use crate::report::{EndToEnd, StoreReport};

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
            Measurement::EndToEnd => report.end_to_end = self.end_to_end().await?,
            Measurement::Growth => report.growth = growth::growth(self).await?,
        }
        Ok(())
    }

    async fn end_to_end(&self) -> anyhow::Result<Vec<EndToEnd>> {
        let Effort { clients, rounds, round, .. } = *self.effort;
        let url = self.engine.store_url("end_to_end");
        let contenders = end_to_end::contenders(&url);
        let progress = self.progress("end to end", contenders.len() * (rounds + 1));
        let results =
            end_to_end::measure(self.program, &contenders, clients, rounds, round * 2, &progress)
                .await?;
        self.engine.clean().await?;
        Ok(results)
    }
}
