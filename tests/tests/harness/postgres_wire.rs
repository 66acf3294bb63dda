//! Spots an append in what a client says to PostgreSQL.
//!
//! Source: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

use std::collections::HashSet;

/// What only the statement of an append holds.
const APPEND: &[u8] = b"append\"(";

/// Asks for TLS or GSSAPI before anything else is said.
const ENCRYPTION_REQUESTS: [u32; 2] = [80_877_103, 80_877_104];

/// Watches one connection.
#[derive(Default)]
pub(crate) struct Spotter {
    heard: Vec<u8>,
    /// Whether the client has introduced itself.
    started: bool,
    /// Names of prepared statements that append.
    appends: HashSet<Vec<u8>>,
}

impl Spotter {
    /// Whether this piece holds the end of an append.
    pub(crate) fn hear(&mut self, piece: &[u8]) -> bool {
        self.heard.extend_from_slice(piece);
        let mut is_append = false;
        while let Some(message) = self.next_message() {
            is_append |= self.appends(&message);
        }
        is_append
    }

    /// Takes a whole message, with its type but without its length.
    fn next_message(&mut self) -> Option<Vec<u8>> {
        let head = usize::from(self.started);
        let length = self.heard.get(head..head + 4)?;
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if self.heard.len() < head + length {
            return None;
        }
        let rest = self.heard.split_off(head + length);
        let mut message = std::mem::replace(&mut self.heard, rest);
        message.drain(head..head + 4);
        Some(message)
    }

    fn appends(&mut self, message: &[u8]) -> bool {
        if !self.started {
            let code = message.get(..4).map(|code| u32::from_be_bytes(code.try_into().unwrap()));
            self.started = !code.is_some_and(|code| ENCRYPTION_REQUESTS.contains(&code));
            return false;
        }
        let Some((kind, body)) = message.split_first() else { return false };
        let mut strings = body.split(|byte| *byte == 0);
        let (first, second) = (strings.next().unwrap_or(b""), strings.next().unwrap_or(b""));
        let holds_append = |sql: &[u8]| sql.windows(APPEND.len()).any(|part| part == APPEND);
        match kind {
            // Parse: the statement's name, then its text. It may take over a name.
            b'P' if holds_append(second) => {
                self.appends.insert(first.to_vec());
                false
            }
            b'P' => {
                self.appends.remove(first);
                false
            }
            // Bind: the portal, then the statement.
            b'B' => self.appends.contains(second),
            b'Q' => holds_append(first),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &[u8], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [kind, &length, body].concat()
    }

    #[test]
    fn the_end_of_an_append_is_spotted_however_it_is_cut_up() {
        let startup = message(b"", &[0, 3, 0, 0, b'u', 0, 0]);
        let append = b"s1\0SELECT * FROM \"s\".\"append\"($1)\0\0\0";
        let parse = message(b"P", append);
        let other = message(b"P", b"s2\0SELECT 1\0\0\0");
        let encryption = message(b"", &ENCRYPTION_REQUESTS[0].to_be_bytes());
        let said = [encryption, startup, parse, other].concat();
        let bind = |statement: &[u8]| message(b"B", &[b"\0", statement, b"\0\0\0"].concat());
        for piece in [1, 3, 1000] {
            let mut spotter = Spotter::default();
            let mut hear = |said: &[u8]| {
                said.chunks(piece).map(|piece| spotter.hear(piece)).collect::<Vec<_>>()
            };
            assert!(!hear(&said).contains(&true));
            assert!(!hear(&bind(b"s2")).contains(&true));
            let ends = hear(&bind(b"s1"));
            assert_eq!(ends.iter().position(|end| *end), Some(ends.len() - 1));
            assert!(hear(&message(b"Q", b"SELECT \"s\".\"append\"(1)\0")).contains(&true));
        }
    }
}
