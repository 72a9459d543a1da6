//! A pod's ports on the machine: whoever connects to the pod's address is carried into the pod's network.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::namespace::Namespace;
use crate::proxy::{Sharing, bind};

/// Connections of one port at a time; more wait in the kernel.
const CONNECTIONS: usize = 512;
/// Without a file descriptor left, accepting rests this long.
const REST: Duration = Duration::from_millis(50);

/// A port that is open. Dropping it closes the port and its connections.
#[derive(Debug)]
pub struct OpenPort {
    _task: AbortOnDropHandle<()>,
}

impl OpenPort {
    /// Opens a port of the pod's address on this machine, which leads to the same in the pod's network.
    pub fn open(addr: SocketAddr, network: Arc<Namespace>) -> io::Result<Self> {
        let listener = bind(addr, Sharing::Alone)?;
        Ok(Self { _task: AbortOnDropHandle::new(tokio::spawn(accept(listener, addr, network))) })
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, network: Arc<Namespace>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS {
            connections.join_next().await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, peer)) => {
                connections.spawn(carry(stream, peer.ip(), to, network.clone()));
            }
            Err(error) => {
                tracing::debug!(%to, %error, "a connection was not accepted");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

async fn carry(mut client: TcpStream, from: IpAddr, to: SocketAddr, network: Arc<Namespace>) {
    let carried = async {
        let mut pod = network.connect(to, source(from)).await?;
        client.set_nodelay(true)?;
        copy_bidirectional(&mut client, &mut pod).await
    };
    if let Err(error) = carried.await {
        tracing::debug!(%from, %to, %error, "a connection into a pod ended early");
    }
}

/// Who calls, as the pod sees it: any loopback address is one of its network too.
pub(crate) fn source(from: IpAddr) -> Option<IpAddr> {
    Some(from).filter(IpAddr::is_loopback)
}
