//! The name of an artifact: the SHA-256 of its bytes, spelled as registries do.

use sha2::{Digest as _, Sha256};

/// `sha256:` and 64 lower-case hexadecimal digits. Safe as a file name by that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Digest(String);

const PREFIX: &str = "sha256:";

impl Digest {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix(PREFIX)?;
        let digits = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (hex.len() == 64 && digits).then(|| Self(text.to_owned()))
    }

    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(format!("{PREFIX}{}", hex(&Sha256::digest(bytes))))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_spelling_of_registries_is_a_digest() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), empty);
        assert_eq!(Digest::parse(empty), Some(Digest::of(b"")));
        for text in
            ["", "sha256:", "sha256:../../x", &empty.to_uppercase(), &empty[..70], &format!("{empty}0")]
        {
            assert_eq!(Digest::parse(text), None, "{text}");
        }
    }
}
