//! What a script is given.

/// Arguments, one behind the other in one piece of memory: an append of one event has fifteen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Args {
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl Args {
    /// Room for so many arguments, of so many bytes together.
    pub(crate) fn with_capacity(args: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(args) }
    }

    pub(crate) fn push(&mut self, arg: impl AsRef<[u8]>) {
        self.write(|bytes| bytes.extend_from_slice(arg.as_ref()));
    }

    /// Adds the argument that `write` appends to what it is given.
    pub(crate) fn write<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let written = write(&mut self.bytes);
        self.ends.push(self.bytes.len());
        written
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all together.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(&0).chain(&self.ends);
        begins.zip(&self.ends).map(|(begin, end)| &self.bytes[*begin..*end])
    }
}

impl<A: AsRef<[u8]>, const N: usize> From<[A; N]> for Args {
    fn from(all: [A; N]) -> Self {
        let mut args = Self::default();
        for arg in all {
            args.push(arg);
        }
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_ones_are_arguments_too() {
        let mut args = Args::from(["", "a"]);
        args.write(|bytes| bytes.push(b'b'));
        args.push("");
        assert_eq!(args.iter().collect::<Vec<_>>(), [&b""[..], b"a", b"b", b""]);
        assert_eq!((args.len(), args.bytes()), (4, 2));
        assert_eq!(Args::default().iter().count(), 0);
    }
}
