//! Blocks of names and values, compressed with the dictionary that SPDY/3 names (§2.6.10.1). All blocks of one direction
//! are one zlib stream.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::ProtocolError;

/// A block's size when it is unpacked; those of port forwarding have about 100 bytes.
const BLOCK_BYTES_MAX: usize = 16 << 10;

/// Words of the dictionary that have their length before them.
const WORDS: &str = "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|\
    accept-ranges|age|allow|authorization|cache-control|connection|content-base|content-encoding|content-language|\
    content-length|content-location|content-md5|content-range|content-type|date|etag|expect|expires|from|host|if-match|\
    if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|location|max-forwards|pragma|\
    proxy-authenticate|proxy-authorization|range|referer|retry-after|server|te|trailer|transfer-encoding|upgrade|\
    user-agent|vary|via|warning|www-authenticate|method|get|status|200 OK|version|HTTP/1.1|url|public|set-cookie|\
    keep-alive|origin";

/// The rest of it.
const REST: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 \
    Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not \
    Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov \
    Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,\
    application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=\
    iso-8859-1,utf-,*,enq=0.";

pub(super) fn dictionary() -> Vec<u8> {
    let mut dictionary = Vec::with_capacity(1423);
    for word in WORDS.split('|') {
        let length = u32::try_from(word.len()).expect("a word is short");
        dictionary.extend_from_slice(&length.to_be_bytes());
        dictionary.extend_from_slice(word.as_bytes());
    }
    dictionary.extend_from_slice(REST.as_bytes());
    dictionary
}

/// Names and values of a stream, as they came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::forward) struct Headers(Vec<(String, String)>);

impl Headers {
    /// The value of a name, whatever its case.
    pub(in crate::forward) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Unpacks the peer's blocks, one after the other.
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(super) fn headers(&mut self, block: &[u8]) -> Result<Headers, ProtocolError> {
        parse(&self.unpack(block)?)
    }

    fn unpack(&mut self, mut block: &[u8]) -> Result<Vec<u8>, ProtocolError> {
        const BROKEN: ProtocolError = ProtocolError::Headers("they are not packed with zlib");
        let mut out = Vec::with_capacity(1 << 10);
        loop {
            let (read, written) = (self.0.total_in(), out.len());
            let result = self.0.decompress_vec(block, &mut out, FlushDecompress::Sync);
            let taken = usize::try_from(self.0.total_in() - read).expect("no more than there was");
            block = &block[taken..];
            match result {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary()).map_err(|_| BROKEN)?;
                    continue;
                }
                Err(_) | Ok(Status::StreamEnd) => return Err(BROKEN),
                Ok(Status::Ok | Status::BufError) => {}
            }
            if out.len() > BLOCK_BYTES_MAX {
                return Err(ProtocolError::Headers("they are too long"));
            }
            let has_room = out.len() < out.capacity();
            if has_room && block.is_empty() {
                return Ok(out);
            }
            if has_room && taken == 0 && out.len() == written {
                return Err(BROKEN);
            }
            out.reserve(1 << 10);
        }
    }
}

fn parse(block: &[u8]) -> Result<Headers, ProtocolError> {
    let mut rest = block;
    let count = number(&mut rest)?;
    let mut headers = Headers::default();
    // Each takes at least eight bytes of a bounded block, whatever the count says.
    for _ in 0..count {
        headers.0.push((text(&mut rest)?, text(&mut rest)?));
    }
    Ok(headers)
}

const SHORT: ProtocolError = ProtocolError::Headers("they end in the middle");

fn number(rest: &mut &[u8]) -> Result<usize, ProtocolError> {
    let (number, after) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
    *rest = after;
    usize::try_from(u32::from_be_bytes(*number)).map_err(|_| SHORT)
}

fn text(rest: &mut &[u8]) -> Result<String, ProtocolError> {
    let length = number(rest)?;
    let (text, after) = rest.split_at_checked(length).ok_or(SHORT)?;
    *rest = after;
    String::from_utf8(text.to_vec()).map_err(|_| ProtocolError::Headers("they are not UTF-8"))
}

/// Packs our blocks, one after the other.
pub(in crate::forward) struct Deflater(Compress);

impl Deflater {
    pub(in crate::forward) fn new() -> Self {
        let mut compress = Compress::new(Compression::fast(), true);
        compress.set_dictionary(&dictionary()).expect("nothing is packed yet");
        Self(compress)
    }

    /// A block without headers: all that an answer needs.
    pub(super) fn no_headers(&mut self) -> Vec<u8> {
        self.pack(&0_u32.to_be_bytes())
    }

    pub(super) fn pack(&mut self, block: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(block.len() * 2 + 64);
        self.0.compress_vec(block, &mut out, FlushCompress::Sync).expect("there is room for all of it");
        out
    }
}
