//! Appending: one call for a batch, whose rows answer its groups by their numbers.
//!
//! Where this instance knows the rows of all streams, and only adds to them, it says which rows
//! these are; else, or where that does not hold any more, the server looks the streams up.

use std::slice::from_ref;

use mcp_event_store_core::backend::{Appended, Group, Known, StreamKey};
use mcp_event_store_core::{Error, Result, Settings, StreamRef, Timestamp};
use sqlx::postgres::PgRow;

use crate::batch::{self, Batch, Place, Terms};
use crate::server::{Server, column};

/// What appends need beside their groups.
#[derive(Clone, Copy)]
pub(crate) struct Appender<'a> {
    pub(crate) server: &'a Server,
    pub(crate) known: &'a Known<StreamRef, Place>,
    pub(crate) settings: &'a Settings,
}

/// The answer to a group, if there is one.
type Answer = Option<Result<Appended>>;

impl Appender<'_> {
    /// Commits `groups` and answers each.
    pub(crate) async fn append(self, groups: &[Group]) -> Result<Vec<Result<Appended>>> {
        let Some(extended) = batch::extend(groups, self.known, self.terms()) else {
            return self.append_unknown(groups).await;
        };
        let answers = self.send(&extended, groups).await?;
        if answers.iter().all(Option::is_none) {
            return self.append_unknown(groups).await;
        }
        let mut all = Vec::with_capacity(groups.len());
        for (group, answer) in groups.iter().zip(answers) {
            all.push(match answer {
                Some(answer) => answer,
                None => self.append_one(group).await,
            });
        }
        Ok(all)
    }

    /// Commits a group by itself: what others stored is committed, and an error here is not theirs.
    async fn append_one(self, group: &Group) -> Result<Appended> {
        self.append_unknown(from_ref(group)).await?.swap_remove(0)
    }

    /// Commits groups of streams that may be anywhere, or nowhere.
    async fn append_unknown(self, groups: &[Group]) -> Result<Vec<Result<Appended>>> {
        let answers = self.send(&batch::append(groups, self.terms()), groups).await?;
        let missing = || Error::OutcomeUnknown {
            message: "PostgreSQL answered for fewer streams than it was given".into(),
            cause: None,
        };
        Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(missing()))).collect())
    }

    fn terms(&self) -> Terms<'_> {
        let Self { server, settings, .. } = self;
        Terms { settings, offset: server.offset(), sync: server.sync() }
    }

    /// Sends a batch of `groups`, and remembers where their streams are.
    async fn send(self, batch: &Batch, groups: &[Group]) -> Result<Vec<Answer>> {
        let rows = self.server.append(&batch.call).await?;
        let mut answers: Vec<Answer> = groups.iter().map(|_| None).collect();
        let mut places = vec![None; groups.len()];
        for row in &rows {
            // The batch is committed: a row that cannot be read must not have it sent again.
            let number: i64 = column(row, 0).map_err(unreadable)?;
            let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
            if let Some(at) = place.and_then(|place| batch.order.get(place)) {
                let answer = answer(row, self.settings);
                let answer = answer.unwrap_or_else(|error| Err(unreadable(error)));
                let stays = !batch::completes(&groups[*at]);
                places[*at] = answer.as_ref().ok().filter(|_| stays).map(|(place, _)| *place);
                answers[*at] = Some(answer.map(|(_, appended)| appended));
            }
        }
        let streams = groups.iter().map(|group| group.stream.clone());
        self.known.note(streams.zip(places));
        Ok(answers)
    }
}

fn unreadable(error: Error) -> Error {
    Error::outcome_unknown("PostgreSQL gave an answer that cannot be read", error)
}

fn answer(row: &PgRow, settings: &Settings) -> Result<Result<(Place, Appended)>> {
    let refusal = match column::<i64>(row, 1)? {
        0 => return appended(row).map(Ok),
        1 => Error::StreamComplete,
        2 => Error::SessionDeleted,
        _ => Error::LimitReached {
            limit: "max_streams_per_session",
            allowed: settings.limits.max_streams_per_session.unwrap_or(u64::MAX),
        },
    };
    Ok(Err(refusal))
}

fn appended(row: &PgRow) -> Result<(Place, Appended)> {
    let key: Vec<u8> = column(row, 3)?;
    let damaged =
        |_| Error::Corrupt { message: "PostgreSQL holds a damaged stream key".into(), cause: None };
    let key = StreamKey(key.try_into().map_err(damaged)?);
    let appended = Appended {
        key,
        first_seq: column::<i64>(row, 4)?.cast_unsigned(),
        stored_at: Timestamp(column(row, 5)?),
        reader_epoch: column::<i64>(row, 6)?.cast_unsigned(),
    };
    Ok((Place { id: column(row, 2)?, key }, appended))
}
