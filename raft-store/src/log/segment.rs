//! Segment files: a header of one sector, then frames, then the zeros it was filled with when it was made.
//!
//! A segment is filled ahead, because overwriting allocated blocks costs one disk write where growing a file costs
//! the file system's journal too: twice the rate of syncs. It gets its name only when it is taken into use.

use std::sync::Arc;

use bytes::BufMut;

use crate::disk::{Disk, DiskError, DiskFile, SECTOR_BYTES};
use crate::error::OpenError;
use crate::membership::MemberId;
use crate::wire::Reader;

/// Where the first frame begins.
pub(crate) const HEADER_BYTES: usize = SECTOR_BYTES;

const MAGIC: &[u8; 8] = b"ISOPDLOG";

/// Of the layout of segments and frames. A greater one is from a later release and is left alone.
const FORMAT: u32 = 1;

/// Zeros written at a time.
const FILL_BYTES: usize = 1 << 20;

/// One file of the log.
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Number of its first frame.
    pub(crate) first_sequence: u64,
    /// Its length in bytes.
    pub(crate) size_bytes: u64,
    /// The greatest index of an entry in it; that of its base when there is none.
    pub(crate) last_index: u64,
}

/// What the header says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) member: MemberId,
    pub(crate) first_sequence: u64,
    /// Length of the whole file.
    pub(crate) segment_bytes: u64,
}

/// The name of a segment; in the order of names, segments are in the order of the log.
pub(crate) fn name_of(first_sequence: u64) -> String {
    format!("log-{first_sequence:016x}.seg")
}

/// The first sequence number that a segment's name tells; `None` for other files.
pub(crate) fn sequence_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-")?.strip_suffix(".seg")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
}

/// Makes a file full of zeros, on the disk.
pub(crate) fn create_zeroed(
    disk: &dyn Disk,
    name: &str,
    segment_bytes: u64,
) -> Result<Arc<dyn DiskFile>, DiskError> {
    let file = disk.create(name)?;
    let filled = fill_zeros(&*file, 0, segment_bytes).and_then(|()| file.sync());
    if let Err(error) = filled {
        // What there is of it takes the space that was missing. If removing fails too, the next attempt empties it.
        drop(disk.remove(name));
        return Err(error);
    }
    Ok(file)
}

/// Overwrites `from..to` with zeros.
pub(crate) fn fill_zeros(file: &dyn DiskFile, from: u64, to: u64) -> Result<(), DiskError> {
    let zeros = vec![0; FILL_BYTES];
    let mut at = from;
    while at < to {
        let length = (to - at).min(FILL_BYTES as u64);
        file.write_at(at, &zeros[..length as usize])?;
        at += length;
    }
    Ok(())
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.put_u32_le(FORMAT);
        bytes.put_u64_le(self.member.0);
        bytes.put_u64_le(self.first_sequence);
        bytes.put_u64_le(self.segment_bytes);
        let checksum = crc32c::crc32c(&bytes);
        bytes.put_u32_le(checksum);
        bytes.resize(HEADER_BYTES, 0);
        bytes
    }

    /// Reads the header of the segment that `path` names. Its layout is for ever, so that a later format is told from a
    /// damaged number.
    pub(crate) fn decode(bytes: &[u8], path: std::path::PathBuf) -> Result<Self, OpenError> {
        let damaged = |reason| OpenError::Damaged { path: path.clone(), offset: 0, reason };
        let mut reader = Reader::new(bytes.strip_prefix(MAGIC).ok_or(damaged("it is not a log segment"))?);
        let fields = (reader.u32(), reader.u64(), reader.u64(), reader.u64());
        let (Some(format), Some(member), Some(first_sequence), Some(segment_bytes)) = fields else {
            return Err(damaged("the header is cut short"));
        };
        let checked = MAGIC.len() + 4 + 3 * 8;
        if format < FORMAT || reader.u32() != Some(crc32c::crc32c(&bytes[..checked])) {
            return Err(damaged("the header's checksum does not fit"));
        }
        if format > FORMAT {
            return Err(OpenError::TooNew { path, found: format, supported: FORMAT });
        }
        Ok(Self { member: MemberId(member), first_sequence, segment_bytes })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn header() -> Header {
        Header { member: MemberId(3), first_sequence: 77, segment_bytes: 1 << 20 }
    }

    #[test]
    fn a_header_comes_back_and_every_flipped_byte_is_found() {
        let bytes = header().encode();
        assert_eq!(Header::decode(&bytes, PathBuf::new()).expect("it is whole"), header());
        for at in 0..40 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            let error = Header::decode(&bytes, PathBuf::new()).expect_err("it is damaged");
            assert!(matches!(error, OpenError::Damaged { .. }), "byte {at}: {error:?}");
        }
        for length in 0..40 {
            assert!(Header::decode(&bytes[..length], PathBuf::new()).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn a_later_format_is_told_from_damage() {
        let mut bytes = header().encode();
        bytes[8] = 9;
        let checksum = crc32c::crc32c(&bytes[..36]).to_le_bytes();
        bytes[36..40].copy_from_slice(&checksum);
        let error = Header::decode(&bytes, PathBuf::from("f")).expect_err("too new");
        assert!(matches!(error, OpenError::TooNew { found: 9, supported: FORMAT, .. }), "{error:?}");
    }

    #[test]
    fn names_and_sequence_numbers_tell_each_other() {
        assert_eq!(sequence_of(&name_of(0x1234)), Some(0x1234));
        for other in
            ["log-12.seg", "log-spare.tmp", "snapshot-0000000000000001.snap", "log-000000000000000x.seg"]
        {
            assert_eq!(sequence_of(other), None, "{other}");
        }
    }
}
