//! crash
use crate::context::Ctx;
use crate::failure::Outcome;
use std::time::Duration;
pub(crate) fn deadline(d: Duration) -> Duration {
    d
}
pub(crate) async fn crash_a_killed_process_loses_nothing_it_acknowledged(_: &Ctx) -> Outcome {
    Ok(())
}
pub(crate) async fn crash_a_killed_server_loses_nothing_it_acknowledged(c: &Ctx) -> Outcome {
    c.kill_server().await
}
pub(crate) async fn crash_cut_commits_are_stored_once_or_not_claimed(_: &Ctx) -> Outcome {
    Ok(())
}
