//! Every refusal, the order of the sources, and that what is shown reads back the same.

mod refusals;
mod sources;
mod writing;

use std::time::Duration;

use super::{BackendFields, Config, ConfigErrors, Field, Kind, Off, Value};

const BUSY_TIMEOUT: Field = Field {
    section: "sqlite",
    key: "busy_timeout",
    kind: Kind::Duration,
    default: Value::Duration(Duration::from_secs(5)),
    off: Off::Refused("a writer must wait for a while"),
    doc: "How long to wait for another process's write.",
};

const READERS: Field = Field {
    section: "sqlite",
    key: "readers",
    kind: Kind::Count,
    default: Value::Integer(4),
    off: Off::Allowed,
    doc: "Connections that read.",
};

const SQLITE: BackendFields =
    BackendFields { section: "sqlite", schemes: &["sqlite"], fields: &[BUSY_TIMEOUT, READERS] };

fn from_toml(text: &str) -> Result<Config, ConfigErrors> {
    Config::builder().backend(SQLITE).toml("f.toml", text).load()
}

fn from_variable(name: &str, value: &str) -> Result<Config, ConfigErrors> {
    Config::builder().backend(SQLITE).environment([(name, value)]).load()
}

fn from_url(url: &str) -> Result<Config, ConfigErrors> {
    Config::builder().backend(SQLITE).url(url).load()
}

fn messages(result: Result<Config, ConfigErrors>) -> Vec<String> {
    let errors = result.expect_err("should be refused");
    errors.iter().map(ToString::to_string).collect()
}
