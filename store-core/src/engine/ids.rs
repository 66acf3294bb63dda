//! Random bits from the operating system's generator.

use std::fmt::Write as _;

use crate::backend::{StreamKey, Tag};
use crate::error::{Error, Result};

fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes)
        .map_err(|e| Error::backend("the operating system gives no random numbers", e))
}

/// A key and a tag for each of `count` events, with one call to the operating system.
pub(super) fn draw(count: usize) -> Result<Vec<(StreamKey, Tag)>> {
    const KEY: usize = 16;
    const BOTH: usize = KEY + 6;
    let mut bytes = vec![0; count * BOTH];
    fill(&mut bytes)?;
    let (pairs, _) = bytes.as_chunks::<BOTH>();
    Ok(pairs.iter().map(|pair| (StreamKey(part(&pair[..KEY])), Tag(part(&pair[KEY..])))).collect())
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
