//! Names in the database: every table and function of a store has its schema and its prefix, so
//! that nothing depends on a `search_path`.

use mcp_event_store_core::{Error, Result};

/// Seeking by an index is always right here, but a plan that was made while a table was small, or
/// without statistics, would scan it, and the driver and PL/pgSQL keep plans.
pub(crate) const PLANNER: [&str; 5] = [
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    "SET jit = off",
    "SET plan_cache_mode = force_generic_plan",
];

/// Everything of ours is named with its schema.
pub(crate) const SEARCH_PATH: &str = "SET search_path = pg_catalog, pg_temp";

/// Makes a row of the totals the connection's own, as long as it lasts: the first that is no other's,
/// if there is one. All 64 are made with the schema.
const TAKE_SHARD: &str = "SELECT set_config('mcp_event_store.shard', coalesce(
    (SELECT t.shard FROM {totals} t WHERE pg_try_advisory_lock(hashtext('{totals}'), t.shard) LIMIT 1),
    pg_backend_pid() % 64)::text, false)";

/// The connection's own row of the totals.
const OWN_SHARD: &str = "current_setting('mcp_event_store.shard')::integer";

/// The connection's own row of the totals, if it has one, or one that no other transaction has
/// locked, which this locks: of the last, which are seldom a connection's own. It is the last lock
/// that any transaction takes.
const FREE_SHARD: &str = "coalesce(
    nullif(current_setting('mcp_event_store.shard', true), '')::integer,
    (SELECT o.shard FROM {totals} o WHERE o.shard <= 63 - pg_backend_pid() % 32
        ORDER BY o.shard DESC LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED),
    pg_backend_pid() % 64)";

/// Bytes of a name that the server does not cut off.
const LONGEST_NAME: usize = 63;

/// Bytes of the longest name that a prefix is put in front of.
const LONGEST_OWN_NAME: usize = 24;

/// A schema and a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    schema: String,
    prefix: String,
}

impl Names {
    pub(crate) fn new(schema: &str, prefix: &str) -> Result<Self> {
        check("postgres.schema", schema, LONGEST_NAME)?;
        if !prefix.is_empty() {
            check("postgres.table_prefix", prefix, LONGEST_NAME - LONGEST_OWN_NAME)?;
        }
        Ok(Self { schema: schema.to_owned(), prefix: prefix.to_owned() })
    }

    /// The schema, quoted.
    pub(crate) fn quoted_schema(&self) -> String {
        format!("\"{}\"", self.schema)
    }

    /// A table or function, qualified and quoted.
    pub(crate) fn qualified(&self, name: &str) -> String {
        format!("\"{}\".\"{}{name}\"", self.schema, self.prefix)
    }

    /// An index, which lies in the schema of its table.
    fn unqualified(&self, name: &str) -> String {
        format!("\"{}{name}\"", self.prefix)
    }

    /// What tells this store from others in the same database, for locks.
    pub(crate) fn scope(&self) -> String {
        format!("{}.{}", self.schema, self.prefix)
    }

    /// The channel that the instances of this store share. Its name has to be the same everywhere
    /// and another for another store, and short.
    pub(crate) fn channel(&self) -> String {
        let scope = self.scope().bytes().fold(0_u64, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(u64::from(byte)).rotate_left(7)
        });
        format!("mcp_event_store_{scope:016x}")
    }

    /// What makes a row of the totals a connection's own.
    pub(crate) fn take_shard(&self) -> String {
        self.fill_in(TAKE_SHARD)
    }

    /// `sql` with `{name}`, `{name:…}`, `{settings}`, `{own_shard}` and `{free_shard}` filled in.
    pub(crate) fn fill_in(&self, sql: &str) -> String {
        let mut filled = String::with_capacity(sql.len() * 2);
        let mut rest = sql;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            match after.split_once('}') {
                Some(("settings", after)) => {
                    filled.push_str(SEARCH_PATH);
                    for setting in PLANNER {
                        filled.push(' ');
                        filled.push_str(setting);
                    }
                    rest = after;
                }
                Some(("own_shard", after)) => {
                    filled.push_str(OWN_SHARD);
                    rest = after;
                }
                Some(("free_shard", after)) => {
                    filled.push_str(&self.fill_in(FREE_SHARD));
                    rest = after;
                }
                Some((name, after)) if is_own_name(name) => {
                    match name.strip_prefix("name:") {
                        Some(name) => filled.push_str(&self.unqualified(name)),
                        None => filled.push_str(&self.qualified(name)),
                    }
                    rest = after;
                }
                _ => {
                    filled.push('{');
                    rest = after;
                }
            }
        }
        filled.push_str(rest);
        filled
    }
}

/// Whether this stands for a name, and is not an empty array.
fn is_own_name(text: &str) -> bool {
    let own = |byte: u8| byte.is_ascii_lowercase() || byte == b'_' || byte == b':';
    !text.is_empty() && text.bytes().all(own)
}

/// Names are quoted wherever they stand, so that capitals and hyphens work; what could end a quote
/// is refused.
fn check(field: &'static str, name: &str, longest: usize) -> Result<()> {
    let is_fine = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > longest || !name.chars().all(is_fine) {
        let reason = format!("must have 1 to {longest} bytes of letters, digits, `_` and `-`");
        return Err(Error::invalid(field, reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_qualified_and_quoted() {
        let names = Names::new("My-Schema", "app_").unwrap();
        let sql = names.fill_in("CREATE INDEX {name:by} ON {events} DEFAULT '{}'");
        assert_eq!(sql, r#"CREATE INDEX "app_by" ON "My-Schema"."app_events" DEFAULT '{}'"#);
    }

    #[test]
    fn what_could_end_a_quote_is_refused() {
        for name in ["", "a\"b", "a'b", "a$b", "a b", "a.b", &"x".repeat(64)] {
            assert!(Names::new(name, "").is_err(), "{name}");
        }
        assert!(Names::new("public", &"x".repeat(40)).is_err());
    }
}
