//! The names of what can be measured.

use std::fmt;
use std::str::FromStr;

/// One kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measurement {
    /// Appends to long streams.
    Append,
    /// One stream a request.
    Requests,
    /// Replays of long streams.
    Replay,
    /// Time from append to delivery.
    Follow,
    /// Bytes that an event takes up.
    Size,
    /// Sweeping while others append.
    Sweep,
    /// Memory of followers and replays.
    Memory,
    /// Costs by what is stored already.
    Growth,
    /// Tool calls to a whole server.
    EndToEnd,
}

impl Measurement {
    /// All of them, in the order of a report.
    pub const ALL: [Self; 9] = [
        Self::Append,
        Self::Requests,
        Self::Replay,
        Self::Follow,
        Self::Size,
        Self::Sweep,
        Self::Memory,
        Self::Growth,
        Self::EndToEnd,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Requests => "requests",
            Self::Replay => "replay",
            Self::Follow => "follow",
            Self::Size => "size",
            Self::Sweep => "sweep",
            Self::Memory => "memory",
            Self::Growth => "growth",
            Self::EndToEnd => "end-to-end",
        }
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Nothing is measured by that name. Says which names there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMeasurement(());

impl fmt::Display for UnknownMeasurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "write one of {}", Measurement::ALL.map(Measurement::name).join(", "))
    }
}

impl std::error::Error for UnknownMeasurement {}

impl FromStr for Measurement {
    type Err = UnknownMeasurement;

    fn from_str(text: &str) -> Result<Self, UnknownMeasurement> {
        let named = Self::ALL.into_iter().find(|measurement| measurement.name() == text);
        named.ok_or(UnknownMeasurement(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_read_by_its_name_and_others_are_refused() {
        for measurement in Measurement::ALL {
            assert_eq!(measurement.to_string().parse(), Ok(measurement));
        }
        let refused = "speed".parse::<Measurement>().unwrap_err().to_string();
        assert!(refused.contains("append, requests") && refused.ends_with("end-to-end"));
    }
}
