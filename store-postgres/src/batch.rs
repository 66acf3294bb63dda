//! A batch as the arguments of `extend`, `extend_one`, `start` or `append`: columns of groups, events
//! and leases.

use std::collections::BTreeMap;
use std::sync::Arc;

use mcp_event_store_core::backend::{Group, Known, PendingEvent, StreamKey};
use mcp_event_store_core::{Lease, RawJson, STREAM_OVERHEAD_BYTES, Settings, StreamRef};

use crate::call::Call;
use crate::rows::{int, millis, session_text, tag_to_int};
use crate::statement::Statement;

/// Where a stream's row is, for as long as there is one: a number is never used again, and in a
/// database that was made anew the keys are others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) id: i64,
    pub(crate) key: StreamKey,
}

/// A call for groups, and how it answers.
pub(crate) struct Batch<'a> {
    pub(crate) call: Call<'a>,
    pub(crate) answers: Answers,
}

/// How a batch is answered.
pub(crate) enum Answers {
    /// A row for each group, by its number in this order.
    Each(Vec<usize>),
    /// One row of columns, of `extend`: groups by their numbers in this order, with where their
    /// streams are.
    Together(Vec<(usize, Place)>),
    /// At most one row, of `extend_one`: the only group, whose stream is there.
    Alone(Place),
}

/// What else decides how a batch is appended.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) settings: &'a Settings,
    /// What a test's clock adds.
    pub(crate) offset: i64,
    /// The `synchronous_commit` of the transaction.
    pub(crate) sync: &'a str,
    /// What stands in `extend` and in `extend_one`.
    pub(crate) extend: &'a Arc<Statement>,
    pub(crate) extend_one: &'a Arc<Statement>,
}

/// Groups and events as columns.
#[derive(Default)]
struct Columns<'a> {
    first: Vec<i64>,
    count: Vec<i64>,
    bytes: Vec<i64>,
    last_tag: Vec<i64>,
    completes: Vec<bool>,
    owner: Vec<Option<&'a str>>,
    ttl: Vec<Option<i64>>,
    running: Vec<i64>,
    tag: Vec<i64>,
    /// Empty if no event has any.
    retry: Vec<Option<i64>>,
    message: Vec<Option<&'a str>>,
}

/// Leases that several owners want of one stream, as columns.
#[derive(Default)]
struct Contested<'a> {
    group: Vec<i64>,
    owner: Vec<&'a str>,
    ttl: Vec<i64>,
}

/// The call that appends `groups`, whatever has to become of their streams.
pub(crate) fn append<'a>(groups: &[&'a Group], terms: Terms<'a>) -> Batch<'a> {
    let mut order: Vec<_> = (0..groups.len()).collect();
    // As `append` inserts new streams.
    order.sort_unstable_by_key(|at| name_of(groups[*at]));
    let ordered = || order.iter().map(|at| groups[*at]);
    let (sessions, names) = names(ordered());
    let keys: Vec<_> = ordered().map(|group| group.candidate_key).collect();
    let (columns, contested) = columns(ordered());
    let bytes: i64 = columns.bytes.iter().sum();
    let retention = &terms.settings.retention;
    let call = columns
        .arguments(Call::new("append").with(sessions).with(names).with(keys))
        .with(contested.group)
        .with(contested.owner)
        .with(contested.ttl)
        .with(bytes)
        .with(retention.stream_ttl.map(millis))
        .with(retention.completed_stream_ttl.map(millis))
        .with(millis(retention.tombstone_ttl))
        .with(terms.settings.limits.max_streams_per_session.map(int))
        .with(terms.offset)
        .with(terms.sync);
    Batch { call, answers: Answers::Each(order) }
}

