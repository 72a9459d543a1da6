//! The way into a container's network: sockets opened there and used from here.
//!
//! A socket belongs to the network namespace of the thread that opens it, and stays there whoever uses it. One thread
//! of the process, which does nothing else, enters the namespace asked for and opens the socket.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock, mpsc};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::oneshot;

/// Connections that wait to be accepted, for each listener.
const BACKLOG: i32 = 128;
/// Sockets that wait to be opened; who wants more waits.
const QUEUE: usize = 256;

/// A network that is not the machine's own.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

type Job = Box<dyn FnOnce() + Send>;

impl Namespace {
    /// The network that the process `pid` is in.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        Ok(Self { file: File::open(format!("/proc/{pid}/ns/net"))? })
    }

    /// Whether this process may enter other networks: it tries with its own.
    pub async fn may_enter() -> io::Result<()> {
        let own = Arc::new(Self { file: File::open("/proc/self/ns/net")? });
        own.within(|| Ok(())).await
    }

    /// Connects to an address in there, from `source` if one is given.
    pub async fn connect(
        self: &Arc<Self>,
        addr: SocketAddr,
        source: Option<IpAddr>,
    ) -> io::Result<TcpStream> {
        let socket = self.within(move || tcp(addr)).await?;
        if let Some(source) = source.filter(|source| source.is_ipv4() == addr.is_ipv4()) {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        let stream = TcpSocket::from_std_stream(socket.into()).connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Listens on an address in there.
    pub async fn listen(self: &Arc<Self>, addr: SocketAddr) -> io::Result<TcpListener> {
        let socket = self.within(move || tcp(addr)).await?;
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    }

    /// Takes datagrams at an address in there.
    pub async fn datagrams(self: &Arc<Self>, addr: SocketAddr) -> io::Result<UdpSocket> {
        let open =
            move || Socket::new(Domain::for_address(addr), Type::DGRAM.nonblocking(), Some(Protocol::UDP));
        let socket = self.within(open).await?;
        socket.bind(&addr.into())?;
        UdpSocket::from_std(socket.into())
    }

    /// Runs `open` on the thread that has entered this network.
    async fn within<T: Send + 'static>(
        self: &Arc<Self>,
        open: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, opened) = oneshot::channel();
        let namespace = Arc::clone(self);
        let job: Job = Box::new(move || {
            let entered = move_into_link_name_space(namespace.file.as_fd(), Some(LinkNameSpaceType::Network));
            // Who asked may have given up.
            answer.send(entered.map_err(io::Error::from).and_then(|()| open())).ok();
        });
        // A full queue is worked off in microseconds.
        let gone = |_| io::Error::other("the thread that enters networks has ended");
        doorman()?.send(job).map_err(gone)?;
        opened.await.map_err(io::Error::other)?
    }
}

fn tcp(addr: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))
}

/// The loopback address, which every namespace has.
pub const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The thread that enters. It lives as long as the process, as it must never do anything else.
fn doorman() -> io::Result<&'static mpsc::SyncSender<Job>> {
    static DOORMAN: OnceLock<mpsc::SyncSender<Job>> = OnceLock::new();
    if let Some(known) = DOORMAN.get() {
        return Ok(known);
    }
    let (sender, jobs) = mpsc::sync_channel::<Job>(QUEUE);
    std::thread::Builder::new().name("namespaces".to_owned()).spawn(move || {
        for job in jobs {
            job();
        }
    })?;
    Ok(DOORMAN.get_or_init(|| sender))
}
