//! A range of addresses, as `127.42.0.0/16`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// All addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: IpAddr,
    bits: u8,
}

/// A text that is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a range of addresses like 127.42.0.0/16")]
pub struct InvalidRange {
    text: String,
}

impl Range {
    /// The address it was written with.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// How many leading bits its addresses share.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether the address is in the range; never, if it is of the other family.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.first, addr) {
            (IpAddr::V4(first), IpAddr::V4(addr)) => {
                (first.to_bits() ^ addr.to_bits()).leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(first), IpAddr::V6(addr)) => {
                (first.to_bits() ^ addr.to_bits()).leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

impl FromStr for Range {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Range, InvalidRange> {
        let parsed = text.split_once('/').and_then(|(first, bits)| {
            let first: IpAddr = first.parse().ok()?;
            let bits: u8 = bits.parse().ok()?;
            (bits <= if first.is_ipv4() { 32 } else { 128 }).then_some(Range { first, bits })
        });
        parsed.ok_or_else(|| InvalidRange { text: text.to_owned() })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_addresses_that_share_their_first_bits() {
        let table = [
            ("127.42.0.0/16", "127.42.255.1", true),
            ("127.42.0.0/16", "127.43.0.0", false),
            ("127.42.0.0/16", "::1", false),
            ("10.0.0.0/0", "192.168.0.1", true),
            ("127.0.0.1/32", "127.0.0.1", true),
            ("127.0.0.1/32", "127.0.0.0", false),
            ("fd00:1::/32", "fd00:1:2::3", true),
            ("fd00:1::/32", "fd00:2::", false),
        ];
        for (range, addr, expected) in table {
            let parsed: Range = range.parse().unwrap();
            assert_eq!(parsed.contains(addr.parse().unwrap()), expected, "{addr} in {range}");
            assert_eq!(parsed.to_string(), range);
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "127.0.0.1", "127.0.0.1/33", "::/129", "a/8", "127.0.0.1/-1"] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
    }
}
