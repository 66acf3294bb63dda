//! Where there is no server, a test hears what was looked for and what to do. It is not skipped.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::env;
use std::process::Command;

use mcp_event_store_test_servers::{Error, Redis};

const ROLE: &str = "MCP_EVENT_STORE_TEST_ROLE";

/// What a process says that asks for the shared Redis with such variables, and nothing in its
/// `PATH`. Debian's Redis is in no other directory that is looked into.
fn said_with(test: &str, variables: &[(&str, &str)]) -> String {
    let nothing = tempfile::tempdir().unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("PATH", nothing.path())
        .env_remove("MCP_EVENT_STORE_TEST_REDIS_URL")
        .env_remove("MCP_EVENT_STORE_TEST_REDIS_IMAGE")
        .env_remove("MCP_EVENT_STORE_TEST_REDIS_SERVER")
        .envs(variables.iter().copied())
        .env(ROLE, "asker")
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The part of the child process, which is one run of each test here.
fn asks() -> bool {
    let asks = env::var(ROLE).is_ok();
    if asks {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        match runtime.block_on(Redis::shared()) {
            Ok(server) => println!("got {server:?}"),
            Err(error) => println!("{error}"),
        }
    }
    asks
}

#[track_caller]
fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
}

#[test]
fn names_what_was_looked_for_and_what_to_do() {
    if asks() {
        return;
    }
    let said = said_with("names_what_was_looked_for_and_what_to_do", &[]);
    assert_says(
        &said,
        &[
            "no Redis to test with",
            "MCP_EVENT_STORE_TEST_REDIS_URL is not set",
            "no `docker` command",
            "no redis-server or valkey-server in PATH",
            "tests/run.sh",
            "tests/images.sh",
            "apt-get install redis-server",
        ],
    );
}

#[test]
fn an_image_that_the_user_names_is_not_replaced_by_something_else() {
    if asks() {
        return;
    }
    let said = said_with(
        "an_image_that_the_user_names_is_not_replaced_by_something_else",
        &[("MCP_EVENT_STORE_TEST_REDIS_IMAGE", "redis:7.4")],
    );
    assert_says(&said, &["MCP_EVENT_STORE_TEST_REDIS_IMAGE", "redis:7.4", "no `docker` command"]);
}

#[test]
fn a_wrong_variable_is_named_and_shows_no_password() {
    if asks() {
        return;
    }
    let test = "a_wrong_variable_is_named_and_shows_no_password";
    for (variable, value, part) in [
        ("MCP_EVENT_STORE_TEST_REDIS_URL", "http://u:hunter2@localhost", "redis://"),
        ("MCP_EVENT_STORE_TEST_REDIS_URL", "redis://u:hunter2@", "redis://"),
        // Nobody listens there.
        ("MCP_EVENT_STORE_TEST_REDIS_URL", "redis://u:hunter2@127.0.0.1:1", "refused"),
        ("MCP_EVENT_STORE_TEST_REDIS_IMAGE", "redis", "name:tag"),
        ("MCP_EVENT_STORE_TEST_REDIS_SERVER", "memcached", "redis or valkey"),
    ] {
        let said = said_with(test, &[(variable, value)]);
        assert_says(&said, &[variable, part]);
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn a_server_of_the_users_is_used_and_not_killed() {
    let lent = if let Ok(url) = env::var("LENT") {
        // In the child: the variable names the parent's server.
        let server = Redis::shared().await.unwrap();
        assert_eq!(server.url(), url);
        let refused = server.kill().await.unwrap_err();
        assert!(matches!(refused, Error::Users { .. }), "{refused}");
        assert!(server.description().contains("MCP_EVENT_STORE_TEST_REDIS_URL"));
        return;
    } else {
        Redis::own(&[]).await.unwrap()
    };
    let output = Command::new(env::current_exe().unwrap())
        .args(["a_server_of_the_users_is_used_and_not_killed", "--exact"])
        .env("MCP_EVENT_STORE_TEST_REDIS_URL", lent.url())
        .env("LENT", lent.url())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
