//! Tool calls to a whole server, with and without a store.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::style::{AXIS, HEIGHT, LABEL, TITLE, WIDTH, colour, legend, range};
use crate::compare::{positive, rate_ratio};
use crate::numbers::{ratio, short};
use crate::report::{Contender, StoreReport};
use crate::stats::{Spread, float};

/// The bars of one store.
pub(crate) struct Bars {
    name: String,
    clients: usize,
    without: Spread,
    in_memory: Option<Spread>,
    with: Spread,
}

/// Which of them.
type RateOf = fn(&Bars) -> Option<Spread>;

/// From left to right.
const SERIES: [(&str, usize, RateOf); 3] = [
    ("no store", 4, |bars| Some(bars.without)),
    ("with the store in memory", 2, |bars| bars.in_memory),
    ("with this store, and its share", 0, |bars| Some(bars.with)),
];

/// The bars of all stores that were measured with as many clients as a server without one.
pub(super) fn bars(stores: &[(String, &StoreReport)]) -> Vec<Bars> {
    let bars = |(name, store): &(String, &StoreReport)| {
        let busiest = store.busiest(Contender::Store)?;
        let (with, without) = (busiest.rate, store.without_store(busiest)?.rate);
        positive(with.median).and(positive(without.median))?;
        let in_memory = store.in_memory(busiest).map(|calls| calls.rate);
        Some(Bars { name: name.clone(), clients: busiest.clients, without, in_memory, with })
    };
    stores.iter().filter_map(bars).collect()
}

pub(super) fn draw(all: &[Bars], svg: &mut String, title: &str) -> anyhow::Result<()> {
    const BAR: f64 = 0.25;
    let area = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    area.fill(&WHITE)?;
    let rates =
        all.iter().flat_map(|bars| SERIES.into_iter().filter_map(move |(.., rate)| rate(bars)));
    let top = range(rates.map(|rate| rate.high)).end * 1.3;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, TITLE)
        .margin(16)
        .x_label_area_size(50)
        .y_label_area_size(90)
        .build_cartesian_2d(-0.5..float(all.len()) - 0.5, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .x_labels(0)
        .y_labels(8)
        .x_desc("store, and clients at a time")
        .y_desc("calls a second")
        .axis_desc_style(AXIS)
        .label_style(LABEL)
        .y_label_formatter(&|rate| short(*rate))
        .draw()?;
    let shown = SERIES.into_iter().filter(|(.., rate)| all.iter().any(|bars| rate(bars).is_some()));
    let shown: Vec<_> = shown.collect();
    let first = -BAR * float(shown.len()) / 2.0;
    for (number, (label, tint, rate)) in shown.iter().enumerate() {
        let (left, tint) = (first + BAR * float(number), colour(*tint));
        let rates = || {
            let rates = all.iter().enumerate();
            rates.filter_map(move |(place, bars)| Some((float(place) + left, rate(bars)?)))
        };
        chart
            .draw_series(rates().map(|(left, rate)| {
                let corners = [(left, 0.0), (left + BAR, rate.median)];
                Rectangle::new(corners, tint.filled())
            }))?
            .label(*label)
            .legend(move |(x, y)| Rectangle::new([(x, y - 6), (x + 20, y + 6)], tint.filled()));
        chart.draw_series(rates().map(|(left, rate)| {
            let middle = left + BAR / 2.0;
            PathElement::new([(middle, rate.low), (middle, rate.high)], BLACK.stroke_width(1))
        }))?;
    }
    let centred = |vertical| LABEL.into_text_style(&area).pos(Pos::new(HPos::Center, vertical));
    chart.draw_series(all.iter().enumerate().map(|(place, bars)| {
        let at = (float(place), 0.0);
        let text = format!("{} ({})", bars.name, bars.clients);
        EmptyElement::at(at) + Text::new(text, (0, 8), centred(VPos::Top))
    }))?;
    // This store's is the last.
    let last = -first - BAR / 2.0;
    chart.draw_series(all.iter().enumerate().map(|(place, bars)| {
        let at = (float(place) + last, bars.with.high.max(bars.with.median));
        let share = ratio(rate_ratio(&bars.with, &bars.without));
        EmptyElement::at(at) + Text::new(share, (0, -6), centred(VPos::Bottom))
    }))?;
    legend(&mut chart)?;
    area.present()?;
    drop(chart);
    Ok(())
}
