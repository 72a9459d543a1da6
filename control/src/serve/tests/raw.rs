//! Frames of HTTP/2 as no client library would send them (RFC 9113, section 4).

/// What a client says first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// GET of `/` over https, all from the static table (RFC 7541, appendix A).
const GET_ROOT: &[u8] = &[0x82, 0x84, 0x87];

pub(super) struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    pub(super) fn settings() -> Frame {
        Frame { kind: SETTINGS, flags: 0, stream: 0, payload: Vec::new() }
    }

    pub(super) fn ping() -> Frame {
        Frame { kind: PING, flags: 0, stream: 0, payload: vec![0; 8] }
    }

    pub(super) fn get_root(stream: u32) -> Frame {
        Frame { kind: HEADERS, flags: END_STREAM | END_HEADERS, stream, payload: GET_ROOT.to_vec() }
    }

    pub(super) fn unended_headers(stream: u32) -> Frame {
        Frame { kind: HEADERS, flags: 0, stream, payload: GET_ROOT.to_vec() }
    }

    /// Fields that are not indexed, of about so many bytes.
    pub(super) fn continuation(stream: u32, bytes: usize) -> Frame {
        let field = [&[0, 1][..], b"x", &[100], &[b'a'; 100]].concat();
        let payload = field.repeat(bytes / field.len());
        Frame { kind: CONTINUATION, flags: 0, stream, payload }
    }

    pub(super) fn reset(stream: u32) -> Frame {
        Frame { kind: RST_STREAM, flags: 0, stream, payload: 8_u32.to_be_bytes().to_vec() }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("a small frame").to_be_bytes();
        let head = [&length[1..], &[self.kind, self.flags], &self.stream.to_be_bytes()].concat();
        [head.as_slice(), &self.payload].concat()
    }
}
