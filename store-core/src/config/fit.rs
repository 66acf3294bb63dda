//! Values that would contradict each other: what was given is refused, what was not given fits.
//!
//! Only sizes can contradict. An event larger than what its stream may keep would push all others
//! out of it, and likewise up the chain. Times do not contradict each other, whatever their order:
//! each counts from a moment of its own. A limit that is off takes no part.

use std::collections::BTreeMap;

use super::Given;
use super::error::{ConfigError, ConfigErrors, Origin};
use super::field::{Field, FieldId, Value, path};

/// Each of these is at most the next.
pub(super) const RISING: [FieldId; 4] = [
    ("limits", "max_event_bytes"),
    ("retention", "max_bytes_per_stream"),
    ("retention", "max_bytes_per_session"),
    ("retention", "max_total_bytes"),
];

/// The given ones of `chain`, unless they are off.
fn given_sizes<'a>(
    chain: &'a [FieldId],
    given: &'a BTreeMap<FieldId, Given>,
) -> impl DoubleEndedIterator<Item = (FieldId, u64, &'a Origin)> {
    chain.iter().filter_map(|id| {
        let (value, origin) = given.get(id)?;
        Some((*id, value.integer()?, origin))
    })
}

/// Refuses given values that contradict each other.
pub(super) fn refuse_contradictions(given: &BTreeMap<FieldId, Given>) -> Result<(), ConfigErrors> {
    let sizes: Vec<_> = given_sizes(&RISING, given).collect();
    let falling = sizes.windows(2).filter_map(|pair| match pair {
        [(lower, small, origin), (upper, large, other)] if small > large => {
            let reason = format!(
                "{small} bytes is more than the {large} bytes of {} ({other}); lower this one or \
                 raise that one",
                path(*upper),
            );
            Some(ConfigError::new((*origin).clone(), path(*lower), &reason))
        }
        _ => None,
    });
    ConfigErrors::none_of(falling.collect())
}

/// The default of a field that was not given, moved as far as the given values demand.
pub(super) fn fitted_default(field: &Field, given: &BTreeMap<FieldId, Given>) -> Given {
    let place = RISING.iter().position(|id| *id == field.id());
    let (Some(place), Some(default)) = (place, field.default.integer()) else {
        return (field.default, Origin::Default);
    };
    let (below, above) = RISING.split_at(place);
    let floor = given_sizes(below, given).next_back().filter(|(_, size, _)| *size > default);
    let ceiling = given_sizes(above, given).next().filter(|(_, size, _)| *size < default);
    match floor.or(ceiling) {
        Some(((_, to), size, _)) => (Value::Integer(size), Origin::Fitted { to }),
        None => (field.default, Origin::Default),
    }
}
