//! The status of a gRPC call, out of HTTP/2 header blocks (RFC 7541): of all headers, only `grpc-status` is read.
//!
//! A server may send it as text, shortened by Huffman's code, or as a reference to what it said before, so that table is
//! kept; of the fields in it that are something else, only their place.

use std::collections::VecDeque;

use anyhow::{Context as _, ensure};

const STATUS: &[u8] = b"grpc-status";
/// The same in Huffman's code.
const STATUS_SHORT: [u8; 8] = [0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f];

/// Names that every side knows.
const STATIC_FIELDS: usize = 61;
/// The longest of them.
const STATIC_NAME_BYTES_MAX: usize = 27;
/// Both sides keep so much of what was said before, counted with so much for each field.
const TABLE_BYTES: usize = 4_096;
const FIELD_BYTES: usize = 32;

/// What a server has said so far on one connection.
#[derive(Default)]
pub(super) struct Headers {
    /// The newest first.
    table: VecDeque<Field>,
    /// What it takes at most.
    table_bytes: usize,
}

#[derive(Clone, Copy)]
enum Field {
    Status(u8),
    Other,
}

impl Headers {
    /// The status in a block of headers, if there is one.
    pub(super) fn status(&mut self, block: &[u8]) -> anyhow::Result<Option<u8>> {
        let (mut rest, mut status) = (block, None);
        while let Some(&first) = rest.first() {
            let field = match first.leading_zeros() {
                0 => {
                    let index = number(&mut rest, 7)?;
                    self.known(index)?
                }
                1 => {
                    let (field, bytes) = self.literal(&mut rest, 6)?;
                    self.table_bytes += bytes;
                    // What a server would forget to make room is not followed. It says the same few things all the time.
                    ensure!(self.table_bytes <= TABLE_BYTES, "the server says too many different things");
                    self.table.push_front(field);
                    field
                }
                2 => {
                    if number(&mut rest, 5)? == 0 {
                        (self.table_bytes, self.table) = (0, VecDeque::new());
                    }
                    Field::Other
                }
                _ => self.literal(&mut rest, 4)?.0,
            };
            if let Field::Status(found) = field {
                status = Some(found);
            }
        }
        Ok(status)
    }

    fn known(&self, index: usize) -> anyhow::Result<Field> {
        match index.checked_sub(STATIC_FIELDS + 1) {
            Some(said) => self.table.get(said).copied().context("a header that was never said"),
            None => Ok(Field::Other),
        }
    }

    /// A field that is spelled out, and what it takes in the table at most.
    fn literal(&self, rest: &mut &[u8], prefix: u32) -> anyhow::Result<(Field, usize)> {
        let (is_status, name_bytes) = match number(rest, prefix)? {
            0 => {
                let (short, name) = text(rest)?;
                let status: &[u8] = if short { &STATUS_SHORT } else { STATUS };
                (name == status, spelled(short, name))
            }
            index => (matches!(self.known(index)?, Field::Status(_)), STATIC_NAME_BYTES_MAX),
        };
        let (short, value) = text(rest)?;
        let field = match is_status {
            true => {
                // Huffman's code is used where it is shorter, so never for one or two digits.
                ensure!(!short && value.len() <= 2, "a status that is no number of gRPC");
                Field::Status(std::str::from_utf8(value)?.parse()?)
            }
            false => Field::Other,
        };
        Ok((field, FIELD_BYTES + name_bytes + spelled(short, value)))
    }
}

/// Length of a text, at most: the shortest code has five bits.
fn spelled(short: bool, text: &[u8]) -> usize {
    if short { text.len() * 8 / 5 } else { text.len() }
}

/// A text, and whether it is in Huffman's code.
fn text<'a>(rest: &mut &'a [u8]) -> anyhow::Result<(bool, &'a [u8])> {
    let short = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = number(rest, 7)?;
    let (text, after) = rest.split_at_checked(length).context("a header is cut short")?;
    *rest = after;
    Ok((short, text))
}

