//! The second source: environment variables.

use std::ffi::{OsStr, OsString};

use super::builder::Findings;
use super::error::Origin;
use super::field::{Field, Registry};
use super::suggest::did_you_mean;
use super::value::parse_text;

/// What the name of every variable of this project begins with.
pub(super) const PREFIX: &str = "MCP_EVENT_STORE_";

/// Variables that tests read.
const TEST_PREFIX: &str = "MCP_EVENT_STORE_TEST_";

/// Variables of the command line, which are no fields.
const RESERVED: [&str; 3] =
    ["MCP_EVENT_STORE_URL", "MCP_EVENT_STORE_CONFIG", "MCP_EVENT_STORE_LISTEN"];

/// Whether a variable is meant for the configuration.
pub(super) fn concerns(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with(PREFIX) && !name.starts_with(TEST_PREFIX) && !RESERVED.contains(&&*name)
}

pub(super) fn read(
    variables: &[(OsString, OsString)],
    registry: &Registry,
    findings: &mut Findings,
) {
    for (name, value) in variables {
        let name = name.to_string_lossy().into_owned();
        let origin = Origin::Environment { variable: name.clone() };
        match registry.fields().find(|field| field.variable() == name) {
            Some(field) => findings.take(field, origin, parse_variable(field, value)),
            None => findings.refuse(origin, None, why_unknown(&name, registry)),
        }
    }
}

fn why_unknown(name: &str, registry: &Registry) -> String {
    let without_prefix = |name: &str| name.trim_start_matches(PREFIX).to_owned();
    let known = registry.fields().map(|field| without_prefix(&field.variable()));
    let nearest = did_you_mean(&without_prefix(name), known);
    if nearest.is_empty() {
        "sets nothing that is known; unset it".to_owned()
    } else {
        format!("sets nothing that is known{}", nearest.replace("mean ", &format!("mean {PREFIX}")))
    }
}

fn parse_variable(field: &Field, value: &OsStr) -> Result<super::Value, String> {
    let Some(text) = value.to_str() else {
        return Err(format!("is not UTF-8; {}", super::value::remedy(field)));
    };
    parse_text(field, text).map_err(|reason| format!("{} {reason}", shown(text)))
}

/// A refused value as messages show it.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 40;
    if text.chars().count() > LONGEST {
        format!("\"{}…\"", text.chars().take(LONGEST).collect::<String>())
    } else {
        format!("\"{text}\"")
    }
}
