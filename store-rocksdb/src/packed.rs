//! Numbers and texts as bytes, one after the other: the form of every value in the database.
//!
//! Numbers are big-endian. An optional value is preceded by a byte that says whether it is there.

use mcp_event_store_core::Timestamp;
use mcp_event_store_core::backend::Tag;

/// Writes values.
#[derive(Default)]
pub(crate) struct Packer(Vec<u8>);

impl Packer {
    pub(crate) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub(crate) fn flag(self, flag: bool) -> Self {
        self.byte(u8::from(flag))
    }

    pub(crate) fn number(mut self, number: u64) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(crate) fn time(self, Timestamp(at): Timestamp) -> Self {
        self.number(at.cast_unsigned())
    }

    pub(crate) fn tag(mut self, Tag(tag): Tag) -> Self {
        self.0.extend(tag);
        self
    }

    pub(crate) fn option<T>(self, value: Option<T>, write: impl FnOnce(Self, T) -> Self) -> Self {
        let packer = self.flag(value.is_some());
        match value {
            Some(value) => write(packer, value),
            None => packer,
        }
    }

    /// A text of at most 64 KiB, which every name is.
    pub(crate) fn text(mut self, text: &str) -> Self {
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_be_bytes());
        self.rest(&text.as_bytes()[..usize::from(length)])
    }

    /// Bytes that end the value.
    pub(crate) fn rest(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Reads values in the order in which they were written; `None` where the bytes do not fit.
pub(crate) struct Unpacker<'a>(pub(crate) &'a [u8]);

impl<'a> Unpacker<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    pub(crate) fn time(&mut self) -> Option<Timestamp> {
        self.number().map(|at| Timestamp(at.cast_signed()))
    }

    pub(crate) fn tag(&mut self) -> Option<Tag> {
        self.take().map(Tag)
    }

    pub(crate) fn key(&mut self) -> Option<[u8; 16]> {
        self.take()
    }

    /// An optional value: the outer `None` is for bytes that do not fit.
    #[allow(clippy::option_option, reason = "absent and damaged are two things")]
    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let length = self.take().map(u16::from_be_bytes)?;
        let (text, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    /// Whether everything was read.
    pub(crate) fn is_done(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}
