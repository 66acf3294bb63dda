//! Calling the functions of the schema: everything that this crate asks of the server is one call, or
//! what stands inside one: one statement, one round trip.
//!
//! Arguments are bound to a prepared statement. A pooler in transaction mode may send the two
//! halves of that to different servers, so behind one they are written into the statement, which
//! then is a single message of the simple protocol.

use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::TryStreamExt;
use mcp_event_store_core::backend::StreamKey;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgConnection, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{Arguments, AssertSqlSafe, Executor, SqlSafeStr};

use crate::names::Names;
use crate::statement::Statement;

/// An argument of a function.
#[derive(Clone, Debug)]
pub(crate) enum Argument<'a> {
    Integer(Option<i64>),
    Text(Option<&'a str>),
    Key(StreamKey),
    Integers(Vec<Option<i64>>),
    Texts(Vec<Option<&'a str>>),
    Keys(Vec<StreamKey>),
    Flag(bool),
    Flags(Vec<bool>),
}

/// A function and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    function: &'static str,
    arguments: Vec<Argument<'a>>,
    /// What stands in the function, where that may be sent instead.
    inside: Option<Arc<Statement>>,
}

/// How arguments travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Bound to a prepared statement.
    Prepared,
    /// Written into the statement.
    Simple,
}

impl<'a> Call<'a> {
    pub(crate) fn new(function: &'static str) -> Self {
        /// No function has more.
        const MOST: usize = 24;
        Self { function, arguments: Vec::with_capacity(MOST), inside: None }
    }

    /// Where arguments are bound, `statement` is sent in the place of the call.
    pub(crate) fn inside(mut self, statement: &Arc<Statement>) -> Self {
        self.inside = Some(statement.clone());
        self
    }

    pub(crate) fn with(mut self, argument: impl Into<Argument<'a>>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sends the call and takes the rows that it answers, each as soon as it comes.
    pub(crate) async fn send<T>(
        &self,
        connection: &mut PgConnection,
        names: &Names,
        style: Style,
        take: impl Fn(PgRow) -> T,
    ) -> sqlx::Result<Vec<T>> {
        let rows = match style {
            Style::Prepared => connection.fetch(self.bind(names)?),
            Style::Simple => {
                let statement = AssertSqlSafe(self.to_literal_statement(names));
                sqlx::raw_sql(statement).fetch(connection)
            }
        };
        rows.map_ok(take).try_collect().await
    }

    fn bind(&self, names: &Names) -> sqlx::Result<Bound<'_>> {
        match &self.inside {
            Some(statement) => {
                let arguments = statement.arguments.iter().map(|place| &self.arguments[*place]);
                bind(AssertSqlSafe(statement.sql.clone()), arguments)
            }
            None => bind(AssertSqlSafe(self.to_statement(names)), self.arguments.iter()),
        }
    }

    fn to_statement(&self, names: &Names) -> String {
        let mut sql = format!("SELECT * FROM {}(", names.qualified(self.function));
        for place in 1..=self.arguments.len() {
            let separator = if place == 1 { "" } else { "," };
            let _ = write!(sql, "{separator}${place}");
        }
        sql.push(')');
        sql
    }

    fn to_literal_statement(&self, names: &Names) -> String {
        let mut sql = format!("SELECT * FROM {}(", names.qualified(self.function));
        for (place, argument) in self.arguments.iter().enumerate() {
            if place > 0 {
                sql.push(',');
            }
            argument.write_literal(&mut sql);
        }
        sql.push(')');
        sql
    }
}

type Bound<'q> = Query<'q, Postgres, PgArguments>;

fn bind<'q>(
    sql: impl SqlSafeStr,
    mut arguments: impl Iterator<Item = &'q Argument<'q>> + Clone,
) -> sqlx::Result<Bound<'q>> {
    let mut bound = PgArguments::default();
    let (count, bytes) = arguments
        .clone()
        .fold((0, 0), |(count, bytes), argument| (count + 1, bytes + argument.bytes()));
    bound.reserve(count, bytes);
    arguments.try_for_each(|argument| argument.add_to(&mut bound)).map_err(sqlx::Error::Encode)?;
    Ok(sqlx::query_with(sql, bound))
}

