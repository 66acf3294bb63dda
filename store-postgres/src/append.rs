//! Appending: one call for a batch, which answers its groups by their numbers, or its only event.
//!
//! Where this instance knows the rows of all streams, or they look new, it says so; else, or where
//! that does not hold any more, the server looks the streams up.

use std::slice::from_ref;

use mcp_event_store_core::backend::{Appended, Group, Known, StreamKey};
use mcp_event_store_core::{Error, Result, Settings, StreamRef, Timestamp};
use sqlx::postgres::PgRow;

use crate::batch::{self, Answers, Batch, Place, Terms};
use crate::server::{Server, column};

/// What appends need beside their groups.
#[derive(Clone, Copy)]
pub(crate) struct Appender<'a> {
    pub(crate) server: &'a Server,
    pub(crate) known: &'a Known<StreamRef, Place>,
    pub(crate) settings: &'a Settings,
}

/// The answer to a group, if there is one, and where its stream is.
type Answer = Option<Result<(Place, Appended)>>;

impl Appender<'_> {
    /// Commits `groups` and answers each.
    pub(crate) async fn append(self, groups: &[Group]) -> Result<Vec<Result<Appended>>> {
        let groups: Vec<_> = groups.iter().collect();
        let Some(short) = batch::short(&groups, self.known, self.terms()) else {
            return self.append_unknown(&groups).await;
        };
        let answers = self.send(&short).await?;
        if answers.iter().all(Option::is_none) {
            return self.append_unknown(&groups).await;
        }
        // The others are where they were.
        let has_moved = |group: &Group| batch::may_begin(group) || batch::completes(group);
        self.note(groups.iter().zip(&answers).filter(|(group, _)| has_moved(group)));
        let left = groups.iter().zip(&answers).filter(|(_, answer)| answer.is_none());
        let left: Vec<_> = left.map(|(group, _)| *group).collect();
        let mut rest = self.append_rest(&left).await.into_iter();
        Ok(tell(answers, || rest.next().unwrap_or_else(missing)))
    }

    /// Commits groups beside which others are stored already: an error is theirs alone.
    async fn append_rest(self, groups: &[&Group]) -> Vec<Result<Appended>> {
        match self.append_unknown(groups).await {
            Ok(answers) => answers,
            Err(Error::Backend { .. } | Error::Corrupt { .. }) if groups.len() > 1 => {
                let mut answers = Vec::with_capacity(groups.len());
                for group in groups {
                    let alone = self.append_unknown(from_ref(group)).await;
                    answers.push(alone.and_then(|mut one| one.swap_remove(0)));
                }
                answers
            }
            Err(error) => groups.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// Commits groups of streams that may be anywhere, or nowhere, and remembers where they are.
    async fn append_unknown(self, groups: &[&Group]) -> Result<Vec<Result<Appended>>> {
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self.send(&batch::append(groups, self.terms())).await?;
        self.note(groups.iter().zip(&answers));
        Ok(tell(answers, missing))
    }

    /// Remembers where streams are that may go on.
    fn note<'g>(self, answered: impl Iterator<Item = (&'g &'g Group, &'g Answer)>) {
        let place = |(group, answer): (&&Group, &Answer)| {
            let place = match answer {
                Some(Ok((place, _))) if !batch::completes(group) => Some(*place),
                _ => None,
            };
            (group.stream.clone(), place)
        };
        self.known.note(answered.map(place));
    }

    fn terms(&self) -> Terms<'_> {
        let Self { server, settings, .. } = self;
        Terms {
            settings,
            offset: server.offset(),
            sync: server.sync(),
            extend: &server.extend,
            extend_one: &server.extend_one,
        }
    }

    /// Sends a batch, and answers its groups in their own order.
    async fn send(self, batch: &Batch<'_>) -> Result<Vec<Answer>> {
        let rows = self.server.append(&batch.call).await?;
        // The batch is committed: an answer that cannot be read must not have it sent again.
        match &batch.answers {
            Answers::Alone(place) => {
                let alone = |row| Ok((*place, stored(row, place.key, 0).map_err(unreadable)?));
                Ok(vec![rows.first().map(alone)])
            }
            Answers::Together(groups) => together(rows.first(), groups).map_err(unreadable),
            Answers::Each(order) => each(&rows, order, self.settings).map_err(unreadable),
        }
    }
}

