//! Event IDs looked at from outside: how random they are, what they show, and how a client or an
//! attacker might alter them.

use std::collections::{HashMap, HashSet};

use mcp_event_store_core::EventId;

/// The characters of base 64, and how many places the encoding's `+/` and `-_` take.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Whether `id` shows `name`: as it stands, in hex or in base 64, at any offset.
pub(crate) fn shows(id: &str, name: &str) -> bool {
    let plain = id.to_lowercase().contains(&name.to_lowercase());
    let reversed: String = id.chars().rev().collect();
    let hex = name.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let hidden = |bytes: Vec<u8>| holds(&bytes, name.as_bytes());
    plain
        || reversed.contains(name)
        || id.to_lowercase().contains(&hex)
        || (0..4).any(|offset| hidden(from_base64(id.get(offset..).unwrap_or_default())))
}

/// Whether a run of eight bytes of `name` is in `bytes`.
fn holds(bytes: &[u8], name: &[u8]) -> bool {
    const RUN: usize = 8;
    name.windows(RUN.min(name.len())).any(|run| bytes.windows(run.len()).any(|part| part == run))
}

/// The bytes that `text` encodes, as far as it goes.
pub(crate) fn from_base64(text: &str) -> Vec<u8> {
    let mut bits: u32 = 0;
    let mut held = 0;
    let mut bytes = Vec::new();
    for byte in text.bytes() {
        let Some(value) = ALPHABET.iter().position(|&letter| letter == byte) else { break };
        bits = (bits << 6) | u32::try_from(value).expect("under 64");
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held).to_le_bytes()[0]);
            bits &= (1 << held) - 1;
        }
    }
    bytes
}

/// `bytes` in base 64 without padding.
fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(group);
        for place in 0..=chunk.len() {
            let value = (bits >> (18 - 6 * place)) & 63;
            text.push(char::from(ALPHABET[value as usize]));
        }
    }
    text
}

/// Bits of randomness in `ids`, estimated place by place from how often each character stands
/// there (Shannon's entropy with Miller and Madow's correction for small samples).
#[allow(clippy::cast_precision_loss)] // A few hundred IDs.
pub(crate) fn entropy(ids: &[EventId]) -> f64 {
    let longest = ids.iter().map(|id| id.as_str().len()).max().unwrap_or(0);
    let total = ids.len() as f64;
    let at_place = |place: usize| {
        let mut counts: HashMap<Option<&u8>, f64> = HashMap::new();
        for id in ids {
            *counts.entry(id.as_str().as_bytes().get(place)).or_default() += 1.0;
        }
        let raw: f64 = counts.values().map(|count| -(count / total) * (count / total).log2()).sum();
        raw + (counts.len() - 1) as f64 / (2.0 * total * std::f64::consts::LN_2)
    };
    (0..longest).map(at_place).sum()
}

/// Texts that are no event ID in any store.
pub(crate) fn malformed() -> HashSet<String> {
    let mut texts: HashSet<String> = [
        "",
        " ",
        "0",
        "-1",
        "null",
        "A",
        "AAAA",
        "/",
        "..",
        "*",
        "%",
        "'",
        "\"",
        "\\",
        "\0",
        "\n",
        "a\0b",
        "é",
        "日本",
        "🦀",
        "\u{feff}",
        "\u{202e}",
        "${x}",
        "{}",
        "[]",
        "' OR 1=1 --",
        "00000000-0000-0000-0000-000000000000",
        "18446744073709551615",
        "not-an-event-id",
        "=",
        "====",
        "+/+/",
    ]
    .map(str::to_owned)
    .into();
    for length in (0..200).chain([1023, 1024, 1025, 65_536, 4_000_001]) {
        texts.insert("A".repeat(length));
    }
    texts.insert("\u{10ffff}".repeat(10_000));
    texts
}

/// Everything near `id` that is not `id`: each bit flipped, in its text and in what it encodes,
/// each truncation, and what sloppy clients add.
pub(crate) fn altered(id: &str) -> HashSet<String> {
    let mut near = HashSet::new();
    near.extend(flips(id.as_bytes()).map(|bytes| bytes.iter().map(|&b| char::from(b)).collect()));
    near.extend(flips(&from_base64(id)).map(|bytes| to_base64(&bytes)));
    for length in 0..id.len() {
        near.extend(id.get(..length).map(str::to_owned));
        near.extend(id.get(length + 1..).map(str::to_owned));
    }
    for around in [" ", "A", "=", "==", "\n", "\r\n", "\0", "\"", "/"] {
        near.insert(format!("{id}{around}"));
        near.insert(format!("{around}{id}"));
    }
    near.extend([id.to_lowercase(), id.to_uppercase(), id.repeat(2), id.chars().rev().collect()]);
    near.extend([id.replace('-', "+"), id.replace('_', "/"), id.replace('-', "_")]);
    near.remove(id);
    near
}

/// `bytes` with each bit flipped in turn.
fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_64_goes_both_ways() {
        for length in 0..40_u8 {
            let bytes: Vec<u8> = (0..length).map(|n| n.wrapping_mul(37)).collect();
            assert_eq!(from_base64(&to_base64(&bytes)), bytes);
        }
    }

    #[test]
    fn names_are_seen_through_encodings() {
        let name = "zebra-session-4711";
        let base64 = to_base64(format!("k{name}").as_bytes());
        let hex = name.bytes().map(|b| format!("{b:02X}")).collect::<Vec<_>>().concat();
        for id in [format!("x{name}"), name.to_uppercase(), base64, hex] {
            assert!(shows(&id, name), "{id}");
        }
        assert!(!shows("3q2-7wAAAAAAAAAA", name));
    }

    #[test]
    fn counters_have_no_entropy_and_random_ids_have() {
        let counters: Vec<_> = (0..512).map(|n| EventId::new(format!("{n:040}"))).collect();
        assert!(entropy(&counters) < 16.0);
        let random = |_| {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes).unwrap();
            EventId::new(to_base64(&bytes))
        };
        let random: Vec<_> = (0..512).map(random).collect();
        let bits = entropy(&random);
        assert!((120.0..136.0).contains(&bits), "{bits}");
    }

    #[test]
    fn an_altered_id_is_never_the_id() {
        let id = "Abc_-123";
        let near = altered(id);
        assert!(!near.contains(id) && near.len() > 100);
    }
}