impl Argument<'_> {
    fn add_to(&self, bound: &mut PgArguments) -> std::result::Result<(), BoxDynError> {
        match self {
            Self::Integer(integer) => bound.add(integer),
            Self::Text(text) => bound.add(text),
            Self::Key(key) => bound.add(key.0),
            Self::Integers(integers) => bound.add(integers),
            Self::Texts(texts) => bound.add(texts),
            Self::Keys(keys) => bound.add(keys.iter().map(|key| key.0).collect::<Vec<_>>()),
            Self::Flag(flag) => bound.add(flag),
            Self::Flags(flags) => bound.add(flags),
        }
    }

    /// About as many bytes as it takes in a message to the server.
    fn bytes(&self) -> usize {
        /// A length and a number, and what arrays begin with.
        const EACH: usize = 12;
        const ARRAY: usize = 32;
        const KEY: usize = EACH + size_of::<StreamKey>();
        let text = |text: Option<&str>| EACH + text.map_or(0, str::len);
        match self {
            Self::Integer(_) | Self::Flag(_) => EACH,
            Self::Text(one) => text(*one),
            Self::Key(_) => KEY,
            Self::Integers(integers) => ARRAY + EACH * integers.len(),
            Self::Flags(flags) => ARRAY + EACH * flags.len(),
            Self::Texts(texts) => ARRAY + texts.iter().copied().map(text).sum::<usize>(),
            Self::Keys(keys) => ARRAY + KEY * keys.len(),
        }
    }

    fn write_literal(&self, sql: &mut String) {
        match self {
            Self::Integer(integer) => {
                write_integer(sql, *integer);
                sql.push_str("::bigint");
            }
            Self::Text(text) => {
                write_optional_text(sql, *text);
                sql.push_str("::text");
            }
            Self::Key(key) => {
                write_key(sql, key);
                sql.push_str("::bytea");
            }
            Self::Integers(all) => {
                write_array(sql, "bigint", all, |sql, one| write_integer(sql, *one));
            }
            Self::Texts(all) => {
                write_array(sql, "text", all, |sql, one| write_optional_text(sql, *one));
            }
            Self::Keys(all) => write_array(sql, "bytea", all, write_key),
            Self::Flag(flag) => _ = write!(sql, "{flag}"),
            Self::Flags(all) => write_array(sql, "boolean", all, |sql, one| {
                let _ = write!(sql, "{one}");
            }),
        }
    }
}

fn write_array<T>(sql: &mut String, of: &str, all: &[T], write: impl Fn(&mut String, &T)) {
    sql.push_str("ARRAY[");
    for (place, one) in all.iter().enumerate() {
        if place > 0 {
            sql.push(',');
        }
        write(sql, one);
    }
    let _ = write!(sql, "]::{of}[]");
}

fn write_integer(sql: &mut String, integer: Option<i64>) {
    match integer {
        // In parentheses, since a cast binds tighter than a sign.
        Some(integer) => _ = write!(sql, "('{integer}')"),
        None => sql.push_str("NULL"),
    }
}

fn write_optional_text(sql: &mut String, text: Option<&str>) {
    match text {
        Some(text) => write_text(sql, text),
        None => sql.push_str("NULL"),
    }
}

/// An `E''` literal means the same whatever the server's `standard_conforming_strings`.
fn write_text(sql: &mut String, text: &str) {
    sql.push_str("E'");
    for c in text.chars() {
        if c == '\'' || c == '\\' {
            sql.push(c);
        }
        sql.push(c);
    }
    sql.push('\'');
}

fn write_key(sql: &mut String, key: &StreamKey) {
    sql.push_str("E'\\\\x");
    for byte in key.0 {
        let _ = write!(sql, "{byte:02x}");
    }
    sql.push('\'');
}

macro_rules! from {
    ($($type:ty => |$value:ident| $argument:expr;)*) => {
        $(impl<'a> From<$type> for Argument<'a> {
            fn from($value: $type) -> Self {
                $argument
            }
        })*
    };
}

from! {
    i64 => |integer| Self::Integer(Some(integer));
    Option<i64> => |integer| Self::Integer(integer);
    &'a str => |text| Self::Text(Some(text));
    Option<&'a str> => |text| Self::Text(text);
    StreamKey => |key| Self::Key(key);
    Vec<i64> => |integers| Self::Integers(integers.into_iter().map(Some).collect());
    Vec<Option<i64>> => |integers| Self::Integers(integers);
    Vec<&'a str> => |texts| Self::Texts(texts.into_iter().map(Some).collect());
    Vec<Option<&'a str>> => |texts| Self::Texts(texts);
    Vec<StreamKey> => |keys| Self::Keys(keys);
    bool => |flag| Self::Flag(flag);
    Vec<bool> => |flags| Self::Flags(flags);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_cannot_be_left() {
        let names = Names::new("s", "").unwrap();
        let call = Call::new("find")
            .with("it's \\' \u{e9}")
            .with(vec![Some("a'; DROP"), None])
            .with(-5)
            .with(None::<i64>)
            .with(None::<&str>)
            .with(StreamKey([0xf0; 16]));
        assert_eq!(
            call.to_literal_statement(&names),
            format!(
                r#"SELECT * FROM "s"."find"(E'it''s \\'' é'::text,ARRAY[E'a''; DROP',NULL]::text[],('-5')::bigint,NULL::bigint,NULL::text,E'\\x{}'::bytea)"#,
                "f0".repeat(16)
            )
        );
        assert_eq!(call.to_statement(&names), r#"SELECT * FROM "s"."find"($1,$2,$3,$4,$5,$6)"#);
    }
}
