//! Questions for addresses in the format of DNS (RFC 1035), answered one packet for one.

use std::net::IpAddr;

const HEADER: usize = 12;
/// The time that an answer may be kept, in seconds: a Service's pods come and go.
const TTL: u32 = 5;
/// Addresses in one answer, so that it fits the 512 bytes that every client takes.
const ADDRESSES: usize = 15;
const A: u16 = 1;
const AAAA: u16 = 28;
const IN: u16 = 1;
/// "This name does not exist", "this is not implemented", "this is no question".
const NO_NAME: u8 = 3;
const NOT_IMPLEMENTED: u8 = 4;
const FORMAT: u8 = 1;

/// The answer to a packet; `None` for what is no question at all. `resolve` gives the addresses of a name, which ends
/// with a dot.
pub(crate) fn answer(packet: &[u8], resolve: impl Fn(&str) -> Option<Vec<IpAddr>>) -> Option<Vec<u8>> {
    // An answer must not be answered, or two servers could keep each other busy.
    if packet.len() < HEADER || packet[2] & 0x80 != 0 {
        return None;
    }
    if packet[2] & 0x78 != 0 {
        return Some(head(packet, &[], NOT_IMPLEMENTED, 0));
    }
    let Some((name, end)) = question(packet) else { return Some(head(packet, &[], FORMAT, 0)) };
    let number = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let (kind, class, asked) = (number(end), number(end + 2), &packet[HEADER..end + 4]);
    let Some(addresses) = resolve(&name).filter(|_| class == IN) else {
        return Some(head(packet, asked, NO_NAME, 0));
    };
    let fitting = addresses.into_iter().filter(|addr| match kind {
        A => addr.is_ipv4(),
        AAAA => addr.is_ipv6(),
        _ => false,
    });
    let fitting: Vec<IpAddr> = fitting.take(ADDRESSES).collect();
    let mut out = head(packet, asked, 0, u16::try_from(fitting.len()).unwrap_or(0));
    for address in fitting {
        // The name is the one at the question.
        out.extend_from_slice(&[0xc0, HEADER as u8]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&IN.to_be_bytes());
        out.extend_from_slice(&TTL.to_be_bytes());
        match address {
            IpAddr::V4(address) => {
                out.extend_from_slice(&4_u16.to_be_bytes());
                out.extend_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                out.extend_from_slice(&16_u16.to_be_bytes());
                out.extend_from_slice(&address.octets());
            }
        }
    }
    Some(out)
}

/// The name that is asked for, and where it ends. Names in questions are never compressed.
fn question(packet: &[u8]) -> Option<(String, usize)> {
    if packet[4..6] != [0, 1] {
        return None;
    }
    let (mut name, mut at) = (String::new(), HEADER);
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = packet.get(at..at + length).filter(|_| length < 64)?;
        name.push_str(std::str::from_utf8(label).ok()?);
        name.push('.');
        at += length;
    }
    (packet.len() >= at + 4).then_some((name, at))
}

fn head(packet: &[u8], asked: &[u8], code: u8, answers: u16) -> Vec<u8> {
    let mut out = packet[..2].to_vec();
    // An authoritative answer, also to who wanted others asked: there are none.
    out.extend_from_slice(&[0x84 | (packet[2] & 0x01), 0x80 | code]);
    out.extend_from_slice(&u16::from(!asked.is_empty()).to_be_bytes());
    out.extend_from_slice(&answers.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(asked);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str, kind: u16) -> Vec<u8> {
        let mut packet = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            packet.push(u8::try_from(label.len()).unwrap());
            packet.extend_from_slice(label.as_bytes());
        }
        packet.push(0);
        packet.extend_from_slice(&kind.to_be_bytes());
        packet.extend_from_slice(&IN.to_be_bytes());
        packet
    }

    fn known(name: &str) -> Option<Vec<IpAddr>> {
        (name == "web.shop.svc.cluster.local.").then(|| vec!["127.43.0.9".parse().unwrap()])
    }

    #[test]
    fn a_known_name_is_answered_with_its_addresses() {
        let asked = ask("web.shop.svc.cluster.local", A);
        let answer = answer(&asked, known).unwrap();
        assert_eq!(answer[..4], [7, 9, 0x85, 0x80]);
        assert_eq!(answer[4..8], [0, 1, 0, 1]);
        assert_eq!(answer[HEADER..asked.len()], asked[HEADER..]);
        assert!(answer.ends_with(&[0, 4, 127, 43, 0, 9]));
    }

    #[test]
    fn a_name_without_addresses_of_a_kind_exists_all_the_same() {
        let answer = answer(&ask("web.shop.svc.cluster.local", AAAA), known).unwrap();
        assert_eq!((answer[3] & 0x0f, answer[7]), (0, 0));
    }

    #[test]
    fn an_unknown_name_does_not_exist() {
        assert_eq!(answer(&ask("nobody", A), known).unwrap()[3] & 0x0f, NO_NAME);
    }

    #[test]
    fn what_is_no_question_does_no_harm() {
        let asked = ask("web", A);
        for length in 0..asked.len() {
            if let Some(answer) = answer(&asked[..length], known) {
                assert_eq!(answer[3] & 0x0f, FORMAT);
            }
        }
        let mut an_answer = asked.clone();
        an_answer[2] |= 0x80;
        assert_eq!(answer(&an_answer, known), None);
    }
}