/// The answers in `rows`, each a group by its number in `order`.
fn each(rows: &[PgRow], order: &[usize], settings: &Settings) -> Result<Vec<Answer>> {
    let mut answers: Vec<Answer> = order.iter().map(|_| None).collect();
    for row in rows {
        let at = *numbered(order, column(row, 0)?)?;
        let answer = answer(row, settings).unwrap_or_else(|error| Err(unreadable(error)));
        put(&mut answers, at, answer)?;
    }
    Ok(answers)
}

/// The answers in the columns of `row`: of groups by their numbers in `groups`, whose streams are
/// at these places.
fn together(row: Option<&PgRow>, groups: &[(usize, Place)]) -> Result<Vec<Answer>> {
    let row = row.ok_or_else(|| damaged("PostgreSQL gave no answer"))?;
    // NULL if nothing is stored.
    let ints = |at| column::<Option<Vec<i64>>>(row, at).map(Option::unwrap_or_default);
    let (numbers, first_seqs, stored_at, epochs) = (ints(0_usize)?, ints(1)?, ints(2)?, ints(3)?);
    if [first_seqs.len(), stored_at.len(), epochs.len()] != [numbers.len(); 3] {
        return Err(damaged("PostgreSQL answered in columns of several lengths"));
    }
    let mut answers: Vec<Answer> = groups.iter().map(|_| None).collect();
    let stored = first_seqs.into_iter().zip(stored_at).zip(epochs);
    for (number, ((first_seq, stored_at), reader_epoch)) in numbers.into_iter().zip(stored) {
        let (at, place) = *numbered(groups, number)?;
        let appended = Appended {
            key: place.key,
            first_seq: first_seq.cast_unsigned(),
            stored_at: Timestamp(stored_at),
            reader_epoch: reader_epoch.cast_unsigned(),
        };
        put(&mut answers, at, Ok((place, appended)))?;
    }
    Ok(answers)
}

/// Of `all`, what has that number.
fn numbered<T>(all: &[T], number: i64) -> Result<&T> {
    let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    let one = place.and_then(|place| all.get(place));
    one.ok_or_else(|| damaged("PostgreSQL answered for a group that it was not given"))
}

/// Puts the only answer to a group to its place.
fn put(answers: &mut [Answer], at: usize, answer: Result<(Place, Appended)>) -> Result<()> {
    match answers[at].replace(answer) {
        None => Ok(()),
        Some(_) => Err(damaged("PostgreSQL answered twice for a group")),
    }
}

fn damaged(message: &'static str) -> Error {
    Error::Corrupt { message: message.into(), cause: None }
}

/// What the callers are told; `otherwise` of a group without an answer.
fn tell(
    answers: Vec<Answer>,
    mut otherwise: impl FnMut() -> Result<Appended>,
) -> Vec<Result<Appended>> {
    let tell = |answer: Answer| match answer {
        Some(answer) => answer.map(|(_, appended)| appended),
        None => otherwise(),
    };
    answers.into_iter().map(tell).collect()
}

fn missing() -> Result<Appended> {
    let message = "PostgreSQL answered for fewer streams than it was given".into();
    Err(Error::OutcomeUnknown { message, cause: None })
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
    let key = key.try_into().map_err(|_| damaged("PostgreSQL holds a damaged stream key"))?;
    let key = StreamKey(key);
    Ok((Place { id: column(row, 2)?, key }, stored(row, key, 4)?))
}

/// What a row says from the column `from` on, of events of the stream with `key`.
fn stored(row: &PgRow, key: StreamKey, from: usize) -> Result<Appended> {
    Ok(Appended {
        key,
        first_seq: column::<i64>(row, from)?.cast_unsigned(),
        stored_at: Timestamp(column(row, from + 1)?),
        reader_epoch: column::<i64>(row, from + 2)?.cast_unsigned(),
    })
}
