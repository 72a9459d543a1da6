//! `wasi:sockets/ip-name-lookup` for guests: the names of the cluster, as the proxy knows them, and no others. The
//! host's resolver is never asked.

use std::net::IpAddr;

use wasmtime::component::{Accessor, Resource};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{self, ResolveAddressStream};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddress, Network};
use wasmtime_wasi::p2::{DynPollable, Pollable, SocketError, SocketResult, subscribe};
use wasmtime_wasi::p3::bindings::sockets as p3;
use wasmtime_wasi::sockets::WasiSocketsView as _;

use super::guest::{Guest, HasGuest};

/// Addresses still to be handed out. Known at once, so it is always ready.
struct Addresses(std::vec::IntoIter<IpAddr>);

#[async_trait]
impl Pollable for Addresses {
    async fn ready(&mut self) {}
}

impl Guest {
    fn resolve(&self, name: &str) -> Option<Vec<IpAddr>> {
        let literal = name.trim_start_matches('[').trim_end_matches(']').parse().ok();
        literal.map(|addr| vec![addr]).or_else(|| self.grants.outbound.resolve(&self.grants.pod, name))
    }
}

impl p3::ip_name_lookup::Host for Guest {}

impl<T: 'static> p3::ip_name_lookup::HostWithStore<T> for HasGuest {
    async fn resolve_addresses(
        guest: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<p3::types::IpAddress>, p3::ip_name_lookup::ErrorCode>> {
        let addresses = guest.with(|mut guest| guest.get().resolve(&name));
        let addresses = addresses.ok_or(p3::ip_name_lookup::ErrorCode::NameUnresolvable);
        Ok(addresses.map(|found| found.into_iter().map(Into::into).collect()))
    }
}

impl ip_name_lookup::Host for Guest {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> SocketResult<Resource<ResolveAddressStream>> {
        // The network handle is the right to ask.
        self.table.get(&network)?;
        let addresses = self.resolve(&name).ok_or(SocketError::from(ErrorCode::NameUnresolvable))?;
        Ok(foreign(self.table.push(Addresses(addresses.into_iter()))?))
    }
}

impl ip_name_lookup::HostResolveAddressStream for Guest {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> SocketResult<Option<IpAddress>> {
        Ok(self.table.get_mut(&own(&stream))?.0.next().map(IpAddress::from))
    }

    fn subscribe(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(&mut self.table, own(&stream))
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        self.table.delete(own(&stream))?;
        Ok(())
    }
}

// The bindings name a stream type that only wasmtime can make. A handle is but an index into the table, and every
// use of these handles is here, so ours stand in for it.
fn foreign(stream: Resource<Addresses>) -> Resource<ResolveAddressStream> {
    Resource::new_own(stream.rep())
}

fn own(stream: &Resource<ResolveAddressStream>) -> Resource<Addresses> {
    if stream.owned() { Resource::new_own(stream.rep()) } else { Resource::new_borrow(stream.rep()) }
}

// Only what the lookup needs of the network interface; guests get wasmtime's.
impl network::Host for Guest {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        self.sockets().convert_error_code(error)
    }

    fn network_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        self.sockets().network_error_code(error)
    }
}

impl network::HostNetwork for Guest {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.sockets(), network)
    }
}
