//! `config show` and `config check`, as an operator meets them.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The command, without any configuration from the environment of the test.
fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-event-store"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MCP_EVENT_STORE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

fn run(args: &[&str]) -> Ran {
    command().args(args).output().unwrap().into()
}

/// A configuration file that is removed after the test.
struct File {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.toml");
        std::fs::write(&path, text).unwrap();
        Self { path, _directory: directory }
    }

    fn arg(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

#[test]
fn show_gives_every_value_with_its_origin() {
    let file =
        File::new("[retention]\nstream_ttl = \"2h\"\nevent_ttl = \"2h\"\nsession_ttl = \"2h\"");
    let ran: Ran = command()
        .args(["config", "show", "--config", file.arg()])
        .args(["--store", "memory://?session_ttl=4h&max_event_bytes=64MiB"])
        .env("MCP_EVENT_STORE_EVENT_TTL", "3h")
        .output()
        .unwrap()
        .into();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    for (value, origin) in [
        ("durability = \"committed\"", "default".to_owned()),
        ("stream_ttl = \"2h\"", format!("{}:2:14", file.arg())),
        ("event_ttl = \"3h\"", "environment variable MCP_EVENT_STORE_EVENT_TTL".to_owned()),
        ("session_ttl = \"4h\"", "URL query".to_owned()),
        ("max_bytes_per_stream = \"64MiB\"", "default, fitted to max_event_bytes".to_owned()),
    ] {
        let line = ran.stdout.lines().find(|line| line.starts_with(value)).unwrap();
        let (_, comment) = line.split_once("  # ").unwrap();
        assert_eq!(comment, origin);
    }
}

#[test]
fn what_show_prints_is_a_correct_file_that_changes_nothing() {
    let first = run(&["config", "show", "--store", "memory://?stream_ttl=90m&event_ttl=off"]);
    let file = File::new(&first.stdout);
    let checked = run(&["config", "check", file.arg()]);
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
    let again = run(&["config", "show", "--config", file.arg()]);
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  #").next().unwrap().trim_end().to_owned()).collect()
    };
    assert_eq!(values(&again.stdout), values(&first.stdout));
}

#[test]
fn show_takes_file_and_store_from_the_environment_too() {
    let file = File::new("durability = \"relaxed\"");
    let ran: Ran = command()
        .args(["config", "show"])
        .env("MCP_EVENT_STORE_CONFIG", file.arg())
        .env("MCP_EVENT_STORE_URL", "memory://?sweep_every=1s")
        .output()
        .unwrap()
        .into();
    assert!(ran.stdout.contains("durability = \"relaxed\""), "{}", ran.stdout);
    assert!(ran.stdout.contains("sweep_every = \"1s\""), "{}", ran.stdout);
}

#[test]
fn check_names_every_fault_with_line_and_key() {
    let file = File::new(
        "durability = \"fast\"\n\n[retention]\nstream_tll = \"2h\"\ntombstone_ttl = \"off\"\n\
         [limits]\nmax_event_bytes = 0\n",
    );
    let ran = run(&["config", "check", file.arg()]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    let lines: Vec<&str> = ran.stderr.lines().collect();
    let expected = [
        (":1:14: durability: ", "\"committed\" or \"relaxed\""),
        (":4:1: retention.stream_tll: ", "did you mean stream_ttl?"),
        (":5:17: retention.tombstone_ttl: ", "such as \"1m\""),
        (":7:19: limits.max_event_bytes: ", "is zero"),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, (place, reason)) in lines.iter().zip(expected) {
        assert!(line.starts_with(&format!("error: {}{place}", file.arg())), "{line}");
        assert!(line.contains(reason), "{line}");
    }
}

#[test]
fn check_says_ok_with_a_summary() {
    let file = File::new("[limits]\nmax_event_bytes = \"64MiB\"\n");
    let ran = run(&["config", "check", file.arg()]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(ran.stdout.starts_with(&format!("ok: {} sets 1 of ", file.arg())), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("retention.max_bytes_per_stream becomes \"64MiB\" to fit"),
        "{}",
        ran.stdout
    );
}

#[test]
fn check_looks_at_the_file_alone() {
    let file = File::new("");
    let ran: Ran = command()
        .args(["config", "check", file.arg()])
        .env("MCP_EVENT_STORE_STREAM_TTL", "nonsense")
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

#[test]
fn a_file_that_is_not_there_is_one_line_with_a_remedy() {
    let ran = run(&["config", "check", "nowhere.toml"]);
    assert_eq!(ran.code, Some(2));
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("error: nowhere.toml: cannot be read: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("check the path"), "{}", ran.stderr);
}

#[test]
fn wrong_usage_is_bad_input() {
    for args in [&["nonsense"][..], &["config"], &["config", "check"], &["config", "show", "x"]] {
        let ran = run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(!ran.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn passwords_and_queries_are_never_printed() {
    let url = "redis://user:hunter2@host/0?stream_ttl=hunter2&x=hunter2";
    for args in [
        &["config", "show", "--store", url][..],
        &["config", "show", "--store", "redis://user:p?hunter2@host/0"],
        &["config", "show", "--store", url, "--nonsense"],
        &["config", "show", url],
        &["config", "check", "nowhere", url],
        &["config", "check", url],
        &["serve", "--store", "memory://", "--config", "redis://:hunter2@host"],
        &["redis://user:p\"hunter2 'x@host"],
        &[url],
    ] {
        let ran = run(args);
        assert_eq!(ran.code, Some(2), "{args:?}");
        assert!(!(ran.stdout + &ran.stderr).contains("hunter2"), "{args:?}");
    }
    for args in [&["config", "show", "--help"][..], &["config", "show", "-h"]] {
        let ran: Ran =
            command().args(args).env("MCP_EVENT_STORE_URL", url).output().unwrap().into();
        assert_eq!(ran.code, Some(0));
        assert!(!ran.stdout.contains("hunter2"), "{}", ran.stdout);
    }
}

#[test]
fn whoever_stops_reading_early_hears_no_complaint() {
    let mut child = command()
        .args(["config", "show"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

#[test]
fn help_teaches_with_examples_and_exit_codes() {
    let help = run(&["--help"]).stdout;
    for part in ["Examples:", "Exit codes:", "sqlite://", "mcp-event-store demo"] {
        assert!(help.contains(part), "{part} is missing in:\n{help}");
    }
    for args in [["config", "show"], ["config", "check"]] {
        let help: Ran = command().args(args).arg("--help").output().unwrap().into();
        assert!(help.stdout.contains("events.toml:3:14"), "{}", help.stdout);
    }
}
