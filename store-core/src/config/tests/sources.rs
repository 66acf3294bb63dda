//! What is accepted, from where, and which source wins.

use std::time::Duration;

use super::{BUSY_TIMEOUT, READERS, SQLITE, from_toml, from_url, from_variable};
use crate::config::{Config, Origin, Value};
use crate::retention::{Durability, Settings};
use crate::{Limits, Retention};

const HOUR: Duration = Duration::from_hours(1);
const MIB: u64 = 1024 * 1024;

fn origin(config: &Config, path: &str) -> String {
    config.entries().find(|entry| entry.field.path() == path).unwrap().origin.to_string()
}

#[test]
fn without_sources_everything_is_default() {
    let config = Config::builder().load().unwrap();
    assert_eq!(config.settings(), &Settings::default());
    assert_eq!(Config::default().settings(), &Settings::default());
    assert!(config.entries().all(|entry| *entry.origin == Origin::Default));
    assert_eq!(config.get(&READERS), Value::Integer(4), "unregistered: its own default");
}

#[test]
fn each_source_overrides_the_one_before() {
    let config = Config::builder()
        .url("sqlite:///f?session_ttl=4h")
        .environment([("MCP_EVENT_STORE_EVENT_TTL", "3h"), ("MCP_EVENT_STORE_SESSION_TTL", "3h")])
        .toml(
            "f.toml",
            "[retention]\nstream_ttl = \"2h\"\nevent_ttl = \"2h\"\nsession_ttl = \"2h\"",
        )
        .load()
        .unwrap();
    let retention = &config.settings().retention;
    assert_eq!(retention.completed_stream_ttl, Some(HOUR));
    assert_eq!(retention.stream_ttl, Some(2 * HOUR));
    assert_eq!(retention.event_ttl, Some(3 * HOUR));
    assert_eq!(retention.session_ttl, Some(4 * HOUR));
    assert_eq!(origin(&config, "retention.stream_ttl"), "f.toml:2:14");
    assert_eq!(
        origin(&config, "retention.event_ttl"),
        "environment variable MCP_EVENT_STORE_EVENT_TTL"
    );
    assert_eq!(origin(&config, "retention.session_ttl"), "URL query");
}

#[test]
fn the_example_of_the_documentation_is_the_default() {
    let config = from_toml(
        r#"
        durability = "committed"
        [retention]
        stream_ttl = "24h"
        completed_stream_ttl = "1h"
        event_ttl = "24h"
        max_events_per_stream = 10_000
        max_bytes_per_stream = "16MiB"
        max_total_bytes = "10GiB"
        tombstone_ttl = "1h"
        session_ttl = "24h"
        max_bytes_per_session = "256MiB"
        sweep_every = "30s"
        [limits]
        max_event_bytes = "4MiB"
        max_streams_per_session = 10_000
        max_followers_per_session = 100
        "#,
    );
    assert_eq!(config.unwrap().settings(), &Settings::default());
}

#[test]
fn every_notation_of_a_value() {
    for (text, expected) in [
        ("1h 30m", 90 * 60_000),
        ("90min", 90 * 60_000),
        ("0.5s", 500),
        ("1ms", 1),
        (" 2d\n", 48 * 3_600_000),
    ] {
        let config = from_variable("MCP_EVENT_STORE_STREAM_TTL", text).unwrap();
        let expected = Some(Duration::from_millis(expected));
        assert_eq!(config.settings().retention.stream_ttl, expected, "{text}");
    }
    for (text, expected) in [
        ("1_048_576", MIB),
        ("1MiB", MIB),
        ("1 MB", 1_000_000),
        ("1.5KiB", 1536),
        ("7EiB", 7 << 60),
    ] {
        let config = from_variable("MCP_EVENT_STORE_MAX_TOTAL_BYTES", text).unwrap();
        assert_eq!(config.settings().retention.max_total_bytes, Some(expected), "{text}");
    }
    let config = from_toml("limits.max_event_bytes = 0x10_00").unwrap();
    assert_eq!(config.settings().limits.max_event_bytes, Some(4096));
    let config = from_url("memory://?max_events_per_stream=1_000&stream_ttl=1h+30m").unwrap();
    assert_eq!(config.settings().retention.max_events_per_stream, Some(1_000));
    assert_eq!(config.settings().retention.stream_ttl, Some(90 * HOUR / 60));
}

