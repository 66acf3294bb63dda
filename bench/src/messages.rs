//! Messages to store: JSON of a given size, each of a few hundred different ones.

use mcp_event_store::Message;

/// Different messages of a size. Compression must not find the same text again and again.
const DIFFERENT: usize = 256;

/// Ordinary words, so that a message compresses as messages do.
const WORDS: [&str; 32] = [
    "the",
    "request",
    "step",
    "of",
    "file",
    "reading",
    "42%",
    "server",
    "and",
    "result",
    "to",
    "table",
    "index",
    "done",
    "with",
    "https://example.com/",
    "in",
    "model",
    "answer",
    "null",
    "is",
    "context",
    "error",
    "for",
    "true",
    "rows",
    "next",
    "tool",
    "2025-11-25",
    "call",
    "a",
    "progress",
];

/// Messages of one size.
#[derive(Clone)]
pub(crate) struct Messages {
    messages: std::sync::Arc<[Message]>,
    next: usize,
}

impl Messages {
    /// Messages of `bytes` bytes each, at least as many as the envelope takes.
    pub(crate) fn new(bytes: usize) -> anyhow::Result<Self> {
        let messages = (0..DIFFERENT).map(|n| Ok(Message::parse(text(bytes, n))?));
        Ok(Self { messages: messages.collect::<anyhow::Result<_>>()?, next: 0 })
    }

    /// The next of them, round and round.
    pub(crate) fn next(&mut self) -> Message {
        self.next += 1;
        self.messages[self.next % DIFFERENT].clone()
    }
}

fn text(bytes: usize, seed: usize) -> String {
    let (before, after) = (
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":""#,
        r#""}}"#,
    );
    let mut words = Words(seed as u64);
    let mut data = String::new();
    let wanted = bytes.saturating_sub(before.len() + after.len());
    while data.len() < wanted {
        data.push_str(words.next());
        data.push(' ');
    }
    data.truncate(wanted);
    format!("{before}{data}{after}")
}

/// A linear congruential generator (Knuth's MMIX constants), the same words each time.
struct Words(u64);

impl Words {
    fn next(&mut self) -> &'static str {
        const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
        const INCREMENT: u64 = 1_442_695_040_888_963_407;
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
        // The high bits are the random ones.
        WORDS[(self.0 >> 59) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_size_and_differ() {
        for bytes in [200, 500, 8192] {
            let mut messages = Messages::new(bytes).unwrap();
            let (one, other) = (messages.next(), messages.next());
            assert_eq!((one.len(), other.len()), (bytes, bytes));
            assert_ne!(one, other);
        }
    }
}
