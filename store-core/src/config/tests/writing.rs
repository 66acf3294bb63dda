//! A configuration as text, and any text as a configuration.

use std::time::Duration;

use proptest::prelude::*;

use super::{SQLITE, from_toml, from_url, from_variable, messages};
use crate::config::fit::RISING;
use crate::config::{BackendFields, Config, ConfigBuilder, Entry, Field, Kind, Off, Value};

#[test]
fn it_reads_well() {
    let config = from_toml("retention.max_total_bytes = \"1MiB\"\nretention.stream_ttl = \"off\"");
    let expected = r#"
durability = "committed"          # default

[retention]
stream_ttl = "off"                # f.toml:2:24
completed_stream_ttl = "1h"       # default
event_ttl = "24h"                 # default
max_events_per_stream = 10_000    # default
max_bytes_per_stream = "1MiB"     # default, fitted to max_total_bytes
max_bytes_per_session = "1MiB"    # default, fitted to max_total_bytes
max_total_bytes = "1MiB"          # f.toml:1:29
tombstone_ttl = "1h"              # default
session_ttl = "24h"               # default
sweep_every = "30s"               # default

[limits]
max_event_bytes = "1MiB"          # default, fitted to max_total_bytes
max_streams_per_session = 10_000  # default
max_followers_per_session = 100   # default

[sqlite]
busy_timeout = "5s"               # default
readers = 4                       # default
"#;
    assert_eq!(config.unwrap().to_toml(), expected.trim_start());
}

#[test]
fn a_file_name_cannot_break_out_of_its_comment() {
    let config = Config::builder().toml("a\nx = 1", "durability = \"relaxed\"").load().unwrap();
    from_toml(&config.to_toml()).unwrap();
}

#[test]
fn a_text_reads_back_the_same() {
    const LABEL: Field = Field {
        section: "demo",
        key: "label",
        kind: Kind::Text("blue"),
        default: Value::Off,
        off: Off::Allowed,
        doc: "A text.",
    };
    const DEMO: BackendFields =
        BackendFields { section: "demo", schemes: &["demo"], fields: &[LABEL] };
    let load = |sources: ConfigBuilder| sources.backend(DEMO).load();
    let text = r#"a "b" \ c"#;
    let config = load(Config::builder().environment([("MCP_EVENT_STORE_DEMO_LABEL", text)]));
    let config = config.unwrap();
    assert_eq!(config.get(&LABEL), Value::Text(text));
    let again = load(Config::builder().toml("f.toml", config.to_toml())).unwrap();
    assert_eq!(again.get(&LABEL), Value::Text(text));
    let broken = load(Config::builder().url("demo://?label=a%0Ab"));
    assert_eq!(
        messages(broken),
        [
            r#"URL query: demo.label: its value is not a text; write a text, such as "blue", or "off" for none"#
        ]
    );
}

fn any_value(field: &Field) -> BoxedStrategy<Value> {
    let value = match field.kind {
        Kind::Duration => prop_oneof![
            1..=15_778_800_000_000_u64,
            (1..=10_000_u64).prop_map(|minutes| minutes * 60_000),
            (1..=300_u64).prop_map(|days| days * 86_400_000),
        ]
        .prop_map(|millis| Value::Duration(Duration::from_millis(millis)))
        .boxed(),
        Kind::Size | Kind::Count => {
            prop_oneof![1..=i64::MAX as u64, (0..=62_u32).prop_map(|power| 1 << power)]
                .prop_map(Value::Integer)
                .boxed()
        }
        Kind::Choice(words) => proptest::sample::select(words).prop_map(Value::Choice).boxed(),
        Kind::Text(example) => Just(Value::Text(example)).boxed(),
    };
    if field.off == Off::Allowed {
        prop_oneof![9 => value, 1 => Just(Value::Off)].boxed()
    } else {
        value
    }
}

/// Assignments to some of the fields.
fn any_assignments() -> BoxedStrategy<Vec<(Field, Value)>> {
    let config = Config::builder().backend(SQLITE).load().expect("the defaults are valid");
    let fields: Vec<Field> = config.entries().map(|entry| *entry.field).collect();
    proptest::sample::subsequence(fields.clone(), 0..=fields.len())
        .prop_flat_map(|fields| {
            fields
                .into_iter()
                .map(|field| any_value(&field).prop_map(move |value| (field, value)))
                .collect::<Vec<_>>()
        })
        .boxed()
}

/// The same values, those that must not fall exchanged among their fields.
fn with_rising_sizes(mut assignments: Vec<(Field, Value)>) -> Vec<(Field, Value)> {
    let place = |field: &Field| RISING.iter().position(|id| *id == field.id());
    let is_size =
        |(field, value): &&mut (Field, Value)| place(field).is_some() && value.integer().is_some();
    let mut sizes: Vec<_> = assignments.iter_mut().filter(is_size).collect();
    sizes.sort_by_key(|(field, _)| place(field));
    let mut values: Vec<_> = sizes.iter().map(|(_, value)| *value).collect();
    values.sort_by_key(|value| value.integer());
    for ((_, value), rising) in sizes.into_iter().zip(values) {
        *value = rising;
    }
    assignments
}

fn unquoted(toml: &str) -> &str {
    toml.trim_matches('"')
}

fn values(config: &Config) -> Vec<(String, Value)> {
    config.entries().map(|Entry { field, value, .. }| (field.path(), value)).collect()
}

proptest! {
    #[test]
    fn what_is_shown_reads_back_the_same(assignments in any_assignments()) {
        let assignments = with_rising_sizes(assignments);
        let lines = assignments.iter().map(|(field, value)| {
            format!("{} = {}\n", field.path(), value.to_toml(field.kind))
        });
        let config = from_toml(&lines.collect::<String>()).expect("no contradiction");
        let again = from_toml(&config.to_toml()).expect("what is shown is valid");
        prop_assert_eq!(again.settings(), config.settings());
        prop_assert_eq!(values(&again), values(&config));
    }

    #[test]
    fn a_value_is_the_same_from_every_source(assignments in any_assignments()) {
        for (field, value) in assignments {
            let toml = value.to_toml(field.kind);
            let text = unquoted(&toml);
            let of_file = from_toml(&format!("{} = {toml}", field.path())).expect("valid");
            let of_variable = from_variable(&field.variable(), text).expect("valid");
            let of_url = from_url(&format!("sqlite:///f?{}={text}", field.key)).expect("valid");
            prop_assert_eq!(of_file.get(&field), value);
            prop_assert_eq!(of_variable.get(&field), value);
            prop_assert_eq!(of_url.get(&field), value);
        }
    }

    #[test]
    fn no_text_makes_it_panic_or_break_a_line(text in "(?s).{0,60}", number in "[0-9 .]{1,24}[a-zµ]{0,6}") {
        for text in [&text, &number] {
            let results = [
                from_toml(text),
                from_toml(&format!("retention.stream_ttl = \"{text}\"")),
                from_toml(&format!("[retention]\n{text} = 1")),
                from_variable("MCP_EVENT_STORE_STREAM_TTL", text),
                from_variable("MCP_EVENT_STORE_MAX_TOTAL_BYTES", text),
                from_variable("MCP_EVENT_STORE_SQLITE_READERS", text),
                from_url(&format!("sqlite://{text}?{text}")),
                from_url(text),
            ];
            for error in results.iter().filter_map(|result| result.as_ref().err()) {
                prop_assert!(!error.to_string().contains(char::is_control), "{:?}", error);
            }
        }
    }
}
