//! `demo` keeps its promise, in its exit code and in its last line.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use support::command;

#[test]
fn the_demo_loses_nothing() {
    let began = Instant::now();
    let output = command(&["demo"]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}{errors}");
    let last = shown.lines().last().unwrap();
    assert_eq!(last, "10 sent, 4 received live, 6 replayed, 0 lost");
    assert!(shown.contains("SIGKILL"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "colours where there is no terminal");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn the_demo_takes_another_store_and_leaves_no_events_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("mine.db").display());
    let output = command(&["demo", "--store", &url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let usage = runtime.block_on(async {
        let store = mcp_event_store::open(&url).await.unwrap();
        store.maintenance().usage().await.unwrap()
    });
    assert_eq!((usage.events, usage.streams), (0, 0));
}

#[test]
fn the_demo_leaves_nothing_behind_whatever_its_temporary_directory_is_called() {
    let parent = tempfile::tempdir().unwrap();
    let place = parent.path().join("a b%25?c#é");
    std::fs::create_dir(&place).unwrap();
    let output = command(&["demo"]).env("TMPDIR", &place).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(&parent).unwrap().count(), 1, "a file beside its directory");
}

#[test]
fn a_store_that_cannot_outlive_its_server_is_refused() {
    for url in ["memory://", "nope://u:secret@h"] {
        let output = command(&["demo", "--store", url]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.starts_with("error: ") && !errors.contains("secret"), "{errors}");
    }
}
