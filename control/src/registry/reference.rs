//! Repository names, tags and digests, by the grammar of the distribution specification.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::error::Error;

/// Longest repository name: room for a host name in front within 255 characters.
const NAME_MAX: usize = 200;
/// Longest tag.
const TAG_MAX: usize = 128;

/// A valid repository name: path components of lower-case letters, digits and single separators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryName(String);

impl RepositoryName {
    pub(super) fn parse(name: &str) -> Result<RepositoryName, Error> {
        let valid = name.len() <= NAME_MAX && name.split('/').all(component_is_valid);
        if valid { Ok(RepositoryName(name.into())) } else { Err(Error::name_invalid(name)) }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn component_is_valid(component: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends = bytes.first().is_some_and(alphanumeric) && bytes.last().is_some_and(alphanumeric);
    let separators = bytes
        .split(alphanumeric)
        .all(|run| matches!(run, b"" | b"." | b"_" | b"__") || run.iter().all(|byte| *byte == b'-'));
    ends && separators
}

/// A SHA-256 digest, `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Digest(String);

impl Digest {
    pub(super) fn parse(text: &str) -> Result<Digest, Error> {
        let Some(hex) = text.strip_prefix("sha256:") else {
            return Err(Error::digest_invalid(format!(
                "{text:?} is not a sha256 digest (sha256:<64 hex digits>)"
            )));
        };
        let valid = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if valid {
            Ok(Digest(text.into()))
        } else {
            Err(Error::digest_invalid(format!("{text:?} is not a sha256 digest (sha256:<64 hex digits>)")))
        }
    }

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::finish(Sha256::new_with_prefix(bytes))
    }

    pub(super) fn finish(hasher: Sha256) -> Digest {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in hasher.finalize() {
            write!(text, "{byte:02x}").expect("writing to a string");
        }
        Digest(text)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reference {
    Tag(String),
    Digest(Digest),
}

impl Reference {
    pub(super) fn parse(text: &str) -> Result<Reference, Error> {
        if text.contains(':') {
            return Digest::parse(text).map(Reference::Digest);
        }
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let first = text.bytes().next().is_some_and(word);
        let rest = text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if first && rest && text.len() <= TAG_MAX {
            Ok(Reference::Tag(text.into()))
        } else {
            Err(Error::tag_invalid(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for good in ["app", "a/b/c", "a.b", "a_b", "a__b", "a---b", "0"] {
            assert!(RepositoryName::parse(good).is_ok(), "{good}");
        }
        for bad in
            ["", "/", "a/", "A", "-a", "a-", "a..b", "a___b", "a._b", "../x", "a/../b", &"a".repeat(201)]
        {
            assert!(RepositoryName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn references_are_tags_or_digests() {
        assert_eq!(Reference::parse("v1.2-rc_3"), Ok(Reference::Tag("v1.2-rc_3".into())));
        let digest = Digest::of(b"");
        assert_eq!(
            digest.as_str(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(Reference::parse(digest.as_str()), Ok(Reference::Digest(digest.clone())));
        for bad in ["", ".a", "-a", "a/b", "sha256:abc", "md5:abc", &"a".repeat(129)] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
    }
}
