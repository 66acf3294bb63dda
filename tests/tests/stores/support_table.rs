//! The table in the README says what the suite runs against each store: it is compared with the
//! list of this very binary's tests, and with the servers that answer.
//!
//! `MCP_EVENT_STORE_TEST_UPDATE_DOCS=1 cargo test --release -p mcp-event-store-compliance --test
//! stores support_table` writes the table anew.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;

use mcp_event_store_compliance::CHECKS;
use mcp_event_store_test_servers::{Postgres, Redis};

const README: &str = "../README.md";
const BEGIN: &str = "<!-- support: begin -->\n";
const END: &str = "<!-- support: end -->\n";

/// Images that the project builds for its tests; what else a user tests is not for the table.
const OWN_IMAGES: &str = "mcp-event-store-test:";

/// The stores, the modules that run the suite against them, and what they were run on.
const STORES: [(&str, &str, &str); 6] = [
    ("Memory", "memory", "—"),
    ("SQLite", "sqlite", "the SQLite that is compiled in"),
    ("PostgreSQL", "postgres", POSTGRES),
    ("Redis, Valkey", "redis", REDIS),
    ("Redis Cluster", "redis_cluster", "Redis 8.0"),
    ("RocksDB", "rocksdb", "the RocksDB that is compiled in"),
];
const POSTGRES: &str = "PostgreSQL 15, PostgreSQL 17";
const REDIS: &str = "Redis 7.0, Redis 8.0, Valkey 8.1";

/// The names of this binary's tests, by module.
fn listed(arguments: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let mut list = Command::new(std::env::current_exe().unwrap());
    let list = list.args(["--list", "--format", "terse"]).args(arguments).output().unwrap();
    assert!(list.status.success());
    let mut tests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in String::from_utf8(list.stdout).unwrap().lines() {
        let name = line.strip_suffix(": test").unwrap();
        if let Some((module, test)) = name.split_once("::") {
            tests.entry(module.to_owned()).or_default().insert(test.to_owned());
        }
    }
    tests
}

/// The needs of the checks that a store's module leaves out, each of whose checks it leaves out.
fn not_offered(ignored: &BTreeSet<String>) -> String {
    let mut words = BTreeSet::new();
    for need in CHECKS.iter().flat_map(|check| check.needs) {
        let mut concerned = CHECKS.iter().filter(|check| check.needs.contains(need));
        if concerned.all(|check| ignored.contains(check.name)) {
            words.insert(format!("`{need}`"));
        }
    }
    if words.is_empty() {
        return "—".to_owned();
    }
    words.into_iter().collect::<Vec<_>>().join(", ")
}

fn table() -> String {
    let (all, ignored) = (listed(&[]), listed(&["--ignored"]));
    let none = BTreeSet::new();
    let mut table = String::from(
        "| store | checks of the contract that run | what it does not offer | run on |\n\
         |---|---|---|---|\n",
    );
    for (store, module, run_on) in STORES {
        let ignored = ignored.get(module).unwrap_or(&none);
        let checks = |check: &&_| all[module].contains::<str>(check);
        let names = CHECKS.iter().map(|check| check.name);
        assert_eq!(names.clone().filter(checks).count(), CHECKS.len(), "{module} lists all checks");
        let run = names.filter(|name| !ignored.contains(*name)).count();
        let missing = not_offered(ignored);
        writeln!(table, "| {store} | {run} of {} | {missing} | {run_on} |", CHECKS.len()).unwrap();
    }
    table
}

#[test]
fn the_readme_says_what_the_suite_runs() {
    let readme = std::fs::read_to_string(README).unwrap();
    let (before, rest) = readme.split_once(BEGIN).unwrap();
    let (said, after) = rest.split_once(END).unwrap();
    let table = table();
    if std::env::var_os("MCP_EVENT_STORE_TEST_UPDATE_DOCS").is_some() {
        std::fs::write(README, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert_eq!(said, table, "the README differs; see the top of this test");
    }
}

#[tokio::test]
async fn the_readme_names_the_servers_that_the_suite_runs_on() {
    let postgres = Postgres::shared().await.unwrap().description();
    let redis = Redis::shared().await.unwrap().description();
    for (server, run_on) in [(postgres, POSTGRES), (redis, REDIS)] {
        let named = run_on.split(", ").any(|name| server.starts_with(&format!("{name}.")));
        assert!(named || !server.contains(OWN_IMAGES), "the README does not name {server}");
    }
}
