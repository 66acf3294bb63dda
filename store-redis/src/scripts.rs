//! The scripts: one an operation, each atomic. The server knows them by their SHA-1.

use std::fmt;
use std::sync::LazyLock;

/// A script as the server runs it.
pub(crate) struct Script {
    name: &'static str,
    code: String,
    sha: String,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Script {
    /// `flags` say what the server may run it for although it would refuse others: see
    /// <https://redis.io/docs/latest/develop/programmability/lua-api/#script_flags>. A script
    /// without any is refused before it starts when memory is full, so that it is never cut off
    /// in the middle.
    fn new(name: &'static str, flags: &str, parts: &[&str]) -> Self {
        let code = format!("#!lua{flags}\n{}", parts.join("\n"));
        let sha = redis::Script::new(&code).get_hash().to_owned();
        Self { name, code, sha }
    }

    /// Its text.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// Its name on the server.
    pub(crate) fn sha(&self) -> &str {
        &self.sha
    }
}

const TERMS: &str = include_str!("scripts/terms.lua");
const STREAM: &str = include_str!("scripts/stream.lua");
const CHANGE: &str = include_str!("scripts/change.lua");
const BURY: &str = include_str!("scripts/bury.lua");
/// Ends the script where it is all that is needed, before the rest is set up.
const EXTEND: &str = include_str!("scripts/extend.lua");

/// Reads only.
const READS: &str = " flags=no-writes";
/// Makes room, or writes too little to be refused for want of it.
const FREES: &str = " flags=allow-oom";

macro_rules! scripts {
    ($($name:ident = $file:literal, $flags:expr, [$($part:ident),*];)*) => {
        $(pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            let parts = [$($part,)* include_str!(concat!("scripts/", $file, ".lua"))];
            Script::new($file, $flags, &parts)
        });)*
    };
}

scripts! {
    APPEND = "append", "", [TERMS, EXTEND, STREAM, CHANGE];
    STORE_SESSION = "store_session", "", [TERMS, STREAM, CHANGE];
    TOUCH = "touch", "", [TERMS];
    FIND = "find", READS, [TERMS, STREAM];
    READ = "read", READS, [TERMS, STREAM];
    METAS = "metas", READS, [TERMS, STREAM];
    LIST_SESSION = "list_session", READS, [TERMS, STREAM];
    LARGE_SESSIONS = "large_sessions", READS, [TERMS];
    PENDING = "pending", READS, [TERMS, STREAM];
    BOOK = "book", FREES, [TERMS, STREAM, CHANGE];
    USAGE = "usage", READS, [TERMS];
    NOW = "now", READS, [TERMS];
    PROBE = "probe", FREES, [TERMS];
    LOSE = "lose", FREES, [TERMS, STREAM, CHANGE];
    RENEW = "renew", FREES, [TERMS, STREAM, CHANGE];
    TAKE_OVER = "take_over", FREES, [TERMS, STREAM, CHANGE];
    DELETE_STREAM = "delete_stream", FREES, [TERMS, STREAM, CHANGE];
    DELETE_SESSION = "delete_session", FREES, [TERMS, STREAM, CHANGE, BURY];
    BURY_MORE = "bury_more", FREES, [TERMS, STREAM, CHANGE, BURY];
    USE_SESSION = "use_session", FREES, [TERMS, STREAM, CHANGE];
    FORGET_SESSIONS = "forget_sessions", FREES, [TERMS, STREAM, CHANGE];
    LIST = "list", FREES, [TERMS, STREAM, CHANGE];
    REMOVE = "remove", FREES, [TERMS, STREAM, CHANGE];
    RECLAIM = "reclaim", FREES, [TERMS, STREAM, CHANGE, BURY];
    CLAIM_SWEEP = "claim_sweep", FREES, [TERMS];
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The commands that `code` calls.
    fn commands(code: &str) -> BTreeSet<&str> {
        let calls = code.split("call('").skip(1);
        calls.filter_map(|rest| rest.split('\'').next()).collect()
    }

    #[test]
    fn the_probe_uses_every_command_and_the_guide_lists_it() {
        let all = [
            &APPEND,
            &STORE_SESSION,
            &TOUCH,
            &FIND,
            &READ,
            &METAS,
            &LIST_SESSION,
            &LARGE_SESSIONS,
            &PENDING,
            &BOOK,
            &USAGE,
            &NOW,
            &LOSE,
            &RENEW,
            &TAKE_OVER,
            &DELETE_STREAM,
            &DELETE_SESSION,
            &BURY_MORE,
            &USE_SESSION,
            &FORGET_SESSIONS,
            &LIST,
            &REMOVE,
            &RECLAIM,
            &CLAIM_SWEEP,
        ];
        let guide = include_str!("../../docs/redis.md");
        let probed = commands(PROBE.code());
        for script in all {
            for command in commands(script.code()) {
                assert!(probed.contains(command), "{script:?} uses {command}, the probe does not");
                let rule = format!(" +{}", command.to_lowercase());
                assert!(guide.contains(&rule), "the guide does not list{rule}");
            }
        }
        assert!(probed.len() > 30);
    }
}
