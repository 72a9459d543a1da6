//! HTTP/2 frames, as far as unary gRPC calls need them (RFC 9113, "gRPC over HTTP/2"), for a client and a server that
//! cost next to nothing beside the stores that are measured through them. They talk to each other and to etcd, on this
//! machine; nothing here is for a network.

use std::ops::Range;

use anyhow::ensure;

/// What a client says first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
/// Padding and priorities are of use to nobody here.
const PADDED_OR_PRIORITY: u8 = 0x28;

/// Settings of ours.
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// What both sides of a connection may send before the first word about it.
pub(super) const FIRST_WINDOW_BYTES: u32 = 65_535;
const WINDOW_BYTES: u32 = i32::MAX as u32;

const HEAD_BYTES: usize = 9;
/// Nobody may send larger ones unless told so.
const PAYLOAD_BYTES_MAX: usize = 16 << 10;
/// Read from a connection at a time.
const READ_BYTES: usize = 64 << 10;

/// A frame that came in.
#[derive(Debug, PartialEq)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: &'a [u8],
}

impl Frame<'_> {
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The number that the payload begins with.
    pub(super) fn number(&self) -> u32 {
        self.payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }
}

/// Appends a frame.
pub(super) fn put(into: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("frames are small");
    into.extend_from_slice(&length.to_be_bytes()[1..]);
    into.extend_from_slice(&[kind, flags]);
    into.extend_from_slice(&stream.to_be_bytes());
    into.extend_from_slice(payload);
}

/// What either side says first: windows as wide as can be, so that nobody waits for one.
pub(super) fn put_greeting(into: &mut Vec<u8>) {
    let mut settings = Vec::new();
    for (setting, value) in [(INITIAL_WINDOW_SIZE, WINDOW_BYTES), (MAX_CONCURRENT_STREAMS, 100_000)] {
        settings.extend_from_slice(&setting.to_be_bytes());
        settings.extend_from_slice(&value.to_be_bytes());
    }
    put(into, SETTINGS, 0, 0, &settings);
    put(into, WINDOW_UPDATE, 0, 0, &(WINDOW_BYTES - FIRST_WINDOW_BYTES).to_be_bytes());
}

/// Keeps the window of a connection open for the other side.
#[derive(Default)]
pub(super) struct Credit {
    taken: u32,
}

impl Credit {
    /// So much of the window was used.
    pub(super) fn take(&mut self, bytes: usize, answers: &mut Vec<u8>) {
        self.taken += u32::try_from(bytes).expect("frames are small");
        if self.taken > WINDOW_BYTES / 2 {
            put(answers, WINDOW_UPDATE, 0, 0, &self.taken.to_be_bytes());
            self.taken = 0;
        }
    }
}

/// Answers what every side must answer; whether that was all there is to do about the frame.
pub(super) fn answer_housekeeping(frame: &Frame<'_>, answers: &mut Vec<u8>) -> bool {
    match frame.kind {
        SETTINGS if !frame.has(ACK) => put(answers, SETTINGS, ACK, 0, &[]),
        PING if !frame.has(ACK) => put(answers, PING, ACK, 0, frame.payload),
        SETTINGS | PING => {}
        _ => return false,
    }
    true
}

/// What was read from a connection, cut into frames.
#[derive(Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    filled: Range<usize>,
}

impl Inbox {
    /// Where to read to.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.filled.start > 0 {
            self.bytes.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
        }
        // Always more than one whole frame.
        self.bytes.resize(READ_BYTES, 0);
        &mut self.bytes[self.filled.end..]
    }

    /// So much was read.
    pub(super) fn filled(&mut self, bytes: usize) {
        self.filled.end += bytes;
    }

    /// Passes over something that is no frame, when it is there as a whole.
    pub(super) fn skip(&mut self, expected: &[u8]) -> anyhow::Result<bool> {
        let found = &self.bytes[self.filled.clone()];
        let length = found.len().min(expected.len());
        ensure!(found[..length] == expected[..length], "this is not HTTP/2 as it was expected");
        let whole = length == expected.len();
        self.filled.start += if whole { length } else { 0 };
        Ok(whole)
    }

    /// The next whole frame.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Frame<'_>>> {
        let found = &self.bytes[self.filled.clone()];
        let Some((head, rest)) = found.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let [a, b, c, kind, flags, stream @ ..] = *head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        ensure!(length <= PAYLOAD_BYTES_MAX, "a frame of {length} bytes, more than was agreed upon");
        ensure!(
            ![DATA, HEADERS].contains(&kind) || flags & PADDED_OR_PRIORITY == 0,
            "padded frames are not understood"
        );
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        self.filled.start += HEAD_BYTES + length;
        Ok(Some(Frame { kind, flags, stream: u32::from_be_bytes(stream) & !(1 << 31), payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(inbox: &mut Inbox, bytes: &[u8]) {
        inbox.room()[..bytes.len()].copy_from_slice(bytes);
        inbox.filled(bytes.len());
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let mut sent = Vec::new();
        put(&mut sent, HEADERS, END_HEADERS, 1, b"head");
        put(&mut sent, DATA, END_STREAM, 1, &[7; 300]);
        put(&mut sent, DATA, 0, 3, b"");
        for piece in [1, 5, 10, 400] {
            let (mut inbox, mut kinds) = (Inbox::default(), Vec::new());
            for bytes in sent.chunks(piece) {
                feed(&mut inbox, bytes);
                while let Some(frame) = inbox.next().unwrap() {
                    kinds.push((frame.kind, frame.flags, frame.stream, frame.payload.len()));
                }
            }
            assert_eq!(kinds, [(HEADERS, END_HEADERS, 1, 4), (DATA, END_STREAM, 1, 300), (DATA, 0, 3, 0)]);
        }
    }

    #[test]
    fn what_is_no_frame_of_ours_is_refused() {
        for bytes in [b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", b"\x00\x00\x01\x00\x08\x00\x00\x00\x01"] {
            let mut inbox = Inbox::default();
            feed(&mut inbox, bytes);
            assert!(inbox.next().is_err(), "{bytes:?}");
        }
        let mut inbox = Inbox::default();
        feed(&mut inbox, b"GET / HT");
        assert!(inbox.skip(PREFACE).is_err());
    }

    #[test]
    fn the_window_is_opened_again_before_it_is_used_up() {
        let (mut credit, mut answers, mut used) = (Credit::default(), Vec::new(), 0_u64);
        while answers.is_empty() {
            credit.take(PAYLOAD_BYTES_MAX, &mut answers);
            used += PAYLOAD_BYTES_MAX as u64;
        }
        assert!(used < u64::from(WINDOW_BYTES));
        assert_eq!(answers.last_chunk(), Some(&u32::try_from(used).unwrap().to_be_bytes()));
    }
}
