//! How a check says what it expected and what came instead.

use std::fmt::{self, Debug, Display};
use std::panic::Location;

use mcp_event_store_core::Error;

use crate::registry::Check;

/// What a check returns.
pub(crate) type Outcome<T = ()> = Result<T, Mismatch>;

/// Long values are cut to this many characters, at both ends alike.
const SHOWN: usize = 600;

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// The store does not keep the rule.
    RuleBroken,
    /// The harness could not do its part.
    Harness,
    /// The store or the check panicked.
    Panic,
    /// The check did not end in time.
    Deadline,
}

/// One thing that was not as it must be; the runner makes a [`Failure`] of it.
#[derive(Debug)]
pub(crate) struct Mismatch {
    pub(crate) kind: FailureKind,
    pub(crate) expected: String,
    pub(crate) came: String,
    pub(crate) at: &'static Location<'static>,
}

impl Mismatch {
    #[track_caller]
    pub(crate) fn new(expected: impl Display, came: impl Display) -> Self {
        Self {
            kind: FailureKind::RuleBroken,
            expected: shortened(&expected.to_string()),
            came: shortened(&came.to_string()),
            at: Location::caller(),
        }
    }

    /// The same, with the place where it came up before it.
    pub(crate) fn within(self, place: impl Display) -> Self {
        Self { expected: format!("{}: {}", shortened(&place.to_string()), self.expected), ..self }
    }

    /// The harness did not do what it offers.
    #[track_caller]
    pub(crate) fn harness(task: impl Display, error: impl Display) -> Self {
        Self { kind: FailureKind::Harness, ..Self::new(task, error) }
    }
}

impl From<Error> for Mismatch {
    #[track_caller]
    fn from(error: Error) -> Self {
        Self::new("success", format!("the error {error:?}"))
    }
}

/// A rule that a store does not keep, or why that could not be found out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The check that failed.
    pub check: &'static Check,
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// What should have come.
    pub expected: String,
    /// What came.
    pub came: String,
    /// The line of the suite that noticed.
    pub at: String,
    /// The address of the scope, which was kept; empty if there was none.
    pub scope: String,
}

impl Failure {
    pub(crate) fn of(check: &'static Check, mismatch: Mismatch, scope: String) -> Self {
        let Mismatch { kind, expected, came, at } = mismatch;
        Self { check, kind, expected, came, at: at.to_string(), scope }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Check { rule, name, sentence, .. } = self.check;
        let verb = match self.kind {
            FailureKind::RuleBroken => "is not kept",
            FailureKind::Harness => "could not be checked, because the harness failed",
            FailureKind::Panic => "ended in a panic",
            FailureKind::Deadline => "hangs",
        };
        writeln!(f, "{rule} {verb}")?;
        writeln!(f, "  rule:     {sentence}")?;
        writeln!(f, "  check:    {name}")?;
        writeln!(f, "  expected: {}", self.expected)?;
        writeln!(f, "  came:     {}", self.came)?;
        write!(f, "  noticed:  {}", self.at)?;
        if !self.scope.is_empty() {
            write!(f, "\n  kept:     {}", self.scope)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// `text`, its middle left out if it is long.
pub(crate) fn shortened(text: &str) -> String {
    let length = text.chars().count();
    if length <= 2 * SHOWN {
        return text.to_owned();
    }
    let head: String = text.chars().take(SHOWN).collect();
    let tail: String = text.chars().skip(length - SHOWN).collect();
    format!("{head} … ({} characters) … {tail}", length - 2 * SHOWN)
}

/// Fails unless `came` equals `expected`; `what` says of what.
#[track_caller]
pub(crate) fn same<E, C>(what: impl Display, expected: &E, came: &C) -> Outcome
where
    E: Debug + ?Sized + PartialEq<C>,
    C: Debug + ?Sized,
{
    if expected == came {
        return Ok(());
    }
    let expected = shortened(&format!("{expected:?}"));
    Err(Mismatch::new(format!("{what}: {expected}"), format!("{came:?}")))
}

/// Fails unless `kept`.
#[track_caller]
pub(crate) fn ensure(kept: bool, expected: impl Display, came: impl Display) -> Outcome {
    if kept { Ok(()) } else { Err(Mismatch::new(expected, came)) }
}

/// Fails unless the value matches the pattern; gives what its guard-less bindings name.
macro_rules! expect_match {
    ($value:expr, $pattern:pat => $given:expr, $what:expr) => {
        match $value {
            $pattern => $given,
            #[allow(unreachable_patterns)]
            other => {
                let expected = format!("{}: {}", $what, stringify!($pattern));
                return Err($crate::failure::Mismatch::new(expected, format!("{other:?}")));
            }
        }
    };
    ($value:expr, $pattern:pat, $what:expr) => {
        expect_match!($value, $pattern => (), $what)
    };
}
pub(crate) use expect_match;
