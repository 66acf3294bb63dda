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
