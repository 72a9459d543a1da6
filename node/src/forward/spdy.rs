//! The part of SPDY/3.1 that port forwarding is spoken in: frames to bytes and back (draft-mbelshe-httpbis-spdy-00
//! §2.6).
//!
//! Clients of Kubernetes use no flow control, no pushed streams and no settings; those frames are read over. Everything
//! that a frame may make grow has a bound.

mod headers;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use self::headers::Inflater;
pub(super) use self::headers::{Deflater, Headers};

/// Largest frame that is read; clients send some tens of kilobytes.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Bytes before every frame's content.
const PREFIX_BYTES: usize = 8;

const VERSION: u16 = 0x8003;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const FIN: u8 = 1;

/// Status of a stream that is ended before its time: the peer has gone.
const CANCEL: u32 = 5;
/// Status of a stream that is refused.
const REFUSED: u32 = 3;

/// What the peer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A stream begins; `is_last` says that the peer will send nothing on it.
    Open { stream: u32, headers: Headers, is_last: bool },
    /// Bytes of a stream; `is_last` says that these are the last.
    Data { stream: u32, bytes: Bytes, is_last: bool },
    /// A stream ends at once.
    Reset { stream: u32 },
    /// Wants the same number back.
    Ping { number: u32 },
    /// No more streams will be opened.
    GoAway,
}

/// Why the session cannot go on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProtocolError {
    /// The frame is larger than [`FRAME_BYTES_MAX`].
    #[error("a frame of {0} bytes, more than the {FRAME_BYTES_MAX} that are read")]
    TooLarge(usize),
    /// Not SPDY/3.
    #[error("a frame of version {0:#06x}, where SPDY/3.1 was agreed on")]
    Version(u16),
    /// The frame ends before its fields do.
    #[error("a frame that is too short for its type {0}")]
    Short(u16),
    /// A block of headers that cannot be read.
    #[error("headers that cannot be read: {0}")]
    Headers(&'static str),
}

/// Takes frames out of a stream of bytes.
pub(super) struct Decoder {
    buffer: BytesMut,
    inflater: Inflater,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { buffer: BytesMut::new(), inflater: Inflater::new() }
    }

    /// More bytes of the peer.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame that means something here, if it has arrived.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, ProtocolError> {
        while let Some((head, flags, content)) = self.take()? {
            if let Some(frame) = self.read(head, flags, content)? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    fn take(&mut self) -> Result<Option<(u32, u8, Bytes)>, ProtocolError> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<4>() else { return Ok(None) };
        let Some((&[flags, high, middle, low], _)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let (head, length) = (u32::from_be_bytes(*head), u32::from_be_bytes([0, high, middle, low]) as usize);
        if length > FRAME_BYTES_MAX {
            return Err(ProtocolError::TooLarge(length));
        }
        if self.buffer.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_BYTES);
        Ok(Some((head, flags, self.buffer.split_to(length).freeze())))
    }

    fn read(&mut self, head: u32, flags: u8, mut content: Bytes) -> Result<Option<Frame>, ProtocolError> {
        let is_last = flags & FIN != 0;
        if head >> 31 == 0 {
            return Ok(Some(Frame::Data { stream: head, bytes: content, is_last }));
        }
        let (version, kind) = ((head >> 16) as u16, head as u16);
        if version != VERSION {
            return Err(ProtocolError::Version(version));
        }
        let mut number = || {
            let number = content.try_get_u32().map_err(|_| ProtocolError::Short(kind))?;
            Ok(number & (u32::MAX >> 1))
        };
        Ok(match kind {
            SYN_STREAM => {
                let stream = number()?;
                // The stream that it belongs to, its priority and slot mean nothing here.
                number()?;
                content.try_get_u16().map_err(|_| ProtocolError::Short(kind))?;
                Some(Frame::Open { stream, headers: self.inflater.headers(&content)?, is_last })
            }
            // All blocks go through one inflater: one that nobody needs must be read too.
            SYN_REPLY | HEADERS => {
                number()?;
                self.inflater.headers(&content)?;
                None
            }
            RST_STREAM => Some(Frame::Reset { stream: number()? }),
            PING => {
                Some(Frame::Ping { number: content.try_get_u32().map_err(|_| ProtocolError::Short(kind))? })
            }
            GOAWAY => Some(Frame::GoAway),
            _ => None,
        })
    }
}

/// Accepts a stream that the peer has opened.
pub(super) fn accept(stream: u32, deflater: &mut Deflater) -> Bytes {
    let block = deflater.no_headers();
    let mut frame = control(SYN_REPLY, 4 + block.len());
    frame.put_u32(stream);
    frame.put_slice(&block);
    frame.freeze()
}

/// Bytes of a stream, which must be fewer than 16 MiB.
pub(super) fn data(stream: u32, bytes: &[u8], is_last: bool) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + bytes.len());
    frame.put_u32(stream);
    put_length(&mut frame, if is_last { FIN } else { 0 }, bytes.len());
    frame.put_slice(bytes);
    frame.freeze()
}

/// Ends a stream at once: its other end is gone.
pub(super) fn cancel(stream: u32) -> Bytes {
    reset(stream, CANCEL)
}

/// Refuses a stream that the peer has opened.
pub(super) fn refuse(stream: u32) -> Bytes {
    reset(stream, REFUSED)
}

/// The answer to a ping.
pub(super) fn pong(number: u32) -> Bytes {
    let mut frame = control(PING, 4);
    frame.put_u32(number);
    frame.freeze()
}

fn reset(stream: u32, status: u32) -> Bytes {
    let mut frame = control(RST_STREAM, 8);
    frame.put_u32(stream);
    frame.put_u32(status);
    frame.freeze()
}

fn control(kind: u16, length: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u16(VERSION);
    frame.put_u16(kind);
    put_length(&mut frame, 0, length);
    frame
}

fn put_length(frame: &mut BytesMut, flags: u8, length: usize) {
    let length = u32::try_from(length).expect("a frame's length fits its field");
    frame.put_u32(u32::from(flags) << 24 | length & 0x00ff_ffff);
}

#[cfg(test)]
pub(super) mod tests;
