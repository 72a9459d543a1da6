//! Hostile clients against a whole member: each is cut off or held to its bound, and whoever means well is served
//! meanwhile.

mod raw;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use self::raw::{Frame, PREFACE};
use crate::membership::token::AuthorityHash;
use crate::run::{Beginning, Config, Limits, Member};
use crate::security::CertificateAuthority;
use crate::security::ca::{self, Subject};
use crate::security::tls;

/// Longest wait for something that must happen.
const DEADLINE: Duration = Duration::from_secs(60);

/// A member in this process.
struct Host {
    address: SocketAddr,
    authority: CertificateAuthority,
    shutdown: CancellationToken,
    running: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Host {
    async fn start() -> Arc<Host> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let member = Box::pin(Member::start(Config {
            data_dir: folder.path().to_owned(),
            beginning: Beginning::Found,
            listen: any,
            listen_peers: None,
            advertise: None,
            name: None,
            service_cidr: None,
            node_certificate_life: Duration::from_secs(3600),
            limits: Limits::default(),
        }))
        .await
        .expect("a member in an empty folder");
        let authority = CertificateAuthority::load_or_create(folder.path()).expect("the member's own");
        let (address, shutdown) = (member.api_address(), CancellationToken::new());
        let stop = shutdown.clone();
        let running =
            tokio::spawn(async move { member.run(stop).await.expect("it works until it is stopped") });
        let host = Host { address, authority, shutdown, running: Some(running), _folder: folder };
        while host.ask("/readyz").await != Some(StatusCode::OK) {
            tokio::task::yield_now().await;
        }
        Arc::new(host)
    }

    async fn stop(self: Arc<Host>) {
        self.shutdown.cancel();
        let host = Arc::into_inner(self).expect("nobody else has it any more");
        host.running.expect("it runs").await.expect("no panic");
    }

