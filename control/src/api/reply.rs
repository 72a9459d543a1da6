//! Answers: from what a verb returns to an HTTP response.
//!
//! Verbs return a [`Reply`] or a [`Status`]; everything about headers, compression and indentation is here.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream::{BoxStream, StreamExt as _};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use isopod_spec::status::Status;

use crate::fairness::{Account, Lasting};

/// An error of a body that is being sent: the connection ends.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Body of an answer: whole, or a stream (large lists, watches, logs).
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// Answers smaller than this are not compressed: upstream's bound, below which it costs more than it saves.
const GZIP_BYTES_MIN: usize = 128 << 10;

/// Warnings beyond this many bytes in total are cut to [`WARNING_CHARS_MAX`] each, then left out.
const WARNINGS_BYTES_MAX: usize = 4 << 10;
const WARNING_CHARS_MAX: usize = 256;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The content of an answer.
pub(crate) enum Content {
    /// Known whole.
    Whole(Bytes),
    /// Made while it is sent; may be compressed.
    Chunks(BoxStream<'static, Result<Bytes, BoxError>>),
    /// Events or log lines that must reach the client as they come.
    Live(BoxStream<'static, Result<Bytes, BoxError>>),
}

/// What a verb answers.
pub(crate) struct Reply {
    /// HTTP status.
    pub(crate) code: StatusCode,
    /// `Content-Type`
    pub(crate) content_type: HeaderValue,
    /// Headers of this answer alone.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Texts for `Warning` headers.
    pub(crate) warnings: Vec<String>,
    /// The body.
    pub(crate) content: Content,
}

impl Reply {
    /// A JSON document.
    pub(crate) fn json(code: StatusCode, body: impl Into<Bytes>) -> Reply {
        Reply::of(code, JSON, Content::Whole(body.into()))
    }

    /// Plain text that no browser should take for anything else.
    pub(crate) fn text(code: StatusCode, body: impl Into<Bytes>) -> Reply {
        Reply::of(code, TEXT, Content::Whole(body.into()))
            .with(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
    }

    /// A Status as an answer.
    pub(crate) fn status(status: &Status) -> Reply {
        let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let reply = Reply::json(code, status.to_json());
        match status.retry_after_seconds() {
            Some(seconds) => reply.with(header::RETRY_AFTER, seconds.into()),
            None => reply,
        }
    }

    /// Any answer.
    pub(crate) fn of(code: StatusCode, content_type: HeaderValue, content: Content) -> Reply {
        Reply { code, content_type, headers: Vec::new(), warnings: Vec::new(), content }
    }

    /// The same with one more header.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Reply {
        self.headers.push((name, value));
        self
    }

    /// The same, counted as a request that lasts until its stream has ended.
    pub(crate) fn during(mut self, lasting: Lasting) -> Reply {
        if let Content::Live(stream) = self.content {
            let counted = stream.inspect(move |_| {
                let _ = &lasting;
            });
            self.content = Content::Live(counted.boxed());
        }
        self
    }

    /// The same with warnings for the client.
    pub(crate) fn warn(mut self, warnings: Vec<String>) -> Reply {
        self.warnings.extend(warnings);
        self
    }
}

/// How the client wants its answer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wishes {
    /// Indented JSON.
    pub(crate) pretty: bool,
    /// `Accept-Encoding: gzip`
    pub(crate) gzip: bool,
    /// HEAD: headers only.
    pub(crate) head: bool,
}

/// Turns an answer into an HTTP response, which counts on the caller's account until it was taken.
pub(crate) fn respond(
    reply: Reply,
    wishes: Wishes,
    audit_id: &HeaderValue,
    account: Option<&Arc<Account>>,
) -> Response<ResponseBody> {
    let Reply { code, content_type, headers, warnings, content } = reply;
    let content = if wishes.pretty && content_type == JSON { indented(content) } else { content };
    let (content, is_gzip) = if wishes.gzip { compressed(content) } else { (content, false) };
    let mut response = Response::new(body(content, wishes.head, account));
    *response.status_mut() = code;
    let out = response.headers_mut();
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    out.insert(header::CONTENT_TYPE, content_type);
    out.insert(HeaderName::from_static("audit-id"), audit_id.clone());
    if is_gzip {
        out.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        out.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    for (name, value) in headers {
        out.insert(name, value);
    }
    write_warnings(out, warnings);
    response
}

fn body(content: Content, head: bool, account: Option<&Arc<Account>>) -> ResponseBody {
    let counted = {
        let account = account.cloned();
        move |bytes| match &account {
            Some(account) => account.counted(bytes),
            None => bytes,
        }
    };
    match content {
        _ if head => Full::new(Bytes::new()).map_err(never).boxed_unsync(),
        Content::Whole(bytes) => Full::new(counted(bytes)).map_err(never).boxed_unsync(),
        Content::Chunks(stream) | Content::Live(stream) => {
            let frames = stream.map(move |chunk| chunk.map(|bytes| Frame::data(counted(bytes))));
            StreamBody::new(frames).boxed_unsync()
        }
    }
}

fn never(error: Infallible) -> BoxError {
    match error {}
}

fn compressed(content: Content) -> (Content, bool) {
    match content {
        Content::Whole(bytes) if bytes.len() >= GZIP_BYTES_MIN => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
            encoder.write_all(&bytes).and_then(|()| encoder.finish()).map_or_else(
                |_| (Content::Whole(bytes), false),
                |zipped| (Content::Whole(zipped.into()), true),
            )
        }
        Content::Chunks(stream) => (Content::Chunks(zip(stream)), true),
        other => (other, false),
    }
}

/// Compresses a stream chunk by chunk; what the compressor holds back goes out with the next chunk.
fn zip(stream: BoxStream<'static, Result<Bytes, BoxError>>) -> BoxStream<'static, Result<Bytes, BoxError>> {
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    futures::stream::unfold(Some((stream, encoder)), |state| async {
        let (mut stream, mut encoder) = state?;
        loop {
            match stream.next().await {
                None => {
                    let last = encoder.finish().map(Bytes::from).map_err(Into::into);
                    return Some((last, None));
                }
                Some(Err(error)) => return Some((Err(error), None)),
                Some(Ok(chunk)) => {
                    if let Err(error) = encoder.write_all(&chunk) {
                        return Some((Err(error.into()), None));
                    }
                    let ready = std::mem::take(encoder.get_mut());
                    if !ready.is_empty() {
                        return Some((Ok(ready.into()), Some((stream, encoder))));
                    }
                }
            }
        }
    })
    .boxed()
}

/// Indents whole documents; what streams stays as it is.
fn indented(content: Content) -> Content {
    match content {
        Content::Whole(bytes) => Content::Whole(indent(&bytes).into()),
        other => other,
    }
}

/// JSON with two spaces per level, as Go's `json.Indent` writes it.
fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    };
    for (at, &byte) in json.iter().enumerate() {
        if in_text {
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            out.push(byte);
            continue;
        }
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                depth += 1;
                if !matches!(json.get(at + 1), Some(b'}' | b']')) {
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !matches!(out.last(), Some(b'{' | b'[')) {
                    line(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            byte => {
                in_text = byte == b'"';
                out.push(byte);
            }
        }
    }
    out.push(b'\n');
    out
}

fn write_warnings(headers: &mut HeaderMap, warnings: Vec<String>) {
    let total: usize = warnings.iter().map(String::len).sum();
    let mut written = 0;
    let mut seen: Vec<String> = Vec::new();
    for text in warnings {
        let text: String = match total > WARNINGS_BYTES_MAX {
            true => text.chars().take(WARNING_CHARS_MAX).collect(),
            false => text,
        };
        if seen.contains(&text) || written + text.len() > WARNINGS_BYTES_MAX * 4 {
            continue;
        }
        written += text.len();
        let quoted: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .flat_map(|c| matches!(c, '"' | '\\').then_some('\\').into_iter().chain([c]))
            .collect();
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            headers.append(header::WARNING, value);
        }
        seen.push(text);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn warnings(texts: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        write_warnings(&mut headers, texts.iter().map(|text| (*text).to_owned()).collect());
        let values = headers.get_all(header::WARNING).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }

    #[test]
    fn warnings_are_quoted_said_once_and_bounded() {
        assert_eq!(warnings(&["a \"b\"\n", "x", "x"]), [r#"299 - "a \"b\" ""#, r#"299 - "x""#]);
        let long = "y".repeat(5000);
        assert_eq!(warnings(&[&long])[0].len(), WARNING_CHARS_MAX + r#"299 - """#.len());
    }

    #[test]
    fn json_is_indented_as_go_does() {
        let json = br#"{"a":[1,{"b":"x:{,\"}"}],"c":{},"d":[]}"#;
        let expected = "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x:{,\\\"}\"\n    }\n  ],\n  \"c\": {},\n  \"d\": []\n}\n";
        assert_eq!(String::from_utf8(indent(json)).expect("UTF-8"), expected);
    }

    #[tokio::test]
    async fn large_answers_are_zipped_whole_and_in_chunks() {
        let large = Bytes::from(vec![b'a'; GZIP_BYTES_MIN]);
        let parts = vec![Ok(large.slice(..10)), Ok(large.slice(10..))];
        let chunks = Content::Chunks(futures::stream::iter(parts).boxed());
        for content in [Content::Whole(large.clone()), chunks] {
            let (content, is_gzip) = compressed(content);
            assert!(is_gzip);
            let zipped = body(content, false, None).collect().await.expect("a body").to_bytes();
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&*zipped).read_to_end(&mut plain).expect("gzip");
            assert_eq!(plain, large);
        }
        assert!(!compressed(Content::Whole(Bytes::from_static(b"small"))).1);
    }
}
