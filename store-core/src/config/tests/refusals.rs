//! What is refused, and what the message says.

use super::{SQLITE, from_toml, from_url, from_variable, messages};
use crate::config::{Config, ConfigErrors, Origin};
use crate::retention::Settings;
use crate::{Error, Limits};

fn message(result: Result<Config, ConfigErrors>) -> String {
    let messages = messages(result);
    assert_eq!(messages.len(), 1, "{messages:?}");
    messages.concat()
}

#[track_caller]
fn assert_refused(toml: &str, place: &str, key: &str, why: &str) {
    let message = message(from_toml(toml));
    assert!(message.starts_with(&format!("f.toml:{place}: {key}: ")), "{message}");
    assert!(message.contains(why), "{message}");
    assert!(message.contains("; ") || message.contains(": "), "no remedy: {message}");
}

#[test]
fn unknown_keys_with_the_nearest_known_one() {
    assert_refused(
        "[retention]\nstream_tll = \"2h\"",
        "2:1",
        "retention.stream_tll",
        "did you mean stream_ttl?",
    );
    assert_refused("durabilty = \"relaxed\"", "1:1", "durabilty", "did you mean durability?");
    assert_refused("[retenton]\nstream_ttl = \"2h\"", "1:2", "retenton", "did you mean retention?");
    assert_refused(
        "[limits]\nx = 1",
        "2:1",
        "limits.x",
        "known here: max_event_bytes, max_streams",
    );
    assert_refused("[sqlite]\nreader = 1", "2:1", "sqlite.reader", "did you mean readers?");
}

#[test]
fn keys_in_the_wrong_place_with_the_right_one() {
    assert_refused("stream_ttl = \"2h\"", "1:1", "stream_ttl", "move it under [retention]");
    assert_refused(
        "[limits]\ndurability = \"relaxed\"",
        "2:1",
        "limits.durability",
        "move it to the top",
    );
    assert_refused("readers = 3", "1:1", "readers", "move it under [sqlite]");
}

#[test]
fn zero_in_every_notation() {
    for (key, zero) in [
        ("retention.stream_ttl", "\"0s\""),
        ("retention.stream_ttl", "\"0\""),
        ("retention.tombstone_ttl", "\"0h 0m\""),
        ("retention.max_total_bytes", "0"),
        ("retention.max_total_bytes", "\"0GiB\""),
        ("retention.max_total_bytes", "\"0.1B\""),
        ("limits.max_streams_per_session", "0x0"),
        ("sqlite.readers", "0"),
    ] {
        let column = key.len() + 4;
        assert_refused(&format!("{key} = {zero}"), &format!("1:{column}"), key, "is zero");
    }
}

#[test]
fn negative_values() {
    assert_refused(
        "retention.max_total_bytes = -1",
        "1:29",
        "retention.max_total_bytes",
        "negative",
    );
    assert_refused("retention.event_ttl = \"-3h\"", "1:23", "retention.event_ttl", "negative");
    assert!(
        message(from_variable("MCP_EVENT_STORE_MAX_EVENTS_PER_STREAM", "-5")).contains("negative")
    );
}

#[test]
fn wrong_types() {
    for (key, value, of_type) in [
        ("retention.stream_ttl", "3600", "integer"),
        ("retention.stream_ttl", "true", "boolean"),
        ("retention.stream_ttl", "1979-05-27", "datetime"),
        ("retention.max_total_bytes", "1.5", "float"),
        ("retention.max_total_bytes", "[1]", "array"),
        ("limits.max_streams_per_session", "{ a = 1 }", "table"),
        ("durability", "1", "integer"),
    ] {
        let column = key.len() + 4;
        let why = format!("must not be of type {of_type}");
        assert_refused(&format!("{key} = {value}"), &format!("1:{column}"), key, &why);
    }
    assert_refused("retention = 5", "1:13", "retention", "write [retention] on a line of its own");
    assert_refused("[[limits]]\nmax_event_bytes = 1", "1:1", "limits", "is a table");
    assert_refused(
        "sqlite.readers = \"3\"",
        "1:18",
        "sqlite.readers",
        "write the number without quotes",
    );
}

