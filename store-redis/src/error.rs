//! Redis' error codes, by what a caller can do about them, and by whether an operation may be
//! tried again.
//!
//! The code is an error's first word. Sources:
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors> and the servers'
//! `shared.*err` strings.

use mcp_event_store_core::Error;
use redis::RedisError;

/// Said to a user who may do too little.
pub(crate) const NO_RIGHTS: &str =
    "the Redis user may not do what the store needs: give it the rules that the guide lists";

/// What may be done after a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing.
    GiveUp,
    /// The server does not know the script: send its text.
    SendText,
    /// Ask this server.
    Ask(String),
    /// Wait, then try again.
    Wait,
    /// Find out who serves now, wait, then try again.
    LookAround,
}

/// A failed attempt.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) next: Next,
}

impl Failure {
    pub(crate) fn new(error: Error, next: Next) -> Self {
        Self { error, next }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error, Next::GiveUp)
    }
}

/// Whether an operation leaves anything behind that a second attempt would double.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It can be done again.
    Repeatable,
    /// It must not be done again unless the server surely has not done it.
    Once,
}

/// What `error`, the answer to a script, means.
pub(crate) fn classify(error: RedisError, effect: Effect) -> Failure {
    if error.is_io_error() || error.is_unrecoverable_error() {
        return lost(error, effect);
    }
    let refused = |message: &'static str, error| Error::unavailable(message, error);
    match error.code().unwrap_or_default() {
        "NOSCRIPT" => Failure::new(refused("Redis lost the script", error), Next::SendText),
        "MOVED" => {
            let node = error.redirect_node().map(|(node, _)| node.to_owned());
            let next = node.map_or(Next::LookAround, Next::Ask);
            Failure::new(refused("the cluster's slots are being moved", error), next)
        }
        // The key that the node does not have is the gate: all of the slot's keys are on the move.
        "ASK" | "TRYAGAIN" => Failure::new(
            refused("the cluster is moving the slot; raise retry_for if that takes long", error),
            Next::Wait,
        ),
        "CLUSTERDOWN" | "MASTERDOWN" => {
            let message = "the Redis cluster is down: check `CLUSTER INFO`";
            Failure::new(refused(message, error), Next::LookAround)
        }
        "LOADING" => Failure::new(refused("Redis is still loading its data", error), Next::Wait),
        "BUSY" => Failure::new(refused("Redis is busy with a script", error), Next::Wait),
        "READONLY" => {
            let message = "the Redis server is a read-only replica: give the URL of the master";
            Failure::new(refused(message, error), Next::LookAround)
        }
        "NOREPLICAS" => {
            let message = "Redis has too few replicas for min-replicas-to-write";
            Failure::new(refused(message, error), Next::Wait)
        }
        _ => final_refusal(error, effect).into(),
    }
}

/// What waiting would not change.
fn final_refusal(error: RedisError, effect: Effect) -> Error {
    match error.code().unwrap_or_default() {
        "OOM" => Error::unavailable(
            "Redis has reached maxmemory: raise it, or lower max_total_bytes",
            error,
        ),
        "MISCONF" => Error::unavailable(
            "Redis cannot write to its disk: read its log, and free or repair the disk",
            error,
        ),
        "NOAUTH" | "WRONGPASS" | "CROSSSLOT" => refused(error),
        // A script that fails on its way may have done some of its work.
        _ if effect == Effect::Once => Error::outcome_unknown(
            "Redis failed within a commit: the events may be stored or not",
            error,
        ),
        _ => refused(error),
    }
}

/// What the answer to anything but a script means, or to a script that cannot have run.
pub(crate) fn refused(error: RedisError) -> Error {
    match error.code().unwrap_or_default() {
        "NOAUTH" => Error::backend(
            "Redis wants a password: put it into the URL, as in redis://:password@host",
            error,
        ),
        "WRONGPASS" => Error::backend(
            "Redis refuses the user or password: check both, and that the user is on",
            error,
        ),
        "NOPERM" => Error::backend(NO_RIGHTS, error),
        "WRONGTYPE" => {
            Error::backend("a key in Redis is not of this store: choose another key_prefix", error)
        }
        _ if error.kind() == redis::ErrorKind::AuthenticationFailed => Error::backend(
            "Redis refuses the user or password: check both, and that the user is on",
            error,
        ),
        _ if error.is_io_error() => unreachable(error),
        _ => Error::backend("Redis refused", error),
    }
}

/// The server cannot be reached.
pub(crate) fn unreachable(error: RedisError) -> Error {
    Error::unavailable("Redis cannot be reached: check the URL, the server and the network", error)
}

/// The connection died, or no answer came in time, after the request was sent.
fn lost(error: RedisError, effect: Effect) -> Failure {
    match effect {
        Effect::Once => Error::outcome_unknown(
            "the connection to Redis was lost during a commit: the events may be stored or not",
            error,
        )
        .into(),
        Effect::Repeatable => Failure::new(
            Error::unavailable("the connection to Redis was lost", error),
            Next::LookAround,
        ),
    }
}

/// An answer of another shape than the script gives.
pub(crate) fn malformed(what: &'static str) -> Error {
    let message = format!("Redis gave a malformed answer: {what}; is it Redis 7 or Valkey?");
    Error::Corrupt { message: message.into(), cause: None }
}
