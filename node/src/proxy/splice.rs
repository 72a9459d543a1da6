//! Connections whose bytes are not ours to read: passed on to one endpoint, both ways, until both ends are
//! done.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::endpoint::InFlight;
use super::path::DataPath;
use super::routes::Route;
use crate::local::Caller;

/// Endpoints tried before the client's connection is closed.
const MAX_ATTEMPTS: usize = 3;

/// Bytes under way in each direction: enough for a fast link, little beside the kernel's own buffers.
const BUFFER_BYTES: usize = 16 * 1024;

/// How long a connection goes on once its listener is gone.
const GRACE: Duration = Duration::from_secs(30);

/// Connects to an endpoint of the route and passes bytes on.
pub(crate) async fn splice(
    path: &DataPath,
    route: Route,
    mut client: TcpStream,
    peer: SocketAddr,
    stop: CancellationToken,
) {
    let Some((mut server, _in_flight)) = connect(path, &route, peer).await else { return };
    let copy = copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER_BYTES, BUFFER_BYTES);
    // Dropping the copy closes both connections, which is what an end by force means.
    tokio::select! {
        ended = copy => {
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "connection ended early");
            }
        }
        () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => {}
    }
}

async fn connect(path: &DataPath, route: &Route, peer: SocketAddr) -> Option<(TcpStream, InFlight)> {
    let caller = Caller { addr: peer.ip() };
    let mut tried = Vec::new();
    while tried.len() < MAX_ATTEMPTS
        && let Some(endpoint) = path.pick(route, caller, &tried)
    {
        let in_flight = endpoint.enter();
        if path.is_service_address(endpoint.addr) {
            tried.push(endpoint.addr);
            continue;
        }
        match path.connector.open(endpoint.addr, path.source_for(caller.addr)).await {
            Ok(stream) => {
                endpoint.reached();
                return Some((stream, in_flight));
            }
            Err(error) => {
                path.eject(&endpoint);
                path.metrics.retries.inc();
                tracing::debug!(service = %route.port.service, endpoint = %endpoint.addr, %error, "cannot connect");
                tried.push(endpoint.addr);
            }
        }
    }
    tracing::debug!(service = %route.port.service, "no endpoint takes the connection");
    None
}