/// The call that appends `groups` if the streams are where they are known to be, or begin here.
/// `None` if one of them is not known and does not look like a stream's beginning, or if several
/// owners want its lease.
pub(crate) fn short<'a>(
    groups: &[&'a Group],
    known: &Known<StreamRef, Place>,
    terms: Terms<'a>,
) -> Option<Batch<'a>> {
    if let [group] = groups
        && let [event] = &group.events[..]
        && !completes(group)
        && let Some(place) = known.get(&group.stream)
    {
        let call = extend_one(place, event, terms);
        return Some(Batch { call, answers: Answers::Alone(place) });
    }
    let mut places = Vec::with_capacity(groups.len());
    for group in groups {
        let place = known.get(&group.stream);
        if place.is_none() && !may_begin(group) {
            return None;
        }
        places.push(place);
    }
    let mut order: Vec<_> = (0..groups.len()).collect();
    // As streams are locked: those that are there by their numbers, then new ones by their names.
    order.sort_unstable_by_key(|at| match places[*at] {
        Some(place) => (false, place.id, ("", "")),
        None => (true, 0, name_of(groups[*at])),
    });
    let ordered: Vec<_> = order.iter().map(|at| groups[*at]).collect();
    let (columns, contested) = columns(ordered.iter().copied());
    if !contested.group.is_empty() {
        return None;
    }
    let there: Vec<_> = order.iter().filter_map(|at| places[*at]).collect();
    let only_goes_on =
        there.len() == ordered.len() && !ordered.iter().any(|group| completes(group));
    if only_goes_on {
        let call = extend(columns, &there, terms);
        let groups = order.into_iter().zip(there).collect();
        return Some(Batch { call, answers: Answers::Together(groups) });
    }
    let call = start(&ordered, columns, &there, terms);
    Some(Batch { call, answers: Answers::Each(order) })
}

/// A known stream goes on by one event.
fn extend_one<'a>(place: Place, event: &'a PendingEvent, terms: Terms<'a>) -> Call<'a> {
    let lease = event.lease.as_ref();
    Call::new("extend_one")
        .with(place.id)
        .with(place.key)
        .with(int(event.bytes()))
        .with(lease.map(|lease| &*lease.owner))
        .with(lease.map(|lease| millis(lease.ttl)))
        .with(tag_to_int(event.tag))
        .with(event.retry_ms.map(int))
        .with(text_of(event))
        .with(terms.settings.retention.stream_ttl.map(millis))
        .with(terms.offset)
        .with(terms.sync)
        .inside(terms.extend_one)
}

/// Known streams go on.
fn extend<'a>(columns: Columns<'a>, places: &[Place], terms: Terms<'a>) -> Call<'a> {
    let numbers: Vec<i64> = (1..).take(places.len()).collect();
    let keys: Vec<_> = places.iter().map(|place| place.key).collect();
    columns
        .arguments(Call::new("extend").with(numbers).with(ids(places)).with(keys))
        .with(terms.settings.retention.stream_ttl.map(millis))
        .with(terms.offset)
        .with(terms.sync)
        .with(true)
        .inside(terms.extend)
}

/// The streams of the first groups, which are at `known`, go on or end, and the others begin.
fn start<'a>(
    groups: &[&'a Group],
    columns: Columns<'a>,
    known: &[Place],
    terms: Terms<'a>,
) -> Call<'a> {
    let new = &groups[known.len()..];
    let keys =
        known.iter().map(|place| place.key).chain(new.iter().map(|group| group.candidate_key));
    let keys: Vec<_> = keys.collect();
    let (sessions, names) = names(new.iter().copied());
    let events_bytes: i64 = columns.bytes.iter().sum();
    let streams_bytes: i64 = new.iter().map(|group| own_bytes(group)).sum();
    let shares = shares(groups, new);
    let share = |of: fn(&Share) -> i64| shares.values().map(of).collect::<Vec<_>>();
    let call = Call::new("start")
        .with(shares.keys().copied().collect::<Vec<_>>())
        .with(share(|share| share.streams))
        .with(share(|share| share.bytes))
        .with(share(|share| share.streams - share.ends))
        .with(ids(known))
        .with(sessions)
        .with(names)
        .with(keys);
    columns
        .arguments(call)
        .with(events_bytes + streams_bytes)
        .with(terms.settings.limits.max_streams_per_session.map(int))
        .with(terms.settings.retention.stream_ttl.map(millis))
        .with(terms.offset)
        .with(terms.sync)
}

fn ids(places: &[Place]) -> Vec<i64> {
    places.iter().map(|place| place.id).collect()
}

/// What a session gets.
#[derive(Default)]
struct Share {
    /// New streams, and what they cost by themselves.
    streams: i64,
    bytes: i64,
    /// Streams that end.
    ends: i64,
}

