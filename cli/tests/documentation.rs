//! The guide to the configuration and the README say what the table of fields says.
//!
//! `MCP_EVENT_STORE_TEST_UPDATE_DOCS=1 cargo test --release -p mcp-event-store-cli --all-features`
//! writes the guide's table anew.

#![allow(clippy::unwrap_used)]

use mcp_event_store::{Entry, Origin};

/// From the package's folder, in which Cargo runs tests, wherever they were built.
const README: &str = "../README.md";

/// With fewer backends there are fewer fields.
#[cfg(all(feature = "postgres", feature = "redis", feature = "rocksdb", feature = "sqlite"))]
mod guide {
    use std::fmt::Write as _;

    use mcp_event_store::{Entry, Off};

    const GUIDE: &str = "../docs/configuration.md";
    const BEGIN: &str = "<!-- fields: begin -->\n";
    const END: &str = "<!-- fields: end -->\n";

    fn row(entry: &Entry<'_>) -> String {
        let field = entry.field;
        let off = if field.off == Off::Allowed { "yes" } else { "no" };
        format!(
            "| `{}` | {} | `{}` | {off} | `{}` | {} |",
            field.path(),
            field.kind.name(),
            entry.value_as_toml(),
            field.variable(),
            field.doc
        )
    }

    fn table() -> String {
        let config = mcp_event_store::config().load().unwrap();
        let mut table = String::from(
            "| key | kind | default | can be off | environment variable | meaning |\n\
             |---|---|---|---|---|---|\n",
        );
        for entry in config.entries() {
            writeln!(table, "{}", row(&entry)).unwrap();
        }
        table
    }

    #[test]
    fn the_guide_lists_every_field() {
        let guide = std::fs::read_to_string(GUIDE).unwrap();
        let (before, rest) = guide.split_once(BEGIN).unwrap();
        let (listed, after) = rest.split_once(END).unwrap();
        let table = table();
        if std::env::var_os("MCP_EVENT_STORE_TEST_UPDATE_DOCS").is_some() {
            std::fs::write(GUIDE, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        } else {
            assert_eq!(listed, table, "docs/configuration.md differs; see the top of this test");
        }
    }
}

#[test]
fn the_readme_lists_every_common_field_with_its_default() {
    let readme = std::fs::read_to_string(README).unwrap();
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (listed, _) = rest.split_once("```").unwrap();
    let config = mcp_event_store::config().toml("README.md", listed).load().unwrap();
    let common = |entry: &Entry<'_>| ["", "retention", "limits"].contains(&entry.field.section);
    for entry in config.entries().filter(common) {
        assert_eq!(entry.value, entry.field.default, "{}", entry.field.path());
        assert!(matches!(entry.origin, Origin::File { .. }), "{} is missing", entry.field.path());
    }
}