#[test]
fn every_limit_but_two_can_be_off() {
    let config = Config::builder().load().unwrap();
    let refuses_off = ["durability", "tombstone_ttl"];
    let variables = config
        .entries()
        .filter(|entry| !refuses_off.contains(&entry.field.key))
        .map(|entry| (entry.field.variable(), "off"));
    let config = Config::builder().environment(variables).load().unwrap();
    let expected = Settings {
        retention: Retention::keep_everything(),
        limits: Limits::unlimited(),
        durability: Durability::Committed,
    };
    assert_eq!(config.settings(), &expected);
}

#[test]
fn a_backends_fields_come_from_every_source() {
    let config = from_toml("[sqlite]\nbusy_timeout = \"1s\"").unwrap();
    assert_eq!(config.get(&BUSY_TIMEOUT).duration(), Some(Duration::from_secs(1)));
    assert_eq!(config.get(&READERS).integer(), Some(4));
    let config = from_variable("MCP_EVENT_STORE_SQLITE_READERS", "7").unwrap();
    assert_eq!(config.get(&READERS).integer(), Some(7));
    let config = from_url("SQLITE:///f?readers=off&durability=relaxed#x?y=1").unwrap();
    assert_eq!(config.get(&READERS).integer(), None);
    assert_eq!(config.settings().durability, Durability::Relaxed);
}

#[test]
fn other_environment_variables_are_passed_over() {
    let variables =
        ["PATH", "MCP_EVENT_STORE_TEST_KEEP", "MCP_EVENT_STORE_URL", "MCP_EVENT_STORE_LISTEN"];
    let config = Config::builder().environment(variables.map(|name| (name, "?"))).load().unwrap();
    assert_eq!(config.settings(), &Settings::default());
}

#[test]
fn defaults_move_to_fit_what_is_given() {
    let config = from_toml("retention.max_total_bytes = \"1MiB\"").unwrap();
    let settings = config.settings();
    assert_eq!(settings.limits.max_event_bytes, Some(MIB));
    assert_eq!(settings.retention.max_bytes_per_stream, Some(MIB));
    assert_eq!(settings.retention.max_bytes_per_session, Some(MIB));
    assert_eq!(origin(&config, "limits.max_event_bytes"), "default, fitted to max_total_bytes");
    let config = from_toml("limits.max_event_bytes = \"64MiB\"").unwrap();
    assert_eq!(config.settings().retention.max_bytes_per_stream, Some(64 * MIB));
    assert_eq!(config.settings().retention.max_bytes_per_session, Some(256 * MIB));
    assert_eq!(origin(&config, "retention.max_bytes_per_session"), "default");
}

#[test]
fn a_limit_that_is_off_contradicts_nothing_and_moves_nothing() {
    let config =
        from_toml("limits.max_event_bytes = \"off\"\nretention.max_bytes_per_session = \"1KiB\"");
    let config = config.unwrap();
    assert_eq!(config.settings().limits.max_event_bytes, None);
    assert_eq!(config.settings().retention.max_bytes_per_stream, Some(1024));
    assert_eq!(config.settings().retention.max_total_bytes, Some(10 * 1024 * MIB));
}

#[test]
fn one_more_source_counts_like_any_other() {
    let config = from_toml("limits.max_event_bytes = \"64MiB\"").unwrap();
    let config =
        config.to_builder().url("sqlite:///f?max_event_bytes=1MiB&readers=2").load().unwrap();
    assert_eq!(config.settings().retention.max_bytes_per_stream, Some(16 * MIB), "fitted anew");
    assert_eq!(config.get(&READERS), Value::Integer(2));
}

#[test]
fn the_programs_own_settings_stand_above_the_defaults() {
    let limits = Limits { max_event_bytes: Some(MIB), ..Limits::default() };
    let settings = Settings { limits, ..Settings::default() };
    let builder = Config::builder().backend(SQLITE).settings(settings.clone());
    assert_eq!(builder.clone().load().unwrap().settings(), &settings);
    let config = builder.url("sqlite:///f?max_event_bytes=2MiB").load().unwrap();
    assert_eq!(config.settings().limits.max_event_bytes, Some(2 * MIB));
}
