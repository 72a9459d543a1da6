//! Addresses of this node's pods: each is given once, and a freed one comes up again as late as possible, so that
//! nobody who still remembers a pod talks to another in its place.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::proxy::Range;

/// The addresses of a range, given out one after the other.
#[derive(Debug)]
pub struct Addresses {
    first: u32,
    last: u32,
    next: u32,
    taken: HashSet<u32>,
}

impl Addresses {
    /// All of an IPv4 range but its first and last address, which in a routed network are not a host's. `None` for
    /// another family or a range without room.
    pub fn new(range: &Range) -> Option<Self> {
        let (IpAddr::V4(first), bits @ 0..=30) = (range.first(), range.bits()) else { return None };
        let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
        let network = first.to_bits() & mask;
        let (first, last) = (network + 1, (network | !mask) - 1);
        Some(Self { first, last, next: first, taken: HashSet::new() })
    }

    /// How many there are in all.
    pub fn capacity(&self) -> u32 {
        self.last - self.first + 1
    }

    /// Takes an address that a pod has from before. False if another has it or it is not of this range.
    pub fn reserve(&mut self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else { return false };
        let bits = address.to_bits();
        (self.first..=self.last).contains(&bits) && self.taken.insert(bits)
    }

    /// Gives the next free address; `None` when all are taken.
    pub fn assign(&mut self) -> Option<IpAddr> {
        if self.taken.len() >= self.capacity() as usize {
            return None;
        }
        loop {
            let candidate = self.next;
            self.next = if candidate == self.last { self.first } else { candidate + 1 };
            if self.taken.insert(candidate) {
                return Some(IpAddr::V4(Ipv4Addr::from_bits(candidate)));
            }
        }
    }

    /// Takes back the address of a pod that is gone.
    pub fn release(&mut self, address: IpAddr) {
        if let IpAddr::V4(address) = address {
            self.taken.remove(&address.to_bits());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(range: &str) -> Addresses {
        Addresses::new(&range.parse().unwrap()).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn no_address_is_given_twice_and_freed_ones_come_last() {
        let mut addresses = addresses("127.42.0.0/29");
        assert_eq!(addresses.capacity(), 6);
        assert_eq!(addresses.assign(), Some(ip("127.42.0.1")));
        assert_eq!(addresses.assign(), Some(ip("127.42.0.2")));
        addresses.release(ip("127.42.0.1"));
        let rest: Vec<_> = std::iter::from_fn(|| addresses.assign()).collect();
        let want = ["127.42.0.3", "127.42.0.4", "127.42.0.5", "127.42.0.6", "127.42.0.1"].map(ip);
        assert_eq!(rest, want);
    }

    #[test]
    fn an_address_from_before_is_kept_once() {
        let mut addresses = addresses("127.42.0.0/29");
        assert!(addresses.reserve(ip("127.42.0.1")));
        assert!(!addresses.reserve(ip("127.42.0.1")), "another pod has it");
        assert!(!addresses.reserve(ip("127.42.0.0")), "the network's own");
        assert!(!addresses.reserve(ip("10.0.0.1")), "of another range");
        assert_eq!(addresses.assign(), Some(ip("127.42.0.2")));
    }

    #[test]
    fn ranges_without_room_are_refused() {
        for range in ["127.42.0.0/31", "127.42.0.1/32", "fd00::/64"] {
            assert!(Addresses::new(&range.parse().unwrap()).is_none(), "{range}");
        }
        assert_eq!(addresses("127.42.0.0/16").capacity(), 65_534);
    }
}
