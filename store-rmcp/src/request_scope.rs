//! What is known of the HTTP request under way, on both sides of rmcp.
//!
//! rmcp tells a session manager little of the request that it calls for, and turns what the manager
//! refuses into an empty 200 or a text. [`ResumeGuard`](crate::ResumeGuard) stands before rmcp, in
//! the same task as everything that rmcp calls: it brings the caller's principal in, and takes
//! the refusal out. Without it there is no scope, and all of this does nothing.

use std::sync::{Arc, Mutex};

use mcp_event_store_core::Error as StoreError;
use rmcp::model::RequestId;

use crate::context::lock;
use crate::principal::Caller;
use crate::refusal::Refusal;
use crate::turns::Turn;

tokio::task_local! {
    static SCOPE: Arc<RequestScope>;
}

/// One HTTP request.
#[derive(Default)]
pub(crate) struct RequestScope {
    caller: Caller,
    /// Held for single assignments; nothing awaits under it.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The JSON-RPC request that the HTTP request carries, once it is known.
    request: Option<RequestId>,
    refusal: Option<Refusal>,
    /// What this request alone may do, as long as it lasts.
    turn: Option<Turn>,
}

impl RequestScope {
    pub(crate) fn of(caller: Caller) -> Arc<Self> {
        Arc::new(Self { caller, ..Self::default() })
    }

    /// Runs `future` as part of this request.
    pub(crate) async fn run<F: Future>(self: Arc<Self>, future: F) -> F::Output {
        SCOPE.scope(self, future).await
    }

    /// What was refused, with the request that it answers.
    pub(crate) fn refusal(&self) -> Option<(Refusal, Option<RequestId>)> {
        let mut state = lock(&self.state);
        state.refusal.take().map(|refusal| (refusal, state.request.clone()))
    }
}

/// Who sends the request under way.
pub(crate) fn caller() -> Caller {
    SCOPE.try_with(|scope| scope.caller.clone()).unwrap_or_default()
}

/// Notes which JSON-RPC request an error would answer.
pub(crate) fn note_request(request: &RequestId) {
    let _ = SCOPE.try_with(|scope| lock(&scope.state).request = Some(request.clone()));
}

/// Notes what the client is told instead of rmcp's answer. The first refusal is the cause.
pub(crate) fn refuse(refusal: Refusal) {
    let _ = SCOPE.try_with(|scope| lock(&scope.state).refusal.get_or_insert(refusal).log());
}

/// Keeps a turn until the request has been answered; outside of a request, not at all.
pub(crate) fn keep(turn: Turn) {
    let _ = SCOPE.try_with(|scope| lock(&scope.state).turn = Some(turn));
}

/// Notes the store's refusal.
pub(crate) fn refuse_for(error: &StoreError) {
    refuse(Refusal::of(error));
}
