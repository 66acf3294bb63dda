//! What the demo shows. Colours only where a terminal takes them; `NO_COLOR` turns them off.

use std::fmt::Display;

use owo_colors::{OwoColorize as _, Stream, Style};

use super::client::Received;
use super::tally::Outcome;
use crate::report::print;

const BOLD: Style = Style::new().bold();
const DIMMED: Style = Style::new().dimmed();
const LIVE: Style = Style::new().green();
const REPLAYED: Style = Style::new().magenta();
const FAILED: Style = Style::new().red().bold();

pub(super) fn title() -> anyhow::Result<()> {
    let title = "A server dies in the middle of a conversation; its client misses nothing.";
    print(&format!("\n{}\n", styled(title, BOLD)))
}

/// Begins a step of the story.
pub(super) fn step(number: u32, text: &str) -> anyhow::Result<()> {
    print(&format!("\n{}\n", styled(format_args!("{number}  {text}"), BOLD)))
}

/// A detail of the step.
pub(super) fn note(text: &str) -> anyhow::Result<()> {
    print(&format!("   {}\n", styled(text, DIMMED)))
}

/// An event of the first connection.
pub(super) fn live(event: &Received) -> anyhow::Result<()> {
    show("live    ", event, LIVE)
}

/// An event of the resumed connection.
pub(super) fn replayed(event: &Received) -> anyhow::Result<()> {
    show("replayed", event, REPLAYED)
}

fn show(mark: &str, event: &Received, style: Style) -> anyhow::Result<()> {
    let (mark, content) = (styled(mark, style), styled(&event.content, style));
    print(&format!("   {mark}  {}  {content}\n", styled(&event.id, DIMMED)))
}

pub(super) fn result(outcome: &Outcome) -> anyhow::Result<()> {
    let style = if outcome.is_perfect() { BOLD } else { FAILED };
    print(&format!("\n{}\n", styled(outcome, style)))
}

fn styled(text: impl Display, style: Style) -> String {
    text.if_supports_color(Stream::Stdout, |text| text.style(style)).to_string()
}
