//! history
use crate::context::Ctx;
use crate::failure::Outcome;
use std::time::Duration;
pub(crate) fn deadline(d: Duration) -> Duration {
    d
}
pub(crate) async fn history_of_two_instances_is_one_order(_: &Ctx) -> Outcome {
    Ok(())
}
pub(crate) async fn history_of_three_instances_is_one_order(_: &Ctx) -> Outcome {
    Ok(())
}
