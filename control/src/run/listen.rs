//! Where a member listens, and where it says that it is reached.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

use super::StartError;
use crate::security::tls;

/// A bound listener, and its address as others are told.
pub(super) struct Listening {
    pub(super) listener: TcpListener,
    /// With the port that the kernel chose where none was named.
    pub(super) bound: SocketAddr,
    /// `host:port`
    pub(super) advertised: String,
}

impl Listening {
    /// Binds the API's address. One that stands for all of the machine's is reached through loopback, unless a host is
    /// named.
    pub(super) async fn api(address: SocketAddr, host: Option<&str>) -> Result<Listening, StartError> {
        let (listener, bound) = bind(address)?;
        let advertised = match host {
            Some(host) => advertise(host, bound.port()).await?,
            None => reached_at(bound).to_string(),
        };
        Ok(Listening { listener, bound, advertised })
    }

    /// Binds the address for other members, who are on other machines: they must be told one that means something
    /// there.
    pub(super) async fn peers(address: SocketAddr, host: Option<&str>) -> Result<Listening, StartError> {
        let advertised_port = |port| async move {
            match host {
                Some(host) => advertise(host, port).await,
                None => Ok(SocketAddr::new(address.ip(), port).to_string()),
            }
        };
        if host.is_none() && address.ip().is_unspecified() {
            return Err(StartError::Unspecified { address });
        }
        let (listener, bound) = bind(address)?;
        let advertised = advertised_port(bound.port()).await?;
        Ok(Listening { listener, bound, advertised })
    }
}

/// Binds, and says which port the kernel chose where none was named.
fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    TcpListener::from_std(listener).map(|listener| (listener, bound)).map_err(failed)
}

/// A host that others shall use must at least mean something here.
async fn advertise(host: &str, port: u16) -> Result<String, StartError> {
    let address = match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    };
    let resolved: io::Result<_> = tokio::net::lookup_host(&address).await.map(drop);
    resolved.map_err(|source| StartError::Advertise { host: host.to_owned(), source })?;
    Ok(address)
}

/// Where clients on this machine reach a listener: an unspecified address is reached through loopback.
fn reached_at(listener: SocketAddr) -> SocketAddr {
    match listener.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), listener.port()),
        _ => listener,
    }
}

/// What the API's certificate is for: the address listened on, loopback, the API's own Service address
/// (`default/kubernetes`), the names inside the cluster, and the host that others are told.
pub(super) fn certified(listen: IpAddr, service: Ipv4Addr, host: Option<&str>) -> (Vec<IpAddr>, Vec<&str>) {
    let mut ips = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(service)];
    let mut names = tls::API_NAMES.to_vec();
    let told = host.map(str::parse::<IpAddr>);
    for ip in [Some(listen), told.clone().and_then(Result::ok)].into_iter().flatten() {
        if !ips.contains(&ip) && !ip.is_unspecified() {
            ips.push(ip);
        }
    }
    if let (Some(host), Some(Err(_))) = (host, told) {
        names.push(host);
    }
    (ips, names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn other_members_are_told_an_address_that_means_something() {
        let any: SocketAddr = "0.0.0.0:0".parse().unwrap();
        let error = Listening::peers(any, None).await.err().expect("refused").to_string();
        assert!(error.contains("--advertise-address"), "{error}");
        let named = Listening::peers("127.0.0.1:0".parse().unwrap(), Some("localhost")).await.unwrap();
        assert_eq!(named.advertised, format!("localhost:{}", named.bound.port()));
        let plain = Listening::peers("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        assert_eq!(plain.advertised, plain.bound.to_string());
        let error = Listening::peers("127.0.0.1:0".parse().unwrap(), Some("no-such-host.invalid")).await;
        let error = error.err().expect("refused").to_string();
        assert!(error.contains("no-such-host.invalid"), "{error}");
    }

    #[test]
    fn the_certificate_is_for_what_others_are_told_too() {
        let (service, listen) = (Ipv4Addr::new(10, 43, 0, 1), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let (ips, names) = certified(listen, service, Some("cp1.example"));
        assert_eq!(ips, [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(service)]);
        assert!(names.contains(&"cp1.example"));
        let (ips, names) = certified(listen, service, Some("192.0.2.1"));
        assert!(ips.contains(&IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))) && !names.contains(&"192.0.2.1"));
    }
}
