//! Appending: each group is decided about by itself, all are committed together.

use std::collections::HashMap;

use mcp_event_store_core::backend::{AppendPlan, Appended, Group, SessionState, StreamMeta};
use mcp_event_store_core::{Result, SessionId, Settings, Timestamp};

use crate::batch::Batch;
use crate::database::Cache;
use crate::rows::{StreamRow, names_of, stream_key};
use crate::schema::Table;

/// Sessions in which this batch has created streams, with what it has created.
type Sessions = HashMap<SessionId, SessionState>;

/// Puts the events of `groups` into `batch`. A group that is refused, or whose stream is damaged,
/// puts nothing there and fails no other.
pub(crate) fn append(
    batch: &mut Batch<'_>,
    groups: &[Group],
    settings: &Settings,
    now: Timestamp,
) -> Vec<Result<Appended>> {
    let mut sessions = Sessions::new();
    let mut one = |group| append_group(batch, group, groups.len(), &mut sessions, settings, now);
    groups.iter().map(&mut one).collect()
}

fn append_group(
    batch: &mut Batch<'_>,
    group: &Group,
    groups: usize,
    sessions: &mut Sessions,
    settings: &Settings,
    now: Timestamp,
) -> Result<Appended> {
    let old = batch.stream_named(&group.stream)?;
    let meta = old.as_ref().map(|row| &row.meta);
    let plan = StreamMeta::plan_append(meta, now, &settings.retention)?;
    if plan != AppendPlan::Extend
        && let Some(session) = &group.stream.session
    {
        if !sessions.contains_key(session) {
            let state = session_state(batch, session, groups, settings, now)?;
            sessions.insert(session.clone(), state);
        }
        let state = sessions.entry(session.clone()).or_default();
        state.check_new_stream(now, &settings.retention, &settings.limits)?;
        state.open_streams += 1;
    }
    match (plan, old) {
        (AppendPlan::Extend, Some(old)) => {
            let meta = old.meta.clone();
            extend(batch, group, Some(&old), meta, now)
        }
        (AppendPlan::Revive, Some(old)) => {
            let mut meta = old.meta.clone();
            meta.revive();
            extend(batch, group, Some(&old), meta, now)
        }
        (_, old) => {
            if let Some(old) = old {
                batch.delete(&old)?;
            }
            let meta = StreamMeta::new(group.stream.clone(), group.candidate_key, now);
            extend(batch, group, None, meta, now)
        }
    }
}

/// What decides whether streams may be created in `session`: its row, but counted exactly where
/// the row's count, in which expired streams wait for the sweep, may reach the limit.
fn session_state(
    batch: &mut Batch<'_>,
    session: &SessionId,
    groups: usize,
    settings: &Settings,
    now: Timestamp,
) -> Result<SessionState> {
    let mut state = batch.session(session)?.state();
    let limit = settings.limits.max_streams_per_session.unwrap_or(u64::MAX);
    if state.open_streams.saturating_add(groups as u64) > limit {
        state.open_streams = count_open(batch, session, settings, now)?;
    }
    Ok(state)
}

/// Streams of `session` that are incomplete and have not expired, before this batch.
fn count_open(
    batch: &Batch<'_>,
    session: &SessionId,
    settings: &Settings,
    now: Timestamp,
) -> Result<u64> {
    let database = batch.database();
    let (from, below) = names_of(session);
    let mut names = database.rows(Table::Names, from, below, Cache::Fill)?;
    let mut open = 0;
    while let Some((_, key)) = names.next()? {
        let row = database.stream(&stream_key(key)?)?;
        open += u64::from(row.is_some_and(|row| row.meta.is_live(now, &settings.retention)));
    }
    Ok(open)
}

/// Appends the events of `group` to `meta`.
fn extend(
    batch: &mut Batch<'_>,
    group: &Group,
    before: Option<&StreamRow>,
    mut meta: StreamMeta,
    now: Timestamp,
) -> Result<Appended> {
    let first_seq = meta.last_seq + 1;
    for event in &group.events {
        let stamp = meta.push(event, now);
        batch.put_event(&meta.key, &stamp, event)?;
    }
    let appended = Appended {
        key: meta.key,
        first_seq,
        stored_at: meta.newest_at,
        reader_epoch: meta.reader_epoch,
    };
    match before {
        Some(before) => batch.change(before, meta)?,
        None => batch.create(meta)?,
    }
    Ok(appended)
}