#[test]
fn what_is_no_value_at_all() {
    for (key, value, kind) in [
        ("retention.stream_ttl", "soon", "duration"),
        ("retention.stream_ttl", "24", "duration"),
        ("retention.max_total_bytes", "many", "size"),
        ("retention.max_total_bytes", "16 MiBs", "size"),
        ("sqlite.readers", "3.5", "count"),
    ] {
        let column = key.len() + 4;
        let why = format!("\"{value}\" is not a {kind}; write ");
        assert_refused(&format!("{key} = \"{value}\""), &format!("1:{column}"), key, &why);
    }
    assert_refused("retention.stream_ttl = \" \"", "1:24", "retention.stream_ttl", "is empty");
    assert_refused(
        "durability = \"fast\"",
        "1:14",
        "durability",
        r#""fast" is unknown; write "committed" or "relaxed""#,
    );
}

#[test]
fn too_much_and_too_little() {
    for huge in ["501y", "99999999999y", "18446744073709551615s1000ms", "9999999999999999999999h"] {
        let message = message(from_variable("MCP_EVENT_STORE_STREAM_TTL", huge));
        assert!(
            message.contains("500 years") || message.contains("is not a duration"),
            "{message}"
        );
    }
    for huge in ["8EiB", "99999999999999EiB", "9223372036854775808", "99999999999999999999999999"] {
        let message = message(from_variable("MCP_EVENT_STORE_MAX_TOTAL_BYTES", huge));
        assert!(message.contains("is larger than 9223372036854775807"), "{message}");
    }
    let huge = "limits.max_followers_per_session = 9223372036854775808";
    let message = message_of_any(from_toml(huge));
    assert!(message.contains("f.toml:1:36"), "{message}");
    for tiny in ["1ns", "999us", "1ms 1us"] {
        let message = message_of_any(from_variable("MCP_EVENT_STORE_EVENT_TTL", tiny));
        assert!(message.contains("shorter than a millisecond"), "{message}");
    }
}

fn message_of_any(result: Result<Config, ConfigErrors>) -> String {
    messages(result).concat()
}

#[test]
fn off_where_it_cannot_be() {
    assert_refused(
        "retention.tombstone_ttl = \"off\"",
        "1:27",
        "retention.tombstone_ttl",
        "give it a short time such as \"1m\"",
    );
    assert_refused("durability = \"off\"", "1:14", "durability", "use \"relaxed\"");
    assert_refused("sqlite.busy_timeout = \"off\"", "1:23", "sqlite.busy_timeout", "must wait");
}

#[test]
fn unknown_environment_variables() {
    let message = message(from_variable("MCP_EVENT_STORE_STREAM_TLL", "secret"));
    assert_eq!(
        message,
        "environment variable MCP_EVENT_STORE_STREAM_TLL: sets nothing that is known; did you mean \
         MCP_EVENT_STORE_STREAM_TTL?"
    );
    let message = messages(from_variable("MCP_EVENT_STORE_READERS", "3")).concat();
    assert!(message.contains("sets nothing that is known"), "{message}");
}

#[cfg(unix)]
#[test]
fn environment_variables_that_are_not_utf8() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    let value = OsString::from_vec(vec![b'2', 0xff]);
    let config = Config::builder().environment([("MCP_EVENT_STORE_STREAM_TTL", value)]).load();
    assert!(message(config).contains("is not UTF-8"));
}

