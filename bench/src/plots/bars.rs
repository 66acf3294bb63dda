//! Tool calls to a whole server, with and without a store.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::style::{AXIS, HEIGHT, LABEL, TITLE, WIDTH, colour, legend, range};
use crate::compare::{positive, rate_ratio};
use crate::numbers::{ratio, short};
use crate::report::{Contender, StoreReport};
use crate::stats::{Spread, float};

/// The bars of one store.
pub(crate) struct Pair {
    name: String,
    clients: usize,
    without: Spread,
    with: Spread,
}

/// Which of the two.
type RateOf = fn(&Pair) -> &Spread;

/// The bars of all stores that were measured with as many clients as a server without one.
pub(super) fn pairs(stores: &[(String, &StoreReport)]) -> Vec<Pair> {
    let pair = |(name, store): &(String, &StoreReport)| {
        let ours = store.end_to_end.iter().filter(|calls| calls.contender == Contender::Store);
        let busiest = ours.max_by_key(|calls| calls.clients)?;
        let (with, without) = (busiest.rate, store.without_store(busiest)?.rate);
        positive(with.median).and(positive(without.median))?;
        Some(Pair { name: name.clone(), clients: busiest.clients, without, with })
    };
    stores.iter().filter_map(pair).collect()
}

pub(super) fn draw(pairs: &[Pair], svg: &mut String, title: &str) -> anyhow::Result<()> {
    const HALF: f64 = 0.35;
    let area = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    area.fill(&WHITE)?;
    let top = range(pairs.iter().flat_map(|pair| [pair.with.high, pair.without.high])).end * 1.3;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, TITLE)
        .margin(16)
        .x_label_area_size(50)
        .y_label_area_size(90)
        .build_cartesian_2d(-0.5..float(pairs.len()) - 0.5, 0.0..top)?;
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
    let series: [(_, _, _, RateOf); 2] = [
        ("no store", -HALF, colour(4), |pair| &pair.without),
        ("with this store, and its share", 0.0, colour(0), |pair| &pair.with),
    ];
    for (label, left, colour, rate) in series {
        chart
            .draw_series(pairs.iter().enumerate().map(|(place, pair)| {
                let left = float(place) + left;
                let corners = [(left, 0.0), (left + HALF, rate(pair).median)];
                Rectangle::new(corners, colour.filled())
            }))?
            .label(label)
            .legend(move |(x, y)| Rectangle::new([(x, y - 6), (x + 20, y + 6)], colour.filled()));
        chart.draw_series(pairs.iter().enumerate().map(|(place, pair)| {
            let (middle, rate) = (float(place) + left + HALF / 2.0, rate(pair));
            PathElement::new([(middle, rate.low), (middle, rate.high)], BLACK.stroke_width(1))
        }))?;
    }
    let centred = |vertical| LABEL.into_text_style(&area).pos(Pos::new(HPos::Center, vertical));
    chart.draw_series(pairs.iter().enumerate().map(|(place, pair)| {
        let at = (float(place), 0.0);
        let text = format!("{} ({})", pair.name, pair.clients);
        EmptyElement::at(at) + Text::new(text, (0, 8), centred(VPos::Top))
    }))?;
    chart.draw_series(pairs.iter().enumerate().map(|(place, pair)| {
        let at = (float(place) + HALF / 2.0, pair.with.high.max(pair.with.median));
        let share = ratio(rate_ratio(&pair.with, &pair.without));
        EmptyElement::at(at) + Text::new(share, (0, -6), centred(VPos::Bottom))
    }))?;
    legend(&mut chart)?;
    area.present()?;
    drop(chart);
    Ok(())
}
