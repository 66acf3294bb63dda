//! Where things are: buckets, the keys' gates, and the slots of a cluster.
//!
//! A store has 1,024 buckets. All keys of a bucket have the bucket's number as their hash tag, so
//! that they share a slot; a session's streams share a bucket. A stream's key begins with its
//! bucket's ten bits, so that an event ID alone leads to it.

use mcp_event_store_core::backend::StreamKey;
use mcp_event_store_core::{Error, Result, SessionId, StreamRef};

/// Buckets of a store. Stored keys depend on it: it is fixed for good.
pub(crate) const BUCKETS: u16 = 1024;

/// One of [`BUCKETS`].
pub(crate) type Bucket = u16;

/// Bits of a stream key that hold its bucket.
const BUCKET_BITS: u32 = BUCKETS.trailing_zeros();

/// All of them.
pub(crate) fn all_buckets() -> Vec<Bucket> {
    (0..BUCKETS).collect()
}

/// The bucket of a session.
pub(crate) fn bucket_of_session(session: &SessionId) -> Bucket {
    bucket_of_bytes(session.as_str().as_bytes())
}

/// The bucket of a stream: its session's, or its name's.
pub(crate) fn bucket_of(stream: &StreamRef) -> Bucket {
    match &stream.session {
        Some(session) => bucket_of_session(session),
        None => bucket_of_bytes(stream.stream.as_str().as_bytes()),
    }
}

/// FNV-1a, finished by a multiplication that brings every bit to the top. Stored keys depend on
/// it: it is fixed for good.
fn bucket_of_bytes(bytes: &[u8]) -> Bucket {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u16::try_from(mixed >> (64 - BUCKET_BITS)).unwrap_or_default()
}

/// The bucket that a stream key names.
pub(crate) fn bucket_of_key(StreamKey(key): &StreamKey) -> Bucket {
    u16::from_be_bytes([key[0], key[1]]) >> (16 - BUCKET_BITS)
}

/// `key` with its first bits naming `bucket`; 118 random bits are left.
pub(crate) fn place(StreamKey(mut key): StreamKey, bucket: Bucket) -> StreamKey {
    let low = 16 - BUCKET_BITS;
    let random = u16::from_be_bytes([key[0], key[1]]) & ((1 << low) - 1);
    let [high, next] = (bucket << low | random).to_be_bytes();
    (key[0], key[1]) = (high, next);
    StreamKey(key)
}

/// The key that stands for a bucket in a script's `KEYS`. It never exists.
pub(crate) fn gate(prefix: &str, bucket: Bucket) -> String {
    format!("{prefix}{{{bucket}}}")
}

/// The channel of wake-ups.
pub(crate) fn channel(prefix: &str) -> String {
    format!("{prefix}wake")
}

/// The cluster's slot of a bucket: the CRC-16 (XMODEM) of its hash tag, of 16,384.
/// Source: <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>.
pub(crate) fn slot_of(bucket: Bucket) -> u16 {
    let crc = bucket.to_string().bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    });
    crc % 16_384
}

/// Refuses a prefix that would break the keys' hash tags or an access rule.
pub(crate) fn check_prefix(prefix: &str) -> Result<()> {
    const LONGEST: usize = 64;
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.:/".contains(c);
    if prefix.is_empty() || prefix.len() > LONGEST || !prefix.chars().all(fits) {
        let reason = "must be 1 to 64 of the characters A-Z a-z 0-9 _ - . : /";
        return Err(Error::invalid("redis.key_prefix", reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mcp_event_store_core::StreamId;

    use super::*;

    #[test]
    fn buckets_are_what_they_were() {
        let stream = StreamRef::sessionless(StreamId::new("request/1").unwrap());
        assert_eq!(bucket_of(&stream), bucket_of_bytes(b"request/1"));
        assert_eq!(bucket_of_bytes(b""), 533);
        assert_eq!(bucket_of_bytes(b"session"), 497);
    }

    #[test]
    fn a_key_names_its_bucket() {
        for bucket in [0, 1, 513, 1023] {
            let placed = place(StreamKey([0xa5; 16]), bucket);
            assert_eq!(bucket_of_key(&placed), bucket);
            assert_eq!(placed.0[2..], [0xa5; 14]);
        }
    }

    #[test]
    fn similar_names_spread() {
        let mut counts = vec![0; usize::from(BUCKETS)];
        for n in 0..100 * u32::from(BUCKETS) {
            counts[usize::from(bucket_of_bytes(format!("session-{n}").as_bytes()))] += 1;
        }
        assert!(counts.iter().all(|count| (40..200).contains(count)), "{counts:?}");
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        // `CLUSTER KEYSLOT` of a server.
        assert_eq!((slot_of(0), slot_of(17), slot_of(1023)), (13_907, 12_304, 14_911));
    }

    #[test]
    fn a_prefix_cannot_break_a_hash_tag() {
        assert!(check_prefix("mcp:").is_ok());
        for bad in ["", "{a}", "a b", "a*", &"a".repeat(65)] {
            assert!(check_prefix(bad).is_err());
        }
    }
}
