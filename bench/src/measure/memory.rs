//! Memory of the process: what an idle follower takes, and what a long replay does.

use anyhow::Context as _;
use mcp_event_store::{EventStoreExt as _, NewEvent};

use super::Bench;
use super::replay::Stored;
use crate::machine::resident_bytes;
use crate::ours;
use crate::report::{Memory, Report};
use crate::stats::float;

/// Measures in this process, which must not have measured anything before: memory that was given
/// back would be taken again unseen.
pub(crate) async fn here(bench: &Bench<'_>) -> anyhow::Result<Memory> {
    let progress = bench.progress("memory", 2);
    let store = ours::open(&bench.engine.store_url("memory")).await?;
    let replayed = bench.effort.replays.last().copied().unwrap_or_default();
    let long = Stored::fill(&store, "long", replayed).await?;
    // Once through, for what the driver and the caches keep anyway.
    long.replay(&store, || {}).await?;
    let (before, mut most) = (resident_bytes(), 0);
    long.replay(&store, || most = most.max(resident_bytes())).await?;
    let replay_bytes = most.saturating_sub(before);
    progress.step();

    let followers = bench.effort.idle_followers;
    let mut open = Vec::with_capacity(followers);
    let mut primed = Vec::with_capacity(followers);
    for n in 0..followers {
        let stream = ours::stream(&format!("idle-{}", n / 100), &format!("stream-{n}"))?;
        let id = store.events().store_event(&stream, NewEvent::priming(None)).await?;
        primed.push((stream, id));
    }
    let before = resident_bytes();
    for (stream, id) in &primed {
        open.push(store.events().follow_after(stream.scope(), id).await?);
    }
    let grown = resident_bytes().saturating_sub(before);
    drop(open);
    store.maintenance().close().await?;
    bench.engine.clean().await?;
    Ok(Memory {
        followers,
        bytes_per_follower: float(grown) / float(followers),
        replayed,
        replay_bytes,
    })
}

/// Measures in a process of its own.
pub(crate) async fn elsewhere(bench: &Bench<'_>) -> anyhow::Result<Memory> {
    let progress = bench.progress("memory", 1);
    let mut command = tokio::process::Command::new(bench.program);
    command.args(["bench", "--only", "memory", "--json", "-"]);
    if bench.is_quick {
        command.arg("--quick");
    }
    // Not an argument: those are shown to every user of the machine.
    command.env("MCP_EVENT_STORE_URL", bench.url).kill_on_drop(true);
    let output = command.output().await.context("cannot start a process of this command")?;
    progress.step();
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        anyhow::bail!("measuring memory: {}", words.trim().trim_start_matches("error: "));
    }
    let report: Report = serde_json::from_slice(&output.stdout)?;
    let store = report.stores.into_iter().next();
    store.and_then(|store| store.memory).context("a process measured no memory")
}
