//! Which hosts outside the cluster pods may send requests to. None, unless a rule says so.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The hosts that pods may reach outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Egress {
    rules: Vec<EgressRule>,
}

/// Hosts and a port: `api.example.com`, `*.example.com:443`, `192.0.2.7:8080`, `[2001:db8::1]`, `*`.
///
/// A rule of a name never leads to this host, its link or an unspecified address, whatever the name resolves
/// to: such an address has to be named itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressRule {
    host: Hosts,
    /// Any, if none.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    Any,
    /// Those whose names end in this, with its leading dot.
    Below(String),
    Name(String),
    Addr(IpAddr),
}

/// A text that is no egress rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an egress rule like api.example.com:443, *.example.com or 192.0.2.7:8080")]
pub struct InvalidEgressRule {
    text: String,
}

impl Egress {
    /// Egress by these rules: what one of them allows is allowed.
    pub fn new(rules: Vec<EgressRule>) -> Egress {
        Egress { rules }
    }

    /// Whether a request to this host may leave. The host is as in a URI, without brackets.
    pub(crate) fn allows(&self, host: &str, port: u16) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.port.is_none_or(|allowed| allowed == port) && rule.host.matches(host))
    }

    /// Whether a connection to this address may be made for an allowed name.
    pub(crate) fn allows_resolved(addr: IpAddr) -> bool {
        is_outside(addr)
    }
}

impl Hosts {
    fn matches(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match (self, host.parse::<IpAddr>()) {
            (Hosts::Addr(allowed), Ok(addr)) => *allowed == addr,
            (Hosts::Any, Ok(addr)) => is_outside(addr),
            (Hosts::Any, Err(_)) => true,
            (Hosts::Name(name), Err(_)) => name.eq_ignore_ascii_case(host),
            (Hosts::Below(domain), Err(_)) => {
                host.len() > domain.len()
                    && host
                        .get(host.len() - domain.len()..)
                        .is_some_and(|end| end.eq_ignore_ascii_case(domain))
            }
            (Hosts::Name(_) | Hosts::Below(_), Ok(_)) | (Hosts::Addr(_), Err(_)) => false,
        }
    }
}

/// Whether the address is neither of this host nor of its link (where cloud metadata services are).
fn is_outside(addr: IpAddr) -> bool {
    match addr.to_canonical() {
        IpAddr::V4(addr) => {
            !(addr.is_loopback() || addr.is_link_local() || addr.is_unspecified() || addr.is_broadcast())
        }
        IpAddr::V6(addr) => !(addr.is_loopback() || addr.is_unicast_link_local() || addr.is_unspecified()),
    }
}

impl FromStr for EgressRule {
    type Err = InvalidEgressRule;

    fn from_str(text: &str) -> Result<EgressRule, InvalidEgressRule> {
        parse(text).ok_or_else(|| InvalidEgressRule { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<EgressRule> {
    let (host, port) = match text.parse::<IpAddr>() {
        Ok(_) => (text, None),
        Err(_) => match text.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => {
                (host, Some(port.parse().ok().filter(|port| *port != 0)?))
            }
            _ => (text, None),
        },
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_name = |name: &str| {
        !name.is_empty()
            && name.split('.').all(|label| {
                !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            })
    };
    let host = match (host, host.strip_prefix("*.")) {
        ("*", _) => Hosts::Any,
        (_, Some(domain)) if is_name(domain) => Hosts::Below(format!(".{domain}")),
        (host, None) => match host.parse() {
            Ok(addr) => Hosts::Addr(addr),
            Err(_) if is_name(host) => Hosts::Name(host.to_owned()),
            Err(_) => return None,
        },
        _ => return None,
    };
    Some(EgressRule { host, port })
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Hosts::Any => write!(f, "*")?,
            Hosts::Below(domain) => write!(f, "*{domain}")?,
            Hosts::Name(name) => write!(f, "{name}")?,
            Hosts::Addr(IpAddr::V6(addr)) if self.port.is_some() => write!(f, "[{addr}]")?,
            Hosts::Addr(addr) => write!(f, "{addr}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_allow_what_they_name_and_nothing_else() {
        let table = [
            ("api.example.com", "api.example.com", 80, true),
            ("api.example.com", "API.example.com.", 443, true),
            ("api.example.com", "www.example.com", 80, false),
            ("api.example.com:443", "api.example.com", 80, false),
            ("*.example.com", "api.example.com", 80, true),
            ("*.example.com", "a.b.example.com", 80, true),
            ("*.example.com", "example.com", 80, false),
            ("*.example.com", "badexample.com", 80, false),
            ("*", "api.example.com", 80, true),
            ("*", "192.0.2.7", 80, true),
            ("192.0.2.7:8080", "192.0.2.7", 8080, true),
            ("192.0.2.7:8080", "192.0.2.8", 8080, false),
            ("2001:db8::1", "2001:db8::1", 80, true),
            ("[2001:db8::1]:80", "2001:db8::1", 80, true),
            // This host and its link have to be named.
            ("*", "127.0.0.1", 80, false),
            ("*", "169.254.169.254", 80, false),
            ("*", "::1", 80, false),
            ("*", "::ffff:127.0.0.1", 80, false),
            ("*", "0.0.0.0", 80, false),
            ("127.0.0.1:9000", "127.0.0.1", 9000, true),
        ];
        for (rule, host, port, expected) in table {
            let parsed: EgressRule = rule.parse().unwrap();
            assert_eq!(parsed.to_string(), rule);
            assert_eq!(Egress::new(vec![parsed]).allows(host, port), expected, "{rule}: {host}:{port}");
        }
        assert!(!Egress::default().allows("api.example.com", 80));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in ["", "http://a", "a b", "a:0", "a:70000", "*.", "a..b", "*.*.a", "a/b", "[a]b"] {
            assert!(text.parse::<EgressRule>().is_err(), "{text}");
        }
    }
}
