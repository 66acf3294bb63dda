//! A batch as the arguments of `append`: columns of groups, events and leases.

use mcp_event_store_core::backend::{Group, event_bytes};
use mcp_event_store_core::{Lease, Settings};

use crate::call::Call;
use crate::rows::{int, millis, session_text, tag_to_int};

/// A batch as columns.
#[derive(Default)]
struct Columns {
    session: Vec<String>,
    name: Vec<String>,
    key: Vec<Vec<u8>>,
    first: Vec<i64>,
    count: Vec<i64>,
    bytes: Vec<i64>,
    last_tag: Vec<i64>,
    completes: Vec<bool>,
    owner: Vec<Option<String>>,
    ttl: Vec<Option<i64>>,
    running: Vec<i64>,
    tag: Vec<i64>,
    retry: Vec<Option<i64>>,
    message: Vec<Option<String>>,
    lease_group: Vec<i64>,
    lease_owner: Vec<String>,
    lease_ttl: Vec<i64>,
}

/// The order in which groups are sent: by session and name, as `append` inserts new streams.
pub(crate) fn order(groups: &[Group]) -> Vec<usize> {
    let mut order: Vec<_> = (0..groups.len()).collect();
    order.sort_unstable_by(|a, b| name_of(&groups[*a]).cmp(&name_of(&groups[*b])));
    order
}

fn name_of(group: &Group) -> (&str, &str) {
    (session_text(group.stream.session.as_ref()), group.stream.stream.as_str())
}

/// The call that appends `groups` in the given order.
pub(crate) fn call(
    groups: &[Group],
    order: &[usize],
    settings: &Settings,
    offset: i64,
    sync: &str,
) -> Call {
    let mut columns = Columns::default();
    for (number, at) in (1..).zip(order) {
        columns.push(number, &groups[*at]);
    }
    let retention = &settings.retention;
    let bytes: i64 = columns.bytes.iter().sum();
    let call = columns.arguments(Call::new("append")).with(bytes);
    call.with(retention.stream_ttl.map(millis))
        .with(retention.completed_stream_ttl.map(millis))
        .with(millis(retention.tombstone_ttl))
        .with(settings.limits.max_streams_per_session.map(int))
        .with(offset)
        .with(sync)
}

impl Columns {
    fn push(&mut self, number: i64, group: &Group) {
        let (session, name) = name_of(group);
        self.session.push(session.to_owned());
        self.name.push(name.to_owned());
        self.key.push(group.candidate_key.0.to_vec());
        self.first.push(self.tag.len().cast_signed() as i64 + 1);
        self.count.push(group.events.len().cast_signed() as i64);
        let mut running = 0;
        for event in &group.events {
            running += event_bytes(event.message.as_ref().map_or(0, |m| m.len() as u64));
            self.running.push(int(running));
            self.tag.push(tag_to_int(event.tag));
            self.retry.push(event.retry_ms.map(int));
            self.message.push(event.message.as_ref().map(|message| message.get().to_owned()));
        }
        self.bytes.push(int(running));
        let last = group.events.last();
        self.last_tag.push(last.map_or(0, |event| tag_to_int(event.tag)));
        self.completes.push(last.is_some_and(|event| event.completes_stream));
        self.push_leases(number, group);
    }

    /// Whoever gets the lease keeps it for the rest of the batch, so that of each owner only the
    /// last wish counts. Mostly there is one owner, whose wish stands with the group.
    fn push_leases(&mut self, number: i64, group: &Group) {
        let mut wishes: Vec<&Lease> = Vec::new();
        for lease in group.events.iter().filter_map(|event| event.lease.as_ref()) {
            match wishes.iter_mut().find(|wish| wish.owner == lease.owner) {
                Some(wish) => *wish = lease,
                None => wishes.push(lease),
            }
        }
        let only = if wishes.len() == 1 { wishes.pop() } else { None };
        self.owner.push(only.map(|lease| lease.owner.to_string()));
        self.ttl.push(only.map(|lease| millis(lease.ttl)));
        for lease in wishes {
            self.lease_group.push(number);
            self.lease_owner.push(lease.owner.to_string());
            self.lease_ttl.push(millis(lease.ttl));
        }
    }

    fn arguments(self, call: Call) -> Call {
        call.with(self.session)
            .with(self.name)
            .with(self.key)
            .with(self.first)
            .with(self.count)
            .with(self.bytes)
            .with(self.last_tag)
            .with(self.completes)
            .with(self.owner)
            .with(self.ttl)
            .with(self.running)
            .with(self.tag)
            .with(self.retry)
            .with(self.message)
            .with(self.lease_group)
            .with(self.lease_owner)
            .with(self.lease_ttl)
    }
}