/// What sessions get of `groups`, of which `new` create their streams, in the order of their IDs.
fn shares<'a>(groups: &[&'a Group], new: &[&'a Group]) -> BTreeMap<&'a str, Share> {
    let mut shares: BTreeMap<_, Share> = BTreeMap::new();
    let mut add = |group: &'a Group, add: fn(&mut Share, &Group)| {
        if let Some(session) = &group.stream.session {
            add(shares.entry(session.as_str()).or_default(), group);
        }
    };
    for group in new {
        add(group, |share, group| {
            share.streams += 1;
            share.bytes += own_bytes(group);
        });
    }
    for group in groups.iter().filter(|group| completes(group)) {
        add(group, |share, _| share.ends += 1);
    }
    shares
}

/// What a stream costs beside its events.
fn own_bytes(group: &Group) -> i64 {
    int(group.stream.name_bytes() + STREAM_OVERHEAD_BYTES)
}

/// Whether the group looks like its stream's beginning: an MCP server primes each stream first.
/// Creations of a session-less stream are ordered by no session's lock.
pub(crate) fn may_begin(group: &Group) -> bool {
    let is_primed = group.events.first().is_some_and(|event| event.message.is_none());
    is_primed && group.stream.session.is_some()
}

/// Whether the group is its stream's end.
pub(crate) fn completes(group: &Group) -> bool {
    group.events.last().is_some_and(|event| event.completes_stream)
}

fn text_of(event: &PendingEvent) -> Option<&str> {
    event.message.as_ref().map(RawJson::get)
}

fn name_of(group: &Group) -> (&str, &str) {
    (session_text(group.stream.session.as_ref()), group.stream.stream.as_str())
}

fn names<'a>(groups: impl Iterator<Item = &'a Group>) -> (Vec<&'a str>, Vec<&'a str>) {
    groups.map(name_of).unzip()
}

fn columns<'a>(groups: impl Iterator<Item = &'a Group>) -> (Columns<'a>, Contested<'a>) {
    let (mut columns, mut contested) = (Columns::default(), Contested::default());
    for (number, group) in (1..).zip(groups) {
        columns.push(group);
        let mut wishes = wishes(group);
        let only = if wishes.len() == 1 { wishes.pop() } else { None };
        columns.owner.push(only.map(|lease| &*lease.owner));
        columns.ttl.push(only.map(|lease| millis(lease.ttl)));
        for lease in wishes {
            contested.group.push(number);
            contested.owner.push(&lease.owner);
            contested.ttl.push(millis(lease.ttl));
        }
    }
    // PostgreSQL looks for each element of a column from its beginning, if there is a NULL in it.
    // What is beyond its end is NULL at once.
    if columns.retry.iter().all(Option::is_none) {
        columns.retry.clear();
    }
    (columns, contested)
}

/// Whoever gets the lease keeps it for the rest of the batch, so that of each owner only the last
/// wish counts. Mostly there is one owner, whose wish stands with the group.
fn wishes(group: &Group) -> Vec<&Lease> {
    let mut wishes: Vec<&Lease> = Vec::new();
    for lease in group.events.iter().filter_map(|event| event.lease.as_ref()) {
        match wishes.iter_mut().find(|wish| wish.owner == lease.owner) {
            Some(wish) => *wish = lease,
            None => wishes.push(lease),
        }
    }
    wishes
}

impl<'a> Columns<'a> {
    /// All of `group` but its lease.
    fn push(&mut self, group: &'a Group) {
        self.first.push(self.tag.len().cast_signed() as i64 + 1);
        self.count.push(group.events.len().cast_signed() as i64);
        let mut running = 0;
        for event in &group.events {
            running += event.bytes();
            self.running.push(int(running));
            self.tag.push(tag_to_int(event.tag));
            self.retry.push(event.retry_ms.map(int));
            self.message.push(text_of(event));
        }
        self.bytes.push(int(running));
        self.last_tag.push(group.events.last().map_or(0, |event| tag_to_int(event.tag)));
        self.completes.push(completes(group));
    }

    fn arguments(self, call: Call<'a>) -> Call<'a> {
        call.with(self.first)
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
    }
}
