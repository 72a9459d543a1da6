//! A position in JSON text: reads one token at a time, allocates nothing, and says what is wrong in the words of
//! Go's `encoding/json`.

use std::borrow::Cow;

use super::MAX_DEPTH;

// Keys and strings are read inline, always: their results are copied otherwise, which takes half as long again for
// a whole body (measured with a pod of 3 KB).

/// A place in JSON text. The text before it was valid.
#[derive(Clone, Debug)]
pub struct Cursor<'j> {
    text: &'j str,
    position: usize,
}

/// What is wrong with the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    position: usize,
    context: &'static str,
}

/// A JSON string as it stands in the text, without its quotes.
#[derive(Clone, Copy, Debug)]
pub struct RawStr<'j> {
    /// Between the quotes.
    pub raw: &'j str,
    /// Whether `raw` holds a backslash.
    pub escaped: bool,
}

/// That the cursor is between the brackets of an array or object.
#[derive(Clone, Copy, Debug)]
pub struct Inside {
    /// Nothing was read there yet.
    first: bool,
}

/// What a value is, told by its first character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// A digit or a minus.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`
    Null,
}

impl Start {
    /// What Go calls such a value.
    pub fn word(self) -> &'static str {
        match self {
            Start::Object => "object",
            Start::Array => "array",
            Start::String => "string",
            Start::Number => "number",
            Start::Bool => "bool",
            Start::Null => "null",
        }
    }
}

const VALUE: &str = "looking for beginning of value";
const KEY: &str = "looking for beginning of object key string";

impl<'j> Cursor<'j> {
    /// At the beginning of `text`.
    pub fn new(text: &'j str) -> Cursor<'j> {
        Cursor { text, position: 0 }
    }

    /// The next byte, or 0 at the end (a byte that no token begins with).
    fn byte(&self) -> u8 {
        self.text.as_bytes().get(self.position).copied().unwrap_or(0)
    }

    fn skip_space(&mut self) {
        while matches!(self.byte(), b' ' | b'\n' | b'\t' | b'\r') {
            self.position += 1;
        }
    }

    fn fault<T>(&self, context: &'static str) -> Result<T, Fault> {
        Err(Fault { position: self.position, context })
    }

    /// Goes to the next value and says what it is.
    #[inline]
    pub fn start(&mut self) -> Result<Start, Fault> {
        self.skip_space();
        match self.byte() {
            b'{' => Ok(Start::Object),
            b'[' => Ok(Start::Array),
            b'"' => Ok(Start::String),
            b'-' | b'0'..=b'9' => Ok(Start::Number),
            b't' | b'f' => Ok(Start::Bool),
            b'n' => Ok(Start::Null),
            _ => self.fault(VALUE),
        }
    }

    /// Goes into the array or object at the cursor, which has `depth` others around it.
    ///
    /// # Errors
    /// It would nest too deep.
    pub fn enter(&mut self, depth: usize) -> Result<Inside, Fault> {
        if depth >= MAX_DEPTH {
            return self.fault("exceeded max depth");
        }
        self.position += 1;
        Ok(Inside { first: true })
    }

    /// Reads the next key of an object and its colon, or the object's end (`None`).
    ///
    /// # Errors
    /// The object is not well formed here.
    #[inline(always)]
    pub fn key(&mut self, inside: &mut Inside) -> Result<Option<RawStr<'j>>, Fault> {
        let first = std::mem::take(&mut inside.first);
        self.skip_space();
        match self.byte() {
            b'}' => {
                self.position += 1;
                return Ok(None);
            }
            b',' if !first => {
                self.position += 1;
                self.skip_space();
            }
            _ if !first => return self.fault("after object key:value pair"),
            _ => {}
        }
        if self.byte() != b'"' {
            return self.fault(KEY);
        }
        let key = self.string()?;
        self.skip_space();
        if self.byte() != b':' {
            return self.fault("after object key");
        }
        self.position += 1;
        Ok(Some(key))
    }

