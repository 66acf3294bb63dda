//! Progress bars on standard error, if that is a terminal.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// The bar of one measurement. It goes away with its last clone.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Bar>);

struct Bar(ProgressBar);

impl Progress {
    /// A bar of `steps` steps.
    pub(crate) fn new(store: &str, what: &str, steps: usize) -> Self {
        let bar = ProgressBar::new(u64::try_from(steps).unwrap_or(u64::MAX));
        let style = "{prefix:>10} {msg:<24} {wide_bar} {pos}/{len} {eta}";
        let style = ProgressStyle::with_template(style);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(store.to_owned());
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(Arc::new(Bar(bar)))
    }

    pub(crate) fn step(&self) {
        self.0.0.inc(1);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
