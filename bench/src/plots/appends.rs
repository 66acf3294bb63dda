//! Appends a second by the number of appenders.

use plotters::prelude::*;

use super::style::{AXIS, HEIGHT, LABEL, TITLE, WIDTH, colour, legend, plain, power, range};
use crate::compare::{best_naive, message_sizes, of, positive};
use crate::numbers::{count, short};
use crate::report::{Contender, StoreReport};
use crate::stats::{Spread, float};

/// What is drawn.
pub(crate) struct Curves {
    pub(crate) message_bytes: usize,
    store: Curve,
    /// The bare group commit, and the one with streams' rows; empty if they were not measured.
    bare: [Curve; 2],
    /// A name, and events a second.
    levels: Vec<(String, f64)>,
}

/// The base-2 logarithms of numbers of appenders, and events a second.
type Curve = Vec<(f64, Spread)>;

/// The curves of the smallest messages, if this store was measured with any.
pub(super) fn curves(store: &StoreReport) -> Option<Curves> {
    let bytes = *message_sizes(&store.appends).first()?;
    let points = curve(store, Contender::Store, bytes);
    if points.is_empty() {
        return None;
    }
    let raw = of(&store.appends, Contender::Raw, bytes).filter(|row| row.rows > 1).map(|row| {
        let name = format!("raw limit, {} rows a commit", count(row.rows));
        (name, row.rate.median)
    });
    let naive = best_naive(&store.appends, bytes);
    let naive = naive.map(|row| ("naive store at its best".to_owned(), row.rate.median));
    let levels = raw.chain(naive).filter(|(_, rate)| positive(*rate).is_some()).collect();
    let bare = [Contender::GroupCommit, Contender::Keeper].map(|who| curve(store, who, bytes));
    Some(Curves { message_bytes: bytes, store: points, bare, levels })
}

fn curve(store: &StoreReport, contender: Contender, bytes: usize) -> Curve {
    let mut points: Curve = of(&store.appends, contender, bytes)
        .filter(|row| row.lanes > 0 && positive(row.rate.median).is_some())
        .map(|row| (float(row.lanes).log2(), row.rate))
        .collect();
    points.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    points
}

impl Curves {
    pub(super) fn draw(&self, svg: &mut String, title: &str) -> anyhow::Result<()> {
        let area = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
        area.fill(&WHITE)?;
        let points = || self.store.iter().chain(self.bare.iter().flatten());
        let x = range(points().map(|(lanes, _)| *lanes));
        let highs = points().map(|(_, rate)| rate.high);
        let top = range(highs.chain(self.levels.iter().map(|(_, rate)| *rate))).end * 1.25;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, TITLE)
            .margin(16)
            .x_label_area_size(50)
            .y_label_area_size(90)
            .build_cartesian_2d(x.start..x.end, 0.0..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .x_labels(16)
            .y_labels(8)
            .x_desc("appenders")
            .y_desc("events a second")
            .axis_desc_style(AXIS)
            .label_style(LABEL)
            .x_label_formatter(&|exponent| power(2.0, *exponent, plain))
            .y_label_formatter(&|rate| short(*rate))
            .draw()?;

        let [bare, keeper] = &self.bare;
        let curves = [
            ("this store", &self.store),
            ("bare group commit", bare),
            ("the same with a row for each stream", keeper),
        ];
        let curves = curves.into_iter().filter(|(_, curve)| !curve.is_empty());
        let drawn = curves.clone().count();
        for (place, (name, curve)) in curves.enumerate() {
            let colour = colour(place);
            let line = curve.iter().map(|(lanes, rate)| (*lanes, rate.median));
            chart
                .draw_series(LineSeries::new(line.clone(), colour.stroke_width(3)))?
                .label(name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 24, y)], colour.stroke_width(3))
                });
            chart.draw_series(curve.iter().map(|(lanes, rate)| {
                PathElement::new([(*lanes, rate.low), (*lanes, rate.high)], colour.stroke_width(1))
            }))?;
            chart.draw_series(line.map(|point| Circle::new(point, 4, colour.filled())))?;
        }
        for (place, (name, rate)) in self.levels.iter().enumerate() {
            let colour = colour(drawn + place);
            let ends = [(x.start, *rate), (x.end, *rate)];
            chart
                .draw_series(DashedLineSeries::new(ends, 8, 5, colour.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 24, y)], colour.stroke_width(2))
                });
        }
        legend(&mut chart)?;
        area.present()?;
        drop(chart);
        Ok(())
    }
}