    /// Goes to the next item of an array (true) or past its end (false).
    ///
    /// # Errors
    /// The array is not well formed here.
    #[inline]
    pub fn item(&mut self, inside: &mut Inside) -> Result<bool, Fault> {
        let first = std::mem::take(&mut inside.first);
        self.skip_space();
        match self.byte() {
            b']' => {
                self.position += 1;
                Ok(false)
            }
            b',' if !first => {
                self.position += 1;
                Ok(true)
            }
            _ if first => Ok(true),
            _ => self.fault("after array element"),
        }
    }

    /// Reads a string; the cursor must be at its quote.
    #[inline(always)]
    pub fn string(&mut self) -> Result<RawStr<'j>, Fault> {
        self.position += 1;
        let start = self.position;
        let mut escaped = false;
        loop {
            self.skip_plain();
            match self.byte() {
                b'"' => {
                    let raw = &self.text[start..self.position];
                    self.position += 1;
                    return Ok(RawStr { raw, escaped });
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return self.fault("in string literal"),
            }
        }
    }

    /// Goes to the next quote, backslash, control character or the end, eight bytes at a time.
    #[inline(always)]
    fn skip_plain(&mut self) {
        const ONES: u64 = u64::from_ne_bytes([1; 8]);
        const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
        let bytes = self.text.as_bytes();
        while let Some(chunk) = bytes.get(self.position..).and_then(<[u8]>::first_chunk::<8>) {
            let word = u64::from_le_bytes(*chunk);
            let zero = |word: u64| word.wrapping_sub(ONES) & !word;
            let control = word.wrapping_sub(ONES * 0x20) & !word;
            let quote = zero(word ^ (ONES * u64::from(b'"')));
            let backslash = zero(word ^ (ONES * u64::from(b'\\')));
            let found = (control | quote | backslash) & HIGHS;
            if found != 0 {
                self.position += (found.trailing_zeros() / 8) as usize;
                return;
            }
            self.position += 8;
        }
        while !matches!(self.byte(), 0..0x20 | b'"' | b'\\') {
            self.position += 1;
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.position += 1;
        match self.byte() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.position += 1,
            b'u' => {
                self.position += 1;
                for _ in 0..4 {
                    if !self.byte().is_ascii_hexdigit() {
                        return self.fault("in \\u hexadecimal character escape");
                    }
                    self.position += 1;
                }
            }
            _ => return self.fault("in string escape code"),
        }
        Ok(())
    }