#[test]
fn url_queries_without_ever_showing_a_value() {
    for (url, part) in [
        ("sqlite:///f?stream_ttl=hunter2", "URL query: retention.stream_ttl: its value is not a"),
        ("sqlite:///f?stream_ttl=1h&stream_ttl=2h", "is there twice; keep one"),
        ("sqlite:///f?stream_tll=hunter2", "stream_tll: is no key of a sqlite URL; did you mean"),
        ("memory://?readers=3", "readers: is no key of a memory URL"),
        ("redis://u:p?hunter2@host/0", "%3F"),
        ("redis://u:hunter2@host/0?%68unter2%00=1", "something that is no key; known keys: durab"),
        ("memory://?=hunter2", "something that is no key"),
    ] {
        let message = message(from_url(url));
        assert!(message.starts_with("URL query: ") && message.contains(part), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn debug_shows_nothing_of_the_url_but_its_scheme() {
    let builder = Config::builder().url("redis://u:hunter2@h?sweep_every=1s&p=hunter2");
    assert!(!format!("{builder:?}").contains("hunter2"));
    let config = Config::builder().url("redis://u:hunter2@h?sweep_every=1s").load().unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn sizes_that_contradict_each_other() {
    assert_refused(
        "limits.max_event_bytes = \"2MiB\"\nretention.max_bytes_per_stream = \"1MiB\"",
        "1:26",
        "limits.max_event_bytes",
        "2097152 bytes is more than the 1048576 bytes of retention.max_bytes_per_stream (f.toml:2:34)",
    );
    let across_sources = Config::builder()
        .toml("f.toml", "retention.max_bytes_per_session = \"1GiB\"")
        .environment([("MCP_EVENT_STORE_MAX_TOTAL_BYTES", "1MiB")])
        .load();
    let message = message(across_sources);
    assert!(message.starts_with("f.toml:1:35: retention.max_bytes_per_session: "), "{message}");
    assert!(message.contains("environment variable MCP_EVENT_STORE_MAX_TOTAL_BYTES"), "{message}");
    let all = "limits.max_event_bytes = 30\n[retention]\nmax_bytes_per_stream = 20\n\
               max_total_bytes = 10";
    assert_eq!(messages(from_toml(all)).len(), 2);
}

#[test]
fn settings_of_the_program_that_could_not_be_written_in_a_file() {
    let limits = Limits { max_event_bytes: Some(0), ..Limits::default() };
    let config = Config::builder().settings(Settings { limits, ..Settings::default() }).load();
    assert!(message(config).starts_with("code: limits.max_event_bytes: is zero"));
}

#[test]
fn all_problems_of_a_file_in_the_order_of_its_lines() {
    let text = "durability = \"fast\"\nx = \n[retention]\nstream_ttl = \"2h\"\nevent_ttl = 5\n\
                stream_ttl = \"1h\"\n[limits]\nmax_event_bytes = 0\n";
    let messages = messages(from_toml(text));
    let lines: Vec<&str> = messages.iter().map(|m| &m[..m.find(": ").unwrap()]).collect();
    assert_eq!(lines, ["f.toml:1:14", "f.toml:2:5", "f.toml:5:13", "f.toml:6:1", "f.toml:8:19"]);
}

#[test]
fn broken_toml_once_a_line_and_with_its_key() {
    let text = "[retention]\r\nstream_ttl = 1h\r\nevent_ttl=\"2h\r\nmax_total_bytes = 1..2\r\n";
    let starts =
        ["2:14: retention.stream_ttl: ", "3:15: retention.event_ttl: ", "4:21: retention."];
    let messages = messages(from_toml(text));
    assert_eq!(messages.len(), starts.len(), "{messages:?}");
    for (message, start) in messages.iter().zip(starts) {
        assert!(message.starts_with(&format!("f.toml:{start}")), "{message}");
    }
}

#[test]
fn files_that_cannot_be_read() {
    for (path, part) in [("/nowhere/f.toml", "check the path"), ("/", "check the path")] {
        let message = message(Config::builder().file(path).load());
        assert!(message.starts_with(path) && message.contains(part), "{message}");
    }
}

#[test]
fn columns_count_characters_and_nothing_breaks_the_line() {
    let text = "[retention]\n\"é\\u0007\" = 1\n";
    let message = message(from_toml(text));
    assert!(message.starts_with("f.toml:2:1: retention.é\\u{7}: "), "{message}");
    let text = "retention = { \"é\" = 1, stream_ttl = 2 }";
    let messages = messages(from_toml(text));
    assert!(messages[1].starts_with("f.toml:1:37: "), "{messages:?}");
    let name = "a\nb.toml";
    let errors = Config::builder().toml(name, "x = 1").load().unwrap_err();
    assert!(errors.to_string().starts_with("a\\nb.toml:1:1: x: "), "{errors}");
}

#[test]
fn an_error_of_the_contract_names_the_key_and_the_origin() {
    let errors = from_toml("retention.stream_ttl = 5").unwrap_err();
    assert!(matches!(errors.iter().next().unwrap().origin, Origin::File { .. }));
    let Error::InvalidInput { field, reason } = Error::from(errors) else { panic!() };
    assert_eq!(field, "retention.stream_ttl");
    assert!(reason.ends_with("(f.toml:1:24)"), "{reason}");
    let two = Config::builder().backend(SQLITE).toml("f", "a = 1\nb = 2").load().unwrap_err();
    let error = Error::from(two).to_string();
    assert!(error.contains("f:1:1: a:") && error.contains("f:2:1: b:"), "{error}");
}
