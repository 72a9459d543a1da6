//! Frames as clients send them, broken ones, and random bytes.

use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use super::headers::dictionary;
use super::*;

/// A frame of a client that opens a stream, packed like all of its blocks by `deflater`.
pub(in crate::forward) fn open(deflater: &mut Deflater, stream: u32, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut block = u32::try_from(pairs.len()).unwrap().to_be_bytes().to_vec();
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        block.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
        block.extend_from_slice(text.as_bytes());
    }
    let block = deflater.pack(&block);
    let mut frame = control(SYN_STREAM, 10 + block.len());
    frame.put_u32(stream);
    frame.put_u32(0);
    frame.put_u16(0);
    frame.put_slice(&block);
    frame.to_vec()
}

fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Result<Vec<Frame>, ProtocolError> {
    decoder.feed(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next()? {
        frames.push(frame);
    }
    Ok(frames)
}

#[test]
fn the_dictionary_is_the_one_that_zlib_streams_of_spdy_3_name() {
    // RFC 1950 §2.3: a stream that needs a dictionary says which one by its checksum, after two bytes.
    let mut packed = Vec::with_capacity(64);
    let mut compress = Compress::new(Compression::fast(), true);
    compress.set_dictionary(&dictionary()).unwrap();
    compress.compress_vec(b"host", &mut packed, FlushCompress::Sync).unwrap();
    assert_eq!((dictionary().len(), &packed[2..6]), (1423, &[0xe3, 0xc6, 0xa7, 0xc2][..]));
}

#[test]
fn frames_are_read_however_the_bytes_are_cut() {
    let mut deflater = Deflater::new();
    let mut bytes = open(&mut deflater, 1, &[("streamtype", "error"), ("port", "80"), ("requestid", "0")]);
    bytes.extend(open(&mut deflater, 3, &[("streamtype", "data"), ("port", "80"), ("requestid", "0")]));
    bytes.extend(data(1, b"", true));
    bytes.extend(data(3, b"GET / HTTP/1.1\r\n\r\n", false));
    bytes.extend(pong(7));
    bytes.extend(cancel(3));
    let whole = decode(&mut Decoder::new(), &bytes).unwrap();
    assert_eq!(whole.len(), 6);
    let Frame::Open { stream: 3, headers, is_last: false } = &whole[1] else { panic!("{:?}", whole[1]) };
    assert_eq!(
        (headers.get("streamType"), headers.get("Port"), headers.get("x")),
        (Some("data"), Some("80"), None)
    );
    assert_eq!(whole[2], Frame::Data { stream: 1, bytes: Bytes::new(), is_last: true });
    assert_eq!(whole[4..], [Frame::Ping { number: 7 }, Frame::Reset { stream: 3 }]);
    let mut decoder = Decoder::new();
    let single: Vec<Frame> = bytes.iter().flat_map(|byte| decode(&mut decoder, &[*byte]).unwrap()).collect();
    assert_eq!(single, whole);
}

#[test]
fn answers_can_be_read_by_the_same_rules() {
    let (mut deflater, mut decoder) = (Deflater::new(), Decoder::new());
    for stream in [1, 3, 5] {
        assert_eq!(decode(&mut decoder, &accept(stream, &mut deflater)), Ok(Vec::new()));
    }
}

#[test]
fn broken_frames_are_refused_by_name() {
    let large = data(1, &vec![0; FRAME_BYTES_MAX + 1], false);
    assert_eq!(decode(&mut Decoder::new(), &large), Err(ProtocolError::TooLarge(FRAME_BYTES_MAX + 1)));
    let spdy_2 = [0x80, 2, 0, 1, 0, 0, 0, 0];
    assert_eq!(decode(&mut Decoder::new(), &spdy_2), Err(ProtocolError::Version(0x8002)));
    let short = control(SYN_STREAM, 0);
    assert_eq!(decode(&mut Decoder::new(), &short), Err(ProtocolError::Short(SYN_STREAM)));
    let mut no_zlib = control(SYN_STREAM, 14);
    no_zlib.put_slice(&[0; 10]);
    no_zlib.put_slice(b"abcd");
    assert!(matches!(decode(&mut Decoder::new(), &no_zlib), Err(ProtocolError::Headers(_))));
}

#[test]
fn a_block_that_unpacks_to_too_much_is_refused() {
    let mut packed = Vec::with_capacity(1 << 20);
    let mut compress = Compress::new(Compression::best(), true);
    compress.compress_vec(&vec![0; 16 << 20], &mut packed, FlushCompress::Sync).unwrap();
    let mut frame = control(SYN_STREAM, 10 + packed.len());
    frame.put_slice(&[0; 10]);
    frame.put_slice(&packed);
    let refused = Err(ProtocolError::Headers("they are too long"));
    assert_eq!(decode(&mut Decoder::new(), &frame), refused, "{} bytes", packed.len());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..250), kind in 0_u8..10) {
        drop(decode(&mut Decoder::new(), &bytes));
        // Random bytes seldom look like a control frame.
        let length = u8::try_from(bytes.len()).unwrap();
        let mut framed = vec![0x80, 3, 0, kind, 0, 0, 0, length];
        framed.extend_from_slice(&bytes);
        drop(decode(&mut Decoder::new(), &framed));
    }
}