    /// TLS as this user, or as nobody.
    fn tls(&self, user: Option<&Subject>, protocol: &[u8]) -> Arc<ClientConfig> {
        let mut config = match user {
            Some(user) => {
                let issued = self.authority.issue_client(user).expect("issued");
                let own = tls::Own::new(ca::LIFE, move || Ok(issued.clone())).expect("sound");
                tls::client(self.authority.certificate_pem(), own).expect("a client")
            }
            None => {
                tls::pinned_client(AuthorityHash::of(&self.authority.certificate_der())).expect("a client")
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        Arc::new(config)
    }

    async fn connect(&self, tls: Arc<ClientConfig>) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        let name = ServerName::try_from(tls::API_NAME).expect("a name");
        TlsConnector::from(tls).connect(name, stream).await.expect("TLS works")
    }

    async fn stranger(&self, protocol: &[u8]) -> TlsStream<TcpStream> {
        self.connect(self.tls(None, protocol)).await
    }

    /// What the administrator is answered, on a connection of its own.
    async fn ask(&self, path: &str) -> Option<StatusCode> {
        self.answer(path).await.ok()
    }

    async fn answer(&self, path: &str) -> Result<StatusCode, hyper::Error> {
        let stream = self.connect(self.tls(Some(&Subject::admin()), b"http/1.1")).await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::get(path).header("host", "isopod").body(Empty::<bytes::Bytes>::new());
        let answer = sender.send_request(request.expect("a request")).await?;
        let status = answer.status();
        answer.into_body().collect().await?;
        drop(sender);
        connection.await.expect("no panic")?;
        Ok(status)
    }
}

/// Reads until the member closes the connection; what came.
async fn closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut came = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut came)).await;
    // A connection that is cut ends as well as one that is closed.
    drop(read.expect("the member closes the connection"));
    came
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_say_nothing_or_half_of_it_are_closed() {
    let host = Host::start().await;
    let silent = async {
        let mut silent = TcpStream::connect(host.address).await.expect("it listens");
        closed(&mut silent).await;
    };
    let after_tls = join_all([b"http/1.1".as_slice(), b"h2"].map(|protocol| {
        let host = &host;
        async move { closed(&mut host.stranger(protocol).await).await }
    }));
    let half_a_header = async {
        let mut stream = host.stranger(b"http/1.1").await;
        stream.write_all(b"GET /version HTTP/1.1\r\nhost: a\r\nx-").await.expect("taken");
        closed(&mut stream).await;
    };
    let only_settings = async {
        let mut stream = host.stranger(b"h2").await;
        stream.write_all(&[PREFACE, &Frame::settings().bytes()].concat()).await.expect("taken");
        closed(&mut stream).await;
    };
    tokio::join!(silent, after_tls, half_a_header, only_settings);
    assert_eq!(host.ask("/readyz").await, Some(StatusCode::OK));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_headers_are_refused() {
    let host = Host::start().await;
    let many: String = (0..200).map(|number| format!("x-{number}: a\r\n")).collect();
    let long = format!("x-long: {}\r\n", "a".repeat(128 << 10));
    for header in [many, long] {
        let mut stream = host.stranger(b"http/1.1").await;
        let request = format!("GET /version HTTP/1.1\r\nhost: a\r\n{header}\r\n");
        // The member may close before it has taken everything.
        drop(stream.write_all(request.as_bytes()).await);
        let answer = String::from_utf8_lossy(&closed(&mut stream).await).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    // Continuations without an end.
    let mut stream = host.stranger(b"h2").await;
    let begin = [PREFACE, &Frame::settings().bytes(), &Frame::unended_headers(1).bytes()].concat();
    stream.write_all(&begin).await.expect("taken");
    let part = Frame::continuation(1, 16 << 10).bytes();
    for _ in 0..10_000 {
        if stream.write_all(&part).await.is_err() {
            break;
        }
    }
    closed(&mut stream).await;
    assert_eq!(host.ask("/readyz").await, Some(StatusCode::OK));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_keep_nobody_from_being_served() {
    let host = Host::start().await;
    let resets = |stream: u32| {
        let id = 2 * stream + 1;
        [Frame::get_root(id).bytes(), Frame::reset(id).bytes()].concat()
    };
    let pings = |_| Frame::ping().bytes();
    let settings = |_| Frame::settings().bytes();
    let floods: [&(dyn Fn(u32) -> Vec<u8> + Sync); 3] = [&resets, &pings, &settings];
    let floods = join_all(floods.map(|frame| {
        let host = &host;
        async move {
            let (mut reader, mut writer) = tokio::io::split(host.stranger(b"h2").await);
            let flood = async {
                writer.write_all(&[PREFACE, &Frame::settings().bytes()].concat()).await?;
                for number in 0..20_000 {
                    writer.write_all(&frame(number)).await?;
                }
                writer.flush().await
            };
            // The member ends it in the middle, or when nothing comes any more.
            let (_, answers) = tokio::join!(flood, closed(&mut reader));
            assert!(answers.len() < 4 << 20, "{} bytes for a flood", answers.len());
        }
    }));
    let served = async {
        for _ in 0..20 {
            assert_eq!(host.ask("/readyz").await, Some(StatusCode::OK));
        }
    };
    tokio::join!(floods, served);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_of_too_many_strangers_are_pushed_out_and_others_come_in() {
    let host = Host::start().await;
    let mut silent = Vec::new();
    for _ in 0..super::STRANGERS_MAX + 50 {
        silent.push(TcpStream::connect(host.address).await.expect("it listens"));
    }
    assert_eq!(host.ask("/readyz").await, Some(StatusCode::OK));
    closed(&mut silent[0]).await;
    drop(silent);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_watches_are_open_at_once_and_each_hears_of_a_change() {
    const CONNECTIONS: usize = 20;
    const WATCHES: usize = 500;
    let host = Host::start().await;
    let before = resident_mib();
    let tls = host.tls(Some(&Subject::admin()), b"h2");
    let (mut senders, mut watches) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        let stream = TokioIo::new(host.connect(Arc::clone(&tls)).await);
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2 works");
        tokio::spawn(connection);
        for _ in 0..WATCHES {
            let path = format!("https://{}/api/v1/namespaces/default/configmaps?watch=1", host.address);
            let request = Request::get(path).body(Empty::<bytes::Bytes>::new()).expect("a request");
            sender.ready().await.expect("room for a stream");
            let answer = sender.send_request(request).await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::OK);
            watches.push(answer.into_body());
        }
        senders.push(sender);
    }
    let grown = resident_mib().saturating_sub(before);
    // Client and server together; what is measured is printed by the benchmarks.
    assert!(grown < 600, "10,000 watches take {grown} MiB");
    let path = format!("https://{}/api/v1/namespaces/default/configmaps", host.address);
    let object = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"news"}}"#;
    let request = Request::post(path).header("content-type", "application/json");
    let request = request.body(http_body_util::Full::new(bytes::Bytes::from_static(object.as_bytes())));
    let stream = TokioIo::new(host.connect(tls).await);
    let (mut writer, connection) =
        http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2 works");
    tokio::spawn(connection);
    let created = writer.send_request(request.expect("a request")).await.expect("an answer");
    assert_eq!(created.status(), StatusCode::CREATED, "a write takes its turn beside all watches");
    let heard = join_all(watches.iter_mut().map(async |watch| {
        let mut text = String::new();
        while !text.contains("\"news\"") {
            let frame = watch.frame().await.expect("it goes on").expect("sound").into_data().expect("data");
            text.push_str(&String::from_utf8_lossy(&frame));
        }
    }));
    tokio::time::timeout(DEADLINE, heard).await.expect("everybody hears of it");
    drop((watches, senders, writer));
    host.stop().await;
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it says how much");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}
