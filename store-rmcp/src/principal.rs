//! Who may use a session: whoever began it.

use std::sync::Arc;

/// A name for an authenticated user, such as a token's subject.
pub(crate) type Principal = Arc<str>;

/// Who sends a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Nobody checks it, or rmcp acts for itself.
    #[default]
    Unchecked,
    /// This principal, or somebody without one.
    Checked(Option<Principal>),
}

impl Caller {
    /// Whether a session that `owner` began is this caller's.
    pub(crate) fn may_use(&self, owner: Option<&str>) -> bool {
        match self {
            Self::Unchecked => true,
            Self::Checked(caller) => caller.as_deref() == owner,
        }
    }

    /// Whether somebody checks who sends the request.
    pub(crate) fn is_checked(&self) -> bool {
        *self != Self::Unchecked
    }

    /// Whose a session is that this caller begins.
    pub(crate) fn into_owner(self) -> Option<Principal> {
        match self {
            Self::Unchecked => None,
            Self::Checked(caller) => caller,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_its_principals_alone() {
        let ann = Caller::Checked(Some("ann".into()));
        assert!(ann.may_use(Some("ann")));
        assert!(!ann.may_use(Some("bob")));
        assert!(!ann.may_use(None));
        assert!(!Caller::Checked(None).may_use(Some("ann")));
        assert!(Caller::Checked(None).may_use(None));
        assert!(Caller::Unchecked.may_use(Some("ann")));
    }
}
