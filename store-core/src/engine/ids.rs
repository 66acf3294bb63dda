//! Random bits from the operating system's generator.

use std::fmt::Write as _;

use crate::backend::{StreamKey, Tag};
use crate::error::{Error, Result};

fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes)
        .map_err(|e| Error::backend("the operating system gives no random numbers", e))
}

const KEY: usize = 16;
const BOTH: usize = KEY + 6;

/// A key and a tag for each event. They are drawn for several at once: a lone caller need not ask the
/// operating system each time.
#[derive(Debug, Default)]
pub(super) struct Drawn(Vec<u8>);

impl Drawn {
    /// Takes those of `count` events.
    pub(super) fn take(&mut self, count: usize) -> Result<Vec<(StreamKey, Tag)>> {
        const AT_ONCE: usize = 64;
        if self.0.len() < count * BOTH {
            let mut bytes = vec![0; count.max(AT_ONCE) * BOTH];
            fill(&mut bytes)?;
            self.0 = bytes;
        }
        let left = self.0.len() - count * BOTH;
        let (pairs, _) = self.0[left..].as_chunks::<BOTH>();
        let pair = |pair: &[u8; BOTH]| (StreamKey(part(&pair[..KEY])), Tag(part(&pair[KEY..])));
        let taken = pairs.iter().map(pair).collect();
        self.0.truncate(left);
        Ok(taken)
    }
}

fn part<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(bytes);
    part
}

/// A name for an engine among others on the same database.
pub(super) fn draw_instance() -> Result<String> {
    let mut bytes = [0; 8];
    fill(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn none_is_drawn_twice() {
        let mut drawn = Drawn::default();
        let counts = [1, 62, 2, 64, 65, 1, 0, 200, 1];
        let pairs = counts.map(|count| drawn.take(count).unwrap());
        assert_eq!(pairs.each_ref().map(Vec::len), counts);
        let all: Vec<_> = pairs.concat();
        let keys: BTreeSet<_> = all.iter().map(|(key, _)| key.0).collect();
        let tags: BTreeSet<_> = all.iter().map(|(_, tag)| tag.0).collect();
        assert_eq!([keys.len(), tags.len()], [all.len(); 2]);
        assert!(!keys.contains(&[0; KEY]));
    }
}
