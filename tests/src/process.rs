//! Child processes: the same test binary once more, playing the part that the environment names.

use std::env;
use std::io::Write;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::failure::{Mismatch, Outcome};

const ROLE: &str = "MCP_EVENT_STORE_TEST_ROLE";
const SCOPE: &str = "MCP_EVENT_STORE_TEST_SCOPE";

/// What begins each line that a child means for its parent; the test binary prints others.
const MARK: &str = "@@ ";

/// The part that this process plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// An ordinary test.
    Test,
    /// A check that has the process for itself, or wants no children.
    Alone,
    /// A helper of a check, on the scope at this address.
    Child(String),
}

impl Role {
    pub(crate) fn of_this_process() -> Self {
        match env::var(ROLE).as_deref() {
            Ok("alone") => Self::Alone,
            Ok("child") => Self::Child(env::var(SCOPE).expect("a scope for the child")),
            _ => Self::Test,
        }
    }
}

/// This test binary, about to run nothing but the test at `path`.
fn this_test(path: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("the path of this binary"));
    command.args([path, "--exact", "--nocapture", "--include-ignored", "--test-threads=1"]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs the test at `path` in a process of its own, one such process at a time.
///
/// # Panics
/// With the output of that process, if it fails.
pub(crate) fn run_alone(path: &str, deadline: Duration) {
    /// Held while a measurement runs, so that no other disturbs it.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let output = runtime.expect("a runtime").block_on(async {
        // One heap for all threads, where the C library asks: several of them keep more for later.
        let run = this_test(path).env(ROLE, "alone").env("MALLOC_ARENA_MAX", "1").output();
        tokio::time::timeout(deadline + Duration::from_secs(10), run).await
    });
    let output = output.expect("an end in time").expect("a child process");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "in a process of its own:\n{text}");
    assert!(text.contains("1 passed"), "the child process ran no test called {path}:\n{text}");
}

/// A child process that works on the same scope.
pub(crate) struct Helper {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    patience: Duration,
}

impl Helper {
    pub(crate) fn start(path: &str, address: &str, patience: Duration) -> Outcome<Self> {
        let mut command = this_test(path);
        command.env(ROLE, "child").env(SCOPE, address);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child =
            command.spawn().map_err(|error| Mismatch::harness("a child process", error))?;
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Ok(Self { child, lines, patience })
    }

    /// The child's next whole line; `None` when it has ended.
    pub(crate) async fn next_line(&mut self) -> Outcome<Option<String>> {
        loop {
            let line = tokio::time::timeout(self.patience, self.lines.next_line())
                .await
                .map_err(|_| Mismatch::new("a word from the child process", "nothing"))?;
            match line.map_err(|error| Mismatch::harness("the child's output", error))? {
                None => return Ok(None),
                Some(line) => {
                    if let Some(line) = line.strip_prefix(MARK).and_then(whole) {
                        return Ok(Some(line));
                    }
                }
            }
        }
    }

    /// Sends SIGKILL, and gives what the child had said until then.
    pub(crate) async fn kill(mut self) -> Outcome<Vec<String>> {
        let killed = self.child.start_kill();
        killed.map_err(|error| Mismatch::harness("to kill the child", error))?;
        let mut rest = Vec::new();
        while let Some(line) = self.next_line().await? {
            rest.push(line);
        }
        let ended = self.child.wait().await;
        ended.map_err(|error| Mismatch::harness("the child's end", error))?;
        Ok(rest)
    }
}

/// What a child says to its parent: whole lines, even if it is killed at once.
pub(crate) fn tell_parent(line: &str) {
    let text = format!("\n{MARK}{line};\n");
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    // The parent has gone; so may this process.
    if written.is_err() {
        std::process::exit(0);
    }
}

/// The line without its end mark; a line that the kill tore has none.
fn whole(line: &str) -> Option<String> {
    line.strip_suffix(';').map(str::to_owned)
}

/// Resident memory of this process in bytes, where the system tells it.
pub(crate) fn resident_bytes() -> Option<u64> {
    const KIB: u64 = 1024;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * KIB)
}
