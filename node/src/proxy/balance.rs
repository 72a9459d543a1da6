//! Which endpoint takes a request: a pure choice.
//!
//! The less loaded of two taken at random comes close to the best choice without looking at all of them
//! (Mitzenmacher, "The power of two choices in randomized load balancing"). Clients with affinity get the
//! endpoint of the highest hash of both (rendezvous hashing): without any memory, a client keeps its endpoint
//! until that one goes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// An endpoint as the balancer sees it; the order is that of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Has this many requests.
    Fit(u32),
    /// Has failed lately, and this many requests: taken only where no other is fit.
    Ejected(u32),
    /// Cannot be taken: gone, or tried before.
    Unusable,
}

/// Picks one of `len` endpoints by load.
pub(crate) fn least_loaded(len: usize, random: u64, state: impl Fn(usize) -> State) -> Option<usize> {
    let (first, second) = two_of(len, random)?;
    let (a, b) = (state(first), state(second));
    if let State::Fit(_) = a.min(b) {
        return Some(if b < a { second } else { first });
    }
    // Both drawn are ejected or gone, which is rare: look at all, from a random one on.
    best(len, first, state)
}

/// Picks the endpoint that belongs to this client.
pub(crate) fn by_client(
    len: usize,
    client: IpAddr,
    addr: impl Fn(usize) -> SocketAddr,
    state: impl Fn(usize) -> State,
) -> Option<usize> {
    let rank = |state| match state {
        State::Fit(_) => Some(1),
        State::Ejected(_) => Some(0),
        State::Unusable => None,
    };
    // With the keys the standard library gives a new `DefaultHasher`, all nodes of a version agree.
    let hash = |index| {
        let mut hasher = DefaultHasher::new();
        (client, addr(index)).hash(&mut hasher);
        hasher.finish()
    };
    (0..len)
        .filter_map(|index| Some((rank(state(index))?, hash(index), index)))
        .max()
        .map(|(_, _, index)| index)
}

/// Two different indexes below `len`, or twice the same if there is but one.
fn two_of(len: usize, random: u64) -> Option<(usize, usize)> {
    let count = u32::try_from(len).unwrap_or(u32::MAX);
    if count == 0 {
        return None;
    }
    let below = |word: u64, bound: u32| ((word & 0xffff_ffff) * u64::from(bound)) >> 32;
    let first = below(random, count);
    let second =
        if count == 1 { first } else { (first + 1 + below(random >> 32, count - 1)) % u64::from(count) };
    // Both are below `len`, a usize.
    Some((first as usize, second as usize))
}

fn best(len: usize, first: usize, state: impl Fn(usize) -> State) -> Option<usize> {
    (first..len)
        .chain(0..first)
        .map(|index| (state(index), index))
        .filter(|(state, _)| *state != State::Unusable)
        .min_by_key(|(state, _)| *state)
        .map(|(_, index)| index)
}

#[cfg(test)]
mod tests {
    use super::State::{Ejected, Fit, Unusable};
    use super::*;

    /// The choices that occur over all draws, in order.
    fn choices(states: &[State]) -> Vec<usize> {
        let draws = (0..64_u64).flat_map(|a| (0..64_u64).map(move |b| (a << 26) | (b << 58)));
        let mut all: Vec<usize> =
            draws.filter_map(|draw| least_loaded(states.len(), draw, |index| states[index])).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn the_less_loaded_of_two_is_taken() {
        let table: [(&[State], &[usize]); 9] = [
            (&[], &[]),
            (&[Fit(7)], &[0]),
            (&[Fit(0), Fit(0), Fit(0)], &[0, 1, 2]),
            // The most loaded is never the better of two.
            (&[Fit(1), Fit(9), Fit(2)], &[0, 2]),
            (&[Fit(3), Ejected(0)], &[0]),
            // None of them fit: rather one that failed lately than none.
            (&[Ejected(2), Ejected(1)], &[1]),
            (&[Unusable, Unusable, Unusable, Fit(9)], &[3]),
            (&[Unusable, Ejected(1), Unusable], &[1]),
            (&[Unusable, Unusable], &[]),
        ];
        for (states, expected) in table {
            assert_eq!(choices(states), expected, "{states:?}");
        }
    }

    #[test]
    fn draws_are_even() {
        let mut counts = [0_u32; 5];
        let mut random: u64 = 1;
        for _ in 0..50_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            counts[least_loaded(5, random, |_| Fit(0)).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
    }

    fn of_client(last: u8, states: &[State]) -> Option<usize> {
        let addr = |index| SocketAddr::from(([127, 42, 0, u8::try_from(index).unwrap()], 80));
        by_client(states.len(), IpAddr::from([127, 0, 0, last]), addr, |index| states[index])
    }

    #[test]
    fn clients_keep_their_endpoint_when_another_goes() {
        let all = [Fit(0); 8];
        for client in 0..=255 {
            let own = of_client(client, &all).unwrap();
            for gone in (0..8).filter(|index| *index != own) {
                let mut states = all;
                states[gone] = Unusable;
                assert_eq!(of_client(client, &states), Some(own));
            }
        }
    }

    #[test]
    fn clients_spread_and_move_only_if_they_must() {
        let used: std::collections::HashSet<_> =
            (0..=255).map(|client| of_client(client, &[Fit(0); 4])).collect();
        assert_eq!(used.len(), 4);
        assert_eq!(of_client(1, &[Unusable, Ejected(0), Unusable, Fit(9)]), Some(3));
        assert_eq!(of_client(1, &[Unusable, Ejected(0), Unusable, Unusable]), Some(1));
        assert_eq!(of_client(1, &[Unusable; 4]), None);
    }
}