/// A number that begins in the last `prefix` bits of a byte.
fn number(rest: &mut &[u8], prefix: u32) -> anyhow::Result<usize> {
    let mut byte = || -> anyhow::Result<u8> {
        let (first, after) = rest.split_first().context("a header is cut short")?;
        *rest = after;
        Ok(*first)
    };
    let most = (1 << prefix) - 1;
    let mut number = usize::from(byte()?) & most;
    if number < most {
        return Ok(number);
    }
    for shift in [0, 7, 14] {
        let next = byte()?;
        number += usize::from(next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Ok(number);
        }
    }
    anyhow::bail!("a header is impossibly long")
}

/// A field spelled out, to be remembered by nobody.
pub(super) fn put_literal(into: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    into.push(0);
    for text in [name, value] {
        into.push(u8::try_from(text.len()).ok().filter(|length| *length < 0x7f).expect("ours are short"));
        into.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `:status: 200` and `content-type: application/grpc` in Huffman's code, the latter to be remembered.
    const ANSWER: &[u8] =
        &[0x88, 0x5f, 0x8b, 0x1d, 0x75, 0xd0, 0x62, 0x0d, 0x26, 0x3d, 0x4c, 0x4d, 0x65, 0x64];

    /// `grpc-status: 0` and an empty `grpc-message`, both to be remembered.
    const TRAILERS: &[u8] = &[
        0x40, 0x88, 0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f, 0x01, 0x30, 0x40, 0x89, 0x9a, 0xca, 0xc8,
        0xb5, 0x25, 0x42, 0x07, 0x31, 0x7f, 0x00,
    ];

    #[test]
    fn what_a_server_of_etcd_says_is_understood() {
        let mut headers = Headers::default();
        assert_eq!(headers.status(ANSWER).unwrap(), None);
        assert_eq!(headers.status(TRAILERS).unwrap(), Some(0));
        // And from then on, by reference.
        assert_eq!(headers.status(&[0x88, 0xc0]).unwrap(), None);
        assert_eq!(headers.status(&[0xbf, 0xbe]).unwrap(), Some(0));
    }

    fn with_status(how: u8, value: &[u8]) -> Vec<u8> {
        [&[how, 0x88], &STATUS_SHORT[..], &[u8::try_from(value.len()).unwrap()], value].concat()
    }

    #[test]
    fn a_status_is_found_however_it_is_said() {
        let mut plain = Vec::new();
        put_literal(&mut plain, b"grpc-status", b"14");
        let mut headers = Headers::default();
        assert_eq!(headers.status(ANSWER).unwrap(), None);
        assert_eq!(headers.status(&plain).unwrap(), Some(14));
        assert_eq!(headers.status(&with_status(0, b"5")).unwrap(), Some(5));
        assert_eq!(headers.status(&with_status(0x40, b"0")).unwrap(), Some(0));
        assert_eq!(headers.status(&[0x80 | 62]).unwrap(), Some(0), "the newest of what was said");
        assert_eq!(headers.status(&[0x80 | 63]).unwrap(), None, "the one before it");
        assert_eq!(headers.status(&[0x40 | 62, 1, b'7']).unwrap(), Some(7), "the same name");
        assert_eq!(headers.status(&[0x80 | 63]).unwrap(), Some(0), "it has moved on");
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        let mut headers = Headers::default();
        assert!(headers.status(&[0x80 | 62]).is_err(), "nothing was said before");
        assert!(headers.status(&ANSWER[..5]).is_err(), "cut short");
        assert!(headers.status(&with_status(0, b"x")).is_err());
        let mut fill = || headers.status(&[&[0x40, 1, b'a', 100][..], &[b'b'; 100]].concat());
        assert!((0..40).any(|_| fill().is_err()), "a full table forgets, and that is not followed");
        let mut headers = Headers::default();
        headers.status(&with_status(0x40, b"0")).unwrap();
        assert_eq!(headers.status(&[0x20, 0x88]).unwrap(), None);
        assert!(headers.status(&[0x80 | 62]).is_err(), "the table was emptied");
    }
}
