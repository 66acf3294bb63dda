//! Appending: one call for a batch, whose rows answer its groups by their numbers.

use mcp_event_store_core::backend::{Appended, Group, StreamKey};
use mcp_event_store_core::{Error, Result, Settings, Timestamp};
use sqlx::postgres::PgRow;

use crate::batch;
use crate::server::{Server, column};

/// Commits `groups` and answers each.
pub(crate) async fn append(
    server: &Server,
    groups: &[Group],
    settings: &Settings,
) -> Result<Vec<Result<Appended>>> {
    let order = batch::order(groups);
    let call = batch::call(groups, &order, settings, server.offset(), server.sync());
    let rows = server.append(&call).await?;
    let mut answers: Vec<Option<Result<Appended>>> = groups.iter().map(|_| None).collect();
    for row in &rows {
        // The batch is committed: a row that cannot be read must not have it sent again.
        let number: i64 = column(row, 0).map_err(unreadable)?;
        let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        if let Some(at) = place.and_then(|place| order.get(place)) {
            let answer = answer(row, settings).unwrap_or_else(|error| Err(unreadable(error)));
            answers[*at] = Some(answer);
        }
    }
    let missing = || Error::OutcomeUnknown {
        message: "PostgreSQL answered for fewer streams than it was given".into(),
        cause: None,
    };
    Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(missing()))).collect())
}

fn unreadable(error: Error) -> Error {
    Error::outcome_unknown("PostgreSQL gave an answer that cannot be read", error)
}

fn answer(row: &PgRow, settings: &Settings) -> Result<Result<Appended>> {
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

fn appended(row: &PgRow) -> Result<Appended> {
    let key: Vec<u8> = column(row, 2)?;
    let damaged =
        |_| Error::Corrupt { message: "PostgreSQL holds a damaged stream key".into(), cause: None };
    Ok(Appended {
        key: StreamKey(key.try_into().map_err(damaged)?),
        first_seq: column::<i64>(row, 3)?.cast_unsigned(),
        stored_at: Timestamp(column(row, 4)?),
        reader_epoch: column::<i64>(row, 5)?.cast_unsigned(),
    })
}
