//! A report as plots, in SVG.

mod appends;
mod bars;
mod growth;
mod style;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::report::{Axis, Report};

/// A plot that has something to show.
pub(crate) struct Plot {
    pub(crate) file: String,
    pub(crate) title: String,
    /// The store that it is of, if it is not of all.
    pub(crate) store: Option<String>,
    draw: Draw,
}

enum Draw {
    Appends(appends::Curves),
    Growth(Vec<growth::Curves>),
    EndToEnd(Vec<bars::Bars>),
}

impl Report {
    /// Writes the plots to `folder`, which is made if it is not there, and answers their paths.
    /// What was there before under their names is overwritten; a plot of nothing is not written.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn plot(&self, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut paths = Vec::new();
        for plot in self.plots() {
            let path = folder.join(&plot.file);
            let svg = plot.svg().with_context(|| format!("cannot draw {}", plot.file))?;
            fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
            paths.push(path);
        }
        Ok(paths)
    }

    /// All plots that have something to show.
    pub(crate) fn plots(&self) -> Vec<Plot> {
        let stores = self.named_stores();
        let mut plots = Vec::new();
        let of_all = |file: &str, title: &str, draw| Plot {
            file: file.to_owned(),
            title: title.to_owned(),
            store: None,
            draw,
        };
        for (axis, name) in [(Axis::Events, "events"), (Axis::Streams, "streams")] {
            let curves = growth::curves(&stores, axis);
            if !curves.is_empty() {
                let title = format!("Cost by {name} stored");
                plots.push(of_all(&format!("growth-{name}.svg"), &title, Draw::Growth(curves)));
            }
        }
        let bars = bars::bars(&stores);
        if !bars.is_empty() {
            let title = "Tool calls to a whole server";
            plots.push(of_all("end-to-end.svg", title, Draw::EndToEnd(bars)));
        }
        for (name, store) in stores {
            if let Some(curves) = appends::curves(store) {
                let title = format!("{name}: appends of {} bytes", curves.message_bytes);
                let draw = Draw::Appends(curves);
                plots.push(Plot {
                    file: format!("{name}-appends.svg"),
                    title,
                    store: Some(name),
                    draw,
                });
            }
        }
        plots
    }
}

impl Plot {
    fn svg(&self) -> anyhow::Result<String> {
        let mut svg = String::new();
        match &self.draw {
            Draw::Appends(curves) => curves.draw(&mut svg, &self.title)?,
            Draw::Growth(curves) => growth::draw(curves, &mut svg, &self.title)?,
            Draw::EndToEnd(bars) => bars::draw(bars, &mut svg, &self.title)?,
        }
        Ok(svg)
    }
}

#[cfg(test)]
mod tests;