    /// Reads a number; the cursor must be at its first character.
    #[inline]
    pub fn number(&mut self) -> Result<&'j str, Fault> {
        let start = self.position;
        if self.byte() == b'-' {
            self.position += 1;
        }
        match self.byte() {
            b'0' => self.position += 1,
            b'1'..=b'9' => self.digits(),
            _ => return self.fault("in numeric literal"),
        }
        if self.byte() == b'.' {
            self.position += 1;
            if !self.byte().is_ascii_digit() {
                return self.fault("after decimal point in numeric literal");
            }
            self.digits();
        }
        if matches!(self.byte(), b'e' | b'E') {
            self.position += 1;
            if matches!(self.byte(), b'+' | b'-') {
                self.position += 1;
            }
            if !self.byte().is_ascii_digit() {
                return self.fault("in exponent of numeric literal");
            }
            self.digits();
        }
        Ok(&self.text[start..self.position])
    }

    fn digits(&mut self) {
        while self.byte().is_ascii_digit() {
            self.position += 1;
        }
    }

    /// Reads `true`, `false` or `null`; the cursor must be at its first character.
    pub fn literal(&mut self) -> Result<(), Fault> {
        let steps: &[(u8, &'static str)] = match self.byte() {
            b't' => &[
                (b'r', "in literal true (expecting 'r')"),
                (b'u', "in literal true (expecting 'u')"),
                (b'e', "in literal true (expecting 'e')"),
            ],
            b'f' => &[
                (b'a', "in literal false (expecting 'a')"),
                (b'l', "in literal false (expecting 'l')"),
                (b's', "in literal false (expecting 's')"),
                (b'e', "in literal false (expecting 'e')"),
            ],
            _ => &[
                (b'u', "in literal null (expecting 'u')"),
                (b'l', "in literal null (expecting 'l')"),
                (b'l', "in literal null (expecting 'l')"),
            ],
        };
        self.position += 1;
        for (expected, context) in steps {
            if self.byte() != *expected {
                return self.fault(context);
            }
            self.position += 1;
        }
        Ok(())
    }

    /// Reads a value of any type. `depth` counts the arrays and objects around it.
    pub fn skip(&mut self, depth: usize) -> Result<(), Fault> {
        match self.start()? {
            Start::Object => {
                let mut inside = self.enter(depth)?;
                while self.key(&mut inside)?.is_some() {
                    self.skip(depth + 1)?;
                }
            }
            Start::Array => {
                let mut inside = self.enter(depth)?;
                while self.item(&mut inside)? {
                    self.skip(depth + 1)?;
                }
            }
            Start::String => drop(self.string()?),
            Start::Number => drop(self.number()?),
            Start::Bool | Start::Null => self.literal()?,
        }
        Ok(())
    }

    /// Fails if anything but space follows.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.position == self.text.len() { Ok(()) } else { self.fault("after top-level value") }
    }

    /// How many bytes of the text were read.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The text read since `earlier`, which was at a place before this.
    pub fn since(&self, earlier: &Cursor<'j>) -> &'j str {
        self.text[earlier.position..self.position].trim_ascii()
    }

    /// A fault in Go's words.
    pub fn describe(&self, fault: Fault) -> String {
        match self.text.as_bytes().get(fault.position) {
            None => "unexpected end of JSON input".to_owned(),
            Some(b'\'') => format!(r"invalid character '\'' {}", fault.context),
            Some(b'"') => format!("invalid character '\"' {}", fault.context),
            Some(&byte) => {
                format!("invalid character '{}' {}", char::from(byte).escape_debug(), fault.context)
            }
        }
    }
}

impl<'j> RawStr<'j> {
    /// The string that the text stands for. Half a surrogate pair becomes U+FFFD, as in Go.
    pub fn unescape(self) -> Cow<'j, str> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        let mut text = String::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Some((plain, escape)) = rest.split_once('\\') {
            text.push_str(plain);
            let (character, length) = unescape_one(escape);
            text.push(character);
            rest = escape.get(length..).unwrap_or_default();
        }
        text.push_str(rest);
        Cow::Owned(text)
    }
}

/// The character that an escape stands for, and the length of the escape after its backslash.
fn unescape_one(escape: &str) -> (char, usize) {
    let unit = |at: usize| escape.get(at..at + 4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
    match escape.as_bytes().first() {
        Some(b'b') => ('\u{8}', 1),
        Some(b'f') => ('\u{c}', 1),
        Some(b'n') => ('\n', 1),
        Some(b'r') => ('\r', 1),
        Some(b't') => ('\t', 1),
        Some(b'u') => {
            let first = unit(1).unwrap_or(0xfffd);
            let second = if escape.get(5..7) == Some("\\u") { unit(7) } else { None };
            let pair = second.map(|second| [first, second]);
            match pair.and_then(|pair| char::decode_utf16(pair).next()) {
                Some(Ok(character)) if character.len_utf16() == 2 => (character, 11),
                _ => (char::from_u32(u32::from(first)).unwrap_or(char::REPLACEMENT_CHARACTER), 5),
            }
        }
        Some(&byte) => (char::from(byte), 1),
        None => (char::REPLACEMENT_CHARACTER, 0),
    }
}
