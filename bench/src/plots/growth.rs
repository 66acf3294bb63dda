//! Costs by what is stored already, against those with the least.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::style::{AXIS, GREY, HEIGHT, LABEL, TITLE, WIDTH, colour, legend, plain, power, range};
use crate::compare::time_ratio;
use crate::numbers::short;
use crate::report::{Axis, Growth, StoreReport};
use crate::stats::{Spread, float};

/// What cost may grow to.
const AIM: f64 = 1.3;

/// A panel: the costs of one thing.
pub(crate) struct Curves {
    title: &'static str,
    x_name: &'static str,
    lines: Vec<Line>,
}

/// The costs of one store.
struct Line {
    name: String,
    colour: RGBColor,
    /// The decimal logarithm of what is stored, and the cost as a multiple of that with the least.
    points: Vec<(f64, f64)>,
}

/// Which of the costs.
type CostOf = fn(&Growth) -> &Spread;

/// The panels that have a line to show.
pub(super) fn curves(stores: &[(String, &StoreReport)], axis: Axis) -> Vec<Curves> {
    let x_name = match axis {
        Axis::Events => "events stored",
        Axis::Streams => "streams stored",
    };
    let panels: [(_, CostOf); 2] = [
        ("An append, with 64 appenders", |size| &size.append_us),
        ("An event of a replay", |size| &size.replay_us),
    ];
    let panels = panels.map(|(title, cost)| {
        // A store has the same colour in all panels.
        let lines = stores.iter().enumerate().map(|(place, (name, store))| Line {
            name: name.clone(),
            colour: colour(place),
            points: points(store, axis, cost),
        });
        // One point is no line, and says nothing of growth.
        Curves { title, x_name, lines: lines.filter(|line| line.points.len() > 1).collect() }
    });
    panels.into_iter().filter(|panel| !panel.lines.is_empty()).collect()
}

fn points(store: &StoreReport, axis: Axis, cost: CostOf) -> Vec<(f64, f64)> {
    let of_axis = |size: &&Growth| size.axis == axis && size.stored > 0;
    let mut sizes: Vec<_> = store.growth.iter().filter(of_axis).collect();
    sizes.sort_unstable_by_key(|size| size.stored);
    let Some(least) = sizes.first().copied() else { return Vec::new() };
    let point =
        |size: &Growth| Some((float(size.stored).log10(), time_ratio(cost(size), cost(least))?));
    sizes.into_iter().filter_map(point).collect()
}

pub(super) fn draw(panels: &[Curves], svg: &mut String, title: &str) -> anyhow::Result<()> {
    let area = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    area.fill(&WHITE)?;
    let below = area.titled(title, TITLE)?;
    for (panel, part) in panels.iter().zip(below.split_evenly((1, panels.len()))) {
        panel.draw(&part)?;
    }
    area.present()?;
    Ok(())
}

impl Curves {
    fn draw(&self, area: &DrawingArea<SVGBackend, Shift>) -> anyhow::Result<()> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = range(points().map(|point| point.0));
        let top = range(points().map(|point| point.1).chain([AIM, 1.5])).end * 1.35;
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, AXIS)
            .margin(12)
            .margin_right(28)
            .x_label_area_size(50)
            .y_label_area_size(65)
            .build_cartesian_2d(x.clone(), 0.0..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .x_labels(12)
            .y_labels(8)
            .x_desc(self.x_name)
            .y_desc("× the cost with the least stored")
            .axis_desc_style(AXIS)
            .label_style(LABEL)
            .x_label_formatter(&|exponent| power(10.0, *exponent, amount))
            .y_label_formatter(&|cost| format!("{cost:.1}"))
            .draw()?;
        let aim = [(x.start, AIM), (x.end, AIM)];
        chart
            .draw_series(DashedLineSeries::new(aim, 6, 5, GREY.stroke_width(1)))?
            .label(format!("aim: {AIM} at most"))
            .legend(|(x, y)| PathElement::new([(x, y), (x + 24, y)], GREY.stroke_width(1)));
        for line in &self.lines {
            let (points, colour) = (line.points.iter().copied(), line.colour);
            chart
                .draw_series(LineSeries::new(points.clone(), colour.stroke_width(3)))?
                .label(&line.name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 24, y)], colour.stroke_width(3))
                });
            chart.draw_series(points.map(|point| Circle::new(point, 4, colour.filled())))?;
        }
        legend(&mut chart)?;
        Ok(())
    }
}

/// Thousands and millions in few letters: the labels stand close.
fn amount(number: f64) -> String {
    if number >= 1e6 {
        format!("{} M", short(number / 1e6).trim_end_matches(".00").trim_end_matches(".0"))
    } else {
        plain(number)
    }
}
