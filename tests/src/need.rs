//! What a check needs of a harness beyond appending, look-up, replay and deletion.

use std::fmt;

/// One such need. A check whose need is not offered shows as ignored, never as passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// A scope can be opened again after its store was closed or dropped.
    Reopen,
    /// Several instances can be open on one scope at once.
    SecondInstance,
    /// Another process can attach to the scope by its address, and be killed there.
    Kill,
    /// The connection to the database can be cut.
    Cut,
    /// The newest writes can be lost, as by a failover or an old backup.
    LoseTail,
    /// Session records are kept.
    Sessions,
    /// The store can be swept, measured and closed.
    Maintenance,
    /// Leases are kept.
    Leases,
    /// Retention and limits are honoured, with the time that the clock tells.
    Retention,
    /// Streams can be followed.
    Follow,
    /// The database server can be killed and started again.
    ServerKill,
}

impl Need {
    /// The word for it in `compliance_suite!`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Reopen => "reopen",
            Self::SecondInstance => "second_instance",
            Self::Kill => "kill",
            Self::Cut => "cut",
            Self::LoseTail => "lose_tail",
            Self::Sessions => "sessions",
            Self::Maintenance => "maintenance",
            Self::Leases => "leases",
            Self::Retention => "retention",
            Self::Follow => "follow",
            Self::ServerKill => "server_kill",
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The [`Need`](crate::Need) for a word; any other word does not compile.
#[doc(hidden)]
#[macro_export]
macro_rules! __need {
    (reopen) => {
        $crate::Need::Reopen
    };
    (second_instance) => {
        $crate::Need::SecondInstance
    };
    (kill) => {
        $crate::Need::Kill
    };
    (cut) => {
        $crate::Need::Cut
    };
    (lose_tail) => {
        $crate::Need::LoseTail
    };
    (sessions) => {
        $crate::Need::Sessions
    };
    (maintenance) => {
        $crate::Need::Maintenance
    };
    (leases) => {
        $crate::Need::Leases
    };
    (retention) => {
        $crate::Need::Retention
    };
    (follow) => {
        $crate::Need::Follow
    };
    (server_kill) => {
        $crate::Need::ServerKill
    };
    ($other:tt) => {
        compile_error!(concat!(
            "`",
            stringify!($other),
            "` cannot be offered; choose from reopen, second_instance, kill, cut, lose_tail, ",
            "sessions, maintenance, leases, retention, follow, server_kill"
        ))
    };
}
