//! The blocks of a snapshot file: each with its length, and a checksum that goes on from the block before.

use std::sync::Arc;

use bytes::BufMut;

use crate::disk::{DiskError, DiskFile};
use crate::wire::Reader;

/// A block is written when it has this size.
const BLOCK_BYTES: usize = 256 << 10;

/// Length and checksum of a block.
const BLOCK_HEAD_BYTES: usize = 8;

/// Makes blocks of what is put into `block`, and hands them out.
pub(super) struct BlockWriter<P> {
    pub(super) put: P,
    /// Handed out so far.
    pub(super) bytes: u64,
    pub(super) block: Vec<u8>,
    pub(super) chain: u32,
}

impl<E, P: FnMut(&[u8]) -> Result<(), E>> BlockWriter<P> {
    pub(super) fn begin(&mut self) {
        self.block.clear();
        self.block.put_bytes(0, BLOCK_HEAD_BYTES);
    }

    pub(super) fn end_if_full(&mut self) -> Result<(), E> {
        if self.block.len() < BLOCK_BYTES { Ok(()) } else { self.end() }
    }

    /// Writes the block, unless it is empty, and begins the next.
    pub(super) fn end(&mut self) -> Result<(), E> {
        let content = self.block.len() - BLOCK_HEAD_BYTES;
        if content > 0 {
            let length = u32::try_from(content).expect("a block is one entry longer than its limit at most");
            self.chain = crc32c::crc32c_append(self.chain, &self.block[BLOCK_HEAD_BYTES..]);
            self.block[..4].copy_from_slice(&length.to_le_bytes());
            self.block[4..BLOCK_HEAD_BYTES].copy_from_slice(&self.chain.to_le_bytes());
            (self.put)(&self.block)?;
            self.bytes += self.block.len() as u64;
        }
        self.begin();
        Ok(())
    }
}

/// Reads them back.
pub(super) struct BlockReader {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) file_bytes: u64,
    pub(super) offset: u64,
    /// Where the block last read begins.
    pub(super) begin: u64,
    pub(super) chain: u32,
}

impl BlockReader {
    /// The next block; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Result<Option<Vec<u8>>, &'static str>, DiskError> {
        self.begin = self.offset;
        let mut head = [0; BLOCK_HEAD_BYTES];
        let read = self.file.read_at(self.offset, &mut head)?;
        if read == 0 {
            return Ok(Ok(None));
        }
        let mut reader = Reader::new(&head[..read]);
        let (Some(length), Some(checksum)) = (reader.u32(), reader.u32()) else {
            return Ok(Err("it is cut short"));
        };
        let content = self.offset + BLOCK_HEAD_BYTES as u64;
        if length == 0 || content + u64::from(length) > self.file_bytes {
            return Ok(Err("the length of a block is impossible"));
        }
        let mut block = vec![0; length as usize];
        let read = self.file.read_at(content, &mut block)?;
        self.chain = crc32c::crc32c_append(self.chain, &block);
        if read < block.len() || self.chain != checksum {
            return Ok(Err("the checksum of a block does not fit"));
        }
        self.offset = content + u64::from(length);
        Ok(Ok(Some(block)))
    }
}
