//! Markdown tables.

use std::fmt::Write as _;

/// A table that grows row by row.
pub(super) struct Grid {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// A table with these columns. Those that begin with `>` are set to the right.
    pub(super) fn new(columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table under a heading and a note. Without any row there is nothing at all.
    pub(super) fn titled(&self, heading: &str, note: &str) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut text = format!("{heading}\n\n");
        if !note.is_empty() {
            let _ = write!(text, "{note}\n\n");
        }
        let heads = self.columns.iter().map(|column| column.trim_start_matches('>').to_owned());
        text.push_str(&line(heads));
        let rule = |column: &String| if column.starts_with('>') { "---:" } else { "---" };
        let rules = self.columns.iter().map(|column| rule(column).to_owned());
        text.push_str(&line(rules));
        self.rows.iter().for_each(|row| text.push_str(&line(row.iter().cloned())));
        text.push('\n');
        text
    }
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<_> = cells.map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}
