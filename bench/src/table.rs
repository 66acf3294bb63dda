//! A report as a Markdown document.

mod appends;
mod grid;
mod reading;

use std::fmt::Write as _;

use grid::Grid;

use crate::aims::AIMS;
use crate::numbers::{bytes, time_spread};
use crate::plots;
use crate::report::{Report, StoreReport};
use crate::stats::float;

/// How to read what follows.
const READING: &str = "\
The raw limit is the engine by itself, with the same rows and the same durability, driven as fast \
as it goes. A bare group commit is the same engine behind a mere queue: as many callers as the \
store's, each of whom waits for a row of its own, and connections that commit what waits. One with \
streams' rows also keeps, in the same commit, where each event's stream ends. The naive store commits \
each event by itself. The store's own rows by the driver alone are what an event costs in the \
store's own tables where nothing is in front of them and nothing is decided; by a statement that \
decides, where it is asked of the stream's row where the event comes, and whether it may, for one \
caller with nothing in front of it, and for more of them behind a bare group commit's queue. Contenders \
took turns in one run, so read the ratios: the figures are those of one machine. A figure is the \
median of the rounds; the lowest and the highest round stand in brackets. What was not measured is a \
dash.\n\n";

impl Report {
    /// The whole report as Markdown: first which aims are met, then a section for each store.
    ///
    /// `plots` is the folder, relative to the document, that [`Report::plot`] wrote to; without
    /// it the document shows no plots.
    #[must_use]
    pub fn markdown(&self, plots: Option<&str>) -> String {
        let mut text = self.head();
        text.push_str(&self.aims());
        let images = plots.map(|folder| (folder.trim_end_matches('/'), self.plots()));
        if let Some((folder, of_all)) = &images {
            of_all.iter().filter(|plot| plot.store.is_none()).for_each(|plot| {
                text.push_str(&image(folder, plot));
            });
        }
        for (name, store) in self.named_stores() {
            let _ = write!(text, "## {name}\n\n{}\n\n", store.engine);
            if let Some((folder, of_all)) = &images {
                let of_store = |plot: &&plots::Plot| plot.store.as_ref() == Some(&name);
                of_all.iter().filter(of_store).for_each(|plot| {
                    text.push_str(&image(folder, plot));
                });
            }
            text.push_str(&section(store));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }

    fn head(&self) -> String {
        let machine = &self.machine;
        let mut text = String::from("# Benchmark results\n\n");
        if self.quick {
            text.push_str(
                "> **Warning: a quick run.** It was too short for its figures to mean much.\n\n",
            );
        }
        let _ = write!(
            text,
            "mcp-event-store {} on {}, {} {}, {} of memory, {}. Making 4 KiB at the end of a file \
             durable (`fdatasync`) takes {}.\n\n{READING}",
            self.version,
            machine.cpu,
            machine.cores,
            if machine.cores == 1 { "core" } else { "cores" },
            bytes(float(machine.memory_bytes)),
            machine.os,
            time_spread(&machine.sync_us),
        );
        text
    }

    /// A row for each aim that a store of the report has, and a column for each store.
    fn aims(&self) -> String {
        let stores = self.named_stores();
        let mut columns = vec!["aim".to_owned(), ">bound".to_owned()];
        columns.extend(stores.iter().map(|(name, _)| format!(">{name}")));
        let mut grid = Grid::new(columns);
        for aim in AIMS {
            if !self.stores.iter().any(|store| aim.is_for(&store.backend)) {
                continue;
            }
            let mut row = vec![aim.name.to_owned(), aim.bound()];
            row.extend(stores.iter().map(|(_, store)| {
                if aim.is_for(&store.backend) { aim.verdict(store) } else { String::new() }
            }));
            grid.row(row);
        }
        let note = "A blank is an aim that is not that store's. Appends are of the smallest messages. \
                    In brackets, behind an aim that is missed, stands what is reached by something that \
                    does less than the store has to: for appends a bare group commit with streams' rows, \
                    on PostgreSQL one of the store's own rows by a statement that decides, and for a \
                    lone append the driver alone with such a statement, for growth the engine's own \
                    driver with the same or like rows, for a whole server the store in memory.";
        grid.titled("## Aims", note)
    }
}

fn section(store: &StoreReport) -> String {
    let mut text = appends::appends(store);
    text.push_str(&appends::requests(store));
    text.push_str(&reading::replays(store));
    text.push_str(&reading::follows(store));
    text.push_str(&reading::sizes(store));
    text.push_str(&reading::sweep(store));
    text.push_str(&reading::memory(store));
    text.push_str(&reading::growth(store));
    text.push_str(&reading::end_to_end(store));
    text
}

fn image(folder: &str, plot: &plots::Plot) -> String {
    format!("![{}]({folder}/{})\n\n", plot.title, plot.file)
}

#[cfg(test)]
mod tests;
