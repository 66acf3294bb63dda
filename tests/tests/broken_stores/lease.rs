//! Stores that grant leases wrongly.

use mcp_event_store_compliance::async_trait;
use mcp_event_store_core::{Lease, LeaseState, NewEvent, Result, StreamRef};

use super::defect::{Defect, Good};

/// Says that a lease is held, and notes nothing.
#[derive(Default)]
pub(crate) struct RenewsNothing;

#[async_trait]
impl Defect for RenewsNothing {
    async fn renew(&self, _good: &Good, _stream: &StreamRef, _lease: &Lease) -> Result<LeaseState> {
        Ok(LeaseState::Held)
    }
}

/// Grants a lapsed lease to everyone who asks.
#[derive(Default)]
pub(crate) struct GrantsTwice;

#[async_trait]
impl Defect for GrantsTwice {
    async fn renew(&self, good: &Good, stream: &StreamRef, lease: &Lease) -> Result<LeaseState> {
        match good.events.renew(stream, lease).await? {
            LeaseState::Other { .. } if !lease.owner.starts_with("new") => Ok(LeaseState::Held),
            state => Ok(state),
        }
    }
}

/// Creates the stream that it finds no lease on.
#[derive(Default)]
pub(crate) struct CreatesByRenewing;

#[async_trait]
impl Defect for CreatesByRenewing {
    async fn renew(&self, good: &Good, stream: &StreamRef, lease: &Lease) -> Result<LeaseState> {
        match good.events.renew(stream, lease).await? {
            LeaseState::Gone => {
                let claim = NewEvent::priming(None).with_lease(lease.clone());
                good.events.store_event(stream, claim).await?;
                Ok(LeaseState::Held)
            }
            state => Ok(state),
        }
    }
}
