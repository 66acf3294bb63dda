//! What all plots have in common.

use plotters::coord::CoordTranslate;
use plotters::prelude::*;

use crate::numbers::whole;

pub(super) const WIDTH: u32 = 900;
pub(super) const HEIGHT: u32 = 520;
pub(super) const TITLE: (&str, u32) = ("sans-serif", 26);
pub(super) const AXIS: (&str, u32) = ("sans-serif", 18);
pub(super) const LABEL: (&str, u32) = ("sans-serif", 16);
pub(super) const GREY: RGBColor = RGBColor(90, 90, 90);

/// Okabe and Ito's colours, which people who see few colours can tell apart.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

pub(super) fn colour(place: usize) -> RGBColor {
    COLOURS[place % COLOURS.len()]
}

/// The least and the greatest of `numbers`, a little apart in any case.
pub(super) fn range(numbers: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for number in numbers {
        (low, high) = (low.min(number), high.max(number));
    }
    if !(low.is_finite() && high.is_finite()) {
        return 0.0..1.0;
    }
    if high - low < 1e-9 { low - 0.5..high + 0.5 } else { low..high }
}

/// What `write` says of `base` to the power of `exponent`, if that is a whole number.
pub(super) fn power(base: f64, exponent: f64, write: impl Fn(f64) -> String) -> String {
    let whole = exponent.round();
    if (exponent - whole).abs() < 1e-6 { write(base.powf(whole)) } else { String::new() }
}

/// `number` without a fraction that is zero.
pub(super) fn plain(number: f64) -> String {
    whole(number).trim_end_matches(".00").trim_end_matches(".0").to_owned()
}

/// Draws what the series are called into the upper left corner.
pub(super) fn legend<'a, C: CoordTranslate>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, C>,
) -> anyhow::Result<()> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .legend_area_size(32)
        .label_font(LABEL)
        .background_style(WHITE.mix(0.85))
        .border_style(GREY)
        .draw()?;
    Ok(())
}
