//! How bytes are laid out on disk and between members: little-endian integers, and byte strings after their
//! length as a u32. Written by hand so that every byte that comes from outside passes bounds checks that can be
//! read here, and nothing of the Raft library's old codec ever sees one.

use bytes::{Buf, BufMut};

/// Appends a byte string with its length.
pub(crate) fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("limits keep every byte string far below 4 GiB");
    into.put_u32_le(length);
    into.extend_from_slice(bytes);
}

/// Length of a byte string as [`put_bytes`] writes it.
pub(crate) fn bytes_len(bytes: &[u8]) -> usize {
    size_of::<u32>() + bytes.len()
}

/// Reads from a slice; every method is `None` when there is too little left.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.rest.try_get_u8().ok()
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.rest.try_get_u32_le().ok()
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.rest.try_get_u64_le().ok()
    }

    pub(crate) fn bool(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
