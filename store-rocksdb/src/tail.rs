//! Telling a torn last record of the log from damage to an acknowledged one.
//!
//! RocksDB tolerates a record that ends too early. But a loss of power may also leave a large
//! record with a hole in it, since the system writes a file's pages in any order. Every commit is
//! synced before the next is written; so what was acknowledged after the damage begins a record
//! of its own behind it. Where none does, the damaged record is the last, and was acknowledged to
//! no one.
//!
//! The format: <https://github.com/facebook/rocksdb/wiki/Write-Ahead-Log-File-Format>.

use std::io;
use std::path::Path;

const BLOCK: usize = 32 * 1024;

/// Checksum, length, kind.
const HEADER: usize = 7;

const FULL: u8 = 1;
const FIRST: u8 = 2;
const LAST: u8 = 4;

/// Whether the newest log in `directory` is damaged in its last record, and nothing before it is:
/// what comes after the first damage is dropped, in whichever log that is.
pub(crate) fn is_torn(directory: &Path) -> io::Result<bool> {
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            // Their names are numbers, of six digits at least.
            logs.push((path.as_os_str().len(), path));
        }
    }
    logs.sort_unstable();
    let Some((_, newest)) = logs.pop() else { return Ok(false) };
    for (_, older) in logs {
        if damage(&std::fs::read(older)?) != Damage::None {
            return Ok(false);
        }
    }
    Ok(damage(&std::fs::read(newest)?) == Damage::LastRecord)
}

/// Where a log is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    None,
    LastRecord,
    Before,
}

fn damage(log: &[u8]) -> Damage {
    let mut damage = Damage::None;
    for block in log.chunks(BLOCK) {
        let mut rest = block;
        while rest.len() >= HEADER {
            if let Some((kind, length)) = record(rest) {
                if damage == Damage::LastRecord && (kind == FULL || kind == FIRST) {
                    return Damage::Before;
                }
                rest = &rest[length..];
            } else {
                // Lengths cannot be trusted either: the next record may begin anywhere.
                damage = Damage::LastRecord;
                rest = &rest[1..];
            }
        }
    }
    damage
}

/// Kind and length of a whole record at the beginning of `bytes`.
fn record(bytes: &[u8]) -> Option<(u8, usize)> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let [c0, c1, c2, c3, l0, l1, kind] = *header;
    let data = rest.get(..usize::from(u16::from_le_bytes([l0, l1])))?;
    let checksum = u32::from_le_bytes([c0, c1, c2, c3]);
    // Kinds that say something of the log itself begin a record for no one.
    let is_known = (FULL..=LAST).contains(&kind) || (9..=11).contains(&kind) || kind >= 129;
    let is_whole = is_known && checksum == masked(crc32c(kind, data));
    is_whole.then_some((kind, HEADER + data.len()))
}

/// RocksDB stores checksums in a form that is safe to be checksummed again.
fn masked(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The CRC-32C of `kind` and `data`.
fn crc32c(kind: u8, data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |crc: u32, byte: &u8| TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8);
    !data.iter().fold(step(!0, &kind), step)
}

const fn table() -> [u32; 256] {
    const REVERSED_POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = at;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ REVERSED_POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[at as usize] = crc;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc_32c() {
        // Source: the check value of CRC-32/ISCSI.
        assert_eq!(crc32c(b'1', b"23456789"), 0xe306_9283);
    }

    fn record_of(kind: u8, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).unwrap().to_le_bytes();
        [&masked(crc32c(kind, data)).to_le_bytes(), &length[..], &[kind], data].concat()
    }

    #[test]
    fn only_the_last_record_may_be_torn() {
        let whole = [record_of(FULL, b"one"), record_of(FULL, b"two")].concat();
        assert_eq!(damage(&whole), Damage::None);
        let mut last = whole.clone();
        *last.last_mut().unwrap() ^= 1;
        assert_eq!(damage(&last), Damage::LastRecord);
        for place in 0..HEADER + 3 {
            let mut first = whole.clone();
            first[place] ^= 1;
            assert_eq!(damage(&first), Damage::Before, "{place}");
        }
    }

    #[test]
    fn only_the_newest_log_may_be_torn() {
        let whole = record_of(FULL, b"one");
        let torn = &whole[..whole.len() - 1];
        let is_torn_with = |older: &[u8], newer: &[u8]| {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("999999.log"), older).unwrap();
            std::fs::write(folder.path().join("1000000.log"), newer).unwrap();
            is_torn(folder.path()).unwrap()
        };
        assert!(is_torn_with(&whole, torn));
        assert!(!is_torn_with(&whole, &whole));
        assert!(!is_torn_with(torn, &whole));
        assert!(!is_torn_with(torn, torn));
    }
}
