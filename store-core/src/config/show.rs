//! Writes a configuration as TOML, for people: a table a section, the origins in one column.

use std::fmt::Write as _;

use super::Config;

pub(super) fn render(config: &Config) -> String {
    let lines: Vec<(&str, String, String)> = config
        .entries()
        .map(|entry| {
            let assignment = format!("{} = {}", entry.field.key, entry.value_as_toml());
            (entry.field.section, assignment, entry.origin.to_string())
        })
        .collect();
    let width = lines.iter().map(|(_, assignment, _)| assignment.len()).max().unwrap_or(0);
    // Writing to a String cannot fail.
    let mut text = String::new();
    let mut section = "";
    for (of_section, assignment, origin) in &lines {
        if *of_section != section {
            section = of_section;
            let _ = writeln!(text, "\n[{section}]");
        }
        let _ = writeln!(text, "{assignment:width$}  # {origin}");
    }
    text
}
