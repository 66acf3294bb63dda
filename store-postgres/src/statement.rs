//! The statement inside a function, to be sent by itself: on a connection with settings and a row of
//! the totals of our own that does the same, and spares the server what a call costs.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::names::Names;

/// A statement with `$1`, `$2` … in the places of a function's arguments.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) sql: Arc<str>,
    /// Which of the function's arguments each of them is.
    pub(crate) arguments: Vec<usize>,
}

impl Statement {
    /// The statement whose rows `function`, a file of the schema, returns as its last act.
    pub(crate) fn inside(function: &str, names: &Names) -> Self {
        let (head, rest) = function.split_once("RETURNS TABLE").unwrap_or_default();
        let (_, body) = rest.split_once("RETURN QUERY").unwrap_or_default();
        let (body, _) = body.rsplit_once(";\nEND").unwrap_or_default();
        let parameters: Vec<_> =
            code(head).flat_map(tokens).filter(|token| is_parameter(token)).collect();
        // Short, since the driver looks it up by its text each time.
        let words: Vec<_> = code(body).flat_map(str::split_whitespace).collect();
        let body = words.join(" ").replace("{free_shard}", "{own_shard}");
        let (mut sql, mut arguments) = (String::with_capacity(body.len()), Vec::new());
        for token in tokens(&body) {
            let Some(argument) = parameters.iter().position(|parameter| *parameter == token) else {
                sql.push_str(token);
                continue;
            };
            let place =
                arguments.iter().position(|known| *known == argument).unwrap_or_else(|| {
                    arguments.push(argument);
                    arguments.len() - 1
                });
            let _ = write!(sql, "${}", place + 1);
        }
        Self { sql: names.fill_in(&sql).into(), arguments }
    }
}

/// Lines without their comments.
fn code(sql: &str) -> impl Iterator<Item = &str> {
    sql.lines().map(|line| line.split("--").next().unwrap_or_default())
}

fn is_parameter(token: &str) -> bool {
    token.starts_with("p_")
}

/// Words of letters, digits and `_`, and what stands between them.
fn tokens(sql: &str) -> impl Iterator<Item = &str> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let chunks = sql.as_bytes().chunk_by(move |a, b| is_word(a) == is_word(b));
    chunks.scan(0, |from, chunk| {
        let token = &sql[*from..*from + chunk.len()];
        *from += chunk.len();
        Some(token)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn arguments_get_numbers_in_the_order_in_which_they_stand() {
        let function = "CREATE FUNCTION {f} (
                p_a bigint[], p_b text, -- p_b means much
                p_ab bigint, p_unused boolean)
            RETURNS TABLE (o_a bigint)
            LANGUAGE plpgsql {settings} AS $body$
            BEGIN
                PERFORM {commit_as}(p_unused);
                RETURN QUERY
                SELECT p_ab + x.p_a[p_b]
                FROM {streams} x -- of p_b
                WHERE x.id = p_ab AND x.ap_a = p_a;\nEND
            $body$;";
        let names = Names::new("s", "").unwrap();
        let statement = Statement::inside(function, &names);
        let sql = r#"SELECT $1 + x.$2[$3] FROM "s"."streams" x WHERE x.id = $1 AND x.ap_a = $2"#;
        assert_eq!(&*statement.sql, sql);
        assert_eq!(statement.arguments, [2, 0, 1]);
    }

    #[test]
    fn functions_hold_a_statement_of_all_their_arguments_but_one() {
        let names = Names::new("s", "").unwrap();
        // How the transaction commits is the connection's to say.
        for (function, all_but_one) in [(schema::EXTEND, 17), (schema::EXTEND_ONE, 10)] {
            let Statement { sql, arguments } = Statement::inside(function, &names);
            assert!(sql.starts_with("WITH extended AS ("), "{sql}");
            assert!(sql.ends_with("FROM extended x"), "{sql}");
            assert!(!tokens(&sql).any(is_parameter), "{sql}");
            // No text in it is damaged by what makes it short: its only one is the setting's name.
            assert_eq!(sql.matches('\'').count(), 2, "{sql}");
            assert_eq!(arguments.len(), all_but_one);
        }
    }
}
