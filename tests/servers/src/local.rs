//! Servers that are programs of this machine.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{env, fs, io};

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use crate::place::Place;
use crate::recipe::Filled;

pub(crate) struct Local {
    base: PathBuf,
    dir: String,
    /// One order at a time.
    keeper: Mutex<Keeper>,
}

impl Local {
    /// The first of the programs that is there, unless some are missing that are needed: all, or
    /// one if any will do. Then says which.
    pub(crate) fn possible(programs: &[&str], any: bool) -> Result<PathBuf, String> {
        let found: Vec<_> = programs.iter().filter_map(|program| find_program(program)).collect();
        let complete = any || found.len() == programs.len();
        let first = found.into_iter().next().filter(|_| complete);
        first.ok_or_else(|| missing(programs, any))
    }

    pub(crate) async fn new(fill: impl FnOnce(&str) -> Filled) -> Result<Self, String> {
        let (base, dir, child) = prepare(fill).map_err(|error| error.to_string())?;
        let local = Self { base, dir, keeper: Mutex::new(child) };
        local.start().await?;
        Ok(local)
    }

    async fn order(&self, order: &str) -> Result<String, String> {
        let mut keeper = self.keeper.lock().await;
        keeper.order(order).await.map_err(|error| format!("its keeper: {error}"))
    }
}

#[async_trait]
impl Place for Local {
    fn dir(&self) -> &str {
        &self.dir
    }

    async fn kill(&self) -> Result<(), String> {
        self.order("kill").await.map(drop)
    }

    async fn start(&self) -> Result<(), String> {
        self.order("start").await.map(drop)
    }

    async fn runs(&self) -> Result<bool, String> {
        Ok(self.order("status").await? == "running")
    }

    async fn last_words(&self) -> String {
        tail(&String::from_utf8_lossy(&fs::read(self.base.join("log")).unwrap_or_default()))
    }
}

/// The process of `keeper.sh`: it runs the server, and ends it once this process has ended or
/// this value is dropped.
struct Keeper {
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Keeper {
    async fn order(&mut self, order: &str) -> io::Result<String> {
        self.orders.write_all(format!("{order}\n").as_bytes()).await?;
        self.answers.next_line().await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Makes its directory and starts its keeper, which removes that directory.
fn prepare(fill: impl FnOnce(&str) -> Filled) -> io::Result<(PathBuf, String, Keeper)> {
    let base = tempfile::Builder::new().prefix("mcp-event-store-server-").tempdir()?;
    let dir = base.path().join("server").display().to_string();
    let filled = fill(&dir);
    let files = base.path().join("files");
    fs::create_dir(&files)?;
    for (name, content) in &filled.files {
        fs::write(files.join(name), content)?;
    }
    let mut command = Command::new("sh");
    command
        .args(["-c", include_str!("scripts/keeper.sh"), "keeper"])
        .arg(base.path())
        .arg(filled.script)
        .args(filled.arguments)
        .envs(filled.variables)
        .env("DIR", &dir)
        .env("FILES", &files)
        .current_dir(base.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Out of reach of Ctrl-C, which goes to the group of the test process.
        .process_group(0);
    if let Some((user, group)) = user_instead_of_root(base.path())? {
        for path in walk(base.path())? {
            chown(path, Some(user), Some(group))?;
        }
        command.uid(user).gid(group);
    }
    let mut child = command.spawn()?;
    let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let keeper = Keeper { orders, answers: BufReader::new(answers).lines() };
    // From here on the keeper removes it.
    Ok((base.keep(), dir, keeper))
}

fn walk(base: &Path) -> io::Result<Vec<PathBuf>> {
    let files = base.join("files");
    let mut paths = vec![base.to_owned(), files.clone()];
    for file in fs::read_dir(files)? {
        paths.push(file?.path());
    }
    Ok(paths)
}

/// PostgreSQL and PgBouncer refuse to run as root. The owner of a fresh file tells who this is.
fn user_instead_of_root(mine: &Path) -> io::Result<Option<(u32, u32)>> {
    use std::os::unix::fs::MetadataExt;
    if fs::metadata(mine)?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let user = ["postgres", "nobody"].iter().find_map(|name| user_and_group(&users, name));
    user.map(Some).ok_or_else(|| {
        io::Error::other("servers do not run as root, and there is no user postgres or nobody")
    })
}

fn user_and_group(users: &str, name: &str) -> Option<(u32, u32)> {
    let mut fields = users.lines().find(|line| line.split(':').next() == Some(name))?.split(':');
    Some((fields.nth(2)?.parse().ok()?, fields.next()?.parse().ok()?))
}

pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    directories().into_iter().map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// Where programs are looked for: the `PATH`, then what `common.sh` adds to it.
fn directories() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut all: Vec<_> = env::split_paths(&path).collect();
    let mut postgres: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect();
    postgres.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    all.extend(postgres.into_iter().map(|(_, dir)| dir.join("bin")));
    all.push("/usr/sbin".into());
    all
}

fn missing(programs: &[&str], any: bool) -> String {
    let absent: Vec<_> =
        programs.iter().copied().filter(|program| find_program(program).is_none()).collect();
    let names = absent.join(if any { " or " } else { " and no " });
    format!("there is no {names} in PATH, /usr/lib/postgresql/*/bin or /usr/sbin")
}

/// The last lines of a log.
pub(crate) fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    if lines.is_empty() {
        return "(none)".to_owned();
    }
    lines[lines.len().saturating_sub(20)..].join("\n")
}
