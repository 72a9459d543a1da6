//! Sessions over a pipe, with a real listener where the pod would be.

use std::net::Ipv4Addr;

use futures::{SinkExt as _, StreamExt as _};
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use super::spdy::{Deflater, tests::open};
use super::*;

/// A pod that says every line again in capitals, and closes when the client has no more to say.
async fn pod() -> (Arc<Target>, u16) {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut piece = vec![0; 1 << 10];
                while let Ok(read @ 1..) = stream.read(&mut piece).await {
                    stream.write_all(&piece[..read].to_ascii_uppercase()).await.unwrap();
                }
            });
        }
    });
    (Arc::new(Target { pod: "ns/p".into(), address }), port)
}

/// A port where nobody listens.
async fn closed_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    listener.local_addr().unwrap().port()
}

async fn web_socket(protocol: Protocol, target: Arc<Target>) -> WebSocketStream<DuplexStream> {
    let (client, node) = tokio::io::duplex(1 << 16);
    tokio::spawn(serve(protocol, target, node));
    WebSocketStream::from_raw_socket(client, Role::Client, None).await
}

/// Frames of the node: (stream, bytes, is_last) of data frames, in the order of arrival, until `last` have ended.
async fn data_frames(socket: &mut WebSocketStream<DuplexStream>, last: usize) -> Vec<(u32, String, bool)> {
    let (mut bytes, mut frames) = (Vec::new(), Vec::new());
    while frames.iter().filter(|(_, _, is_last)| *is_last).count() < last {
        let message =
            tokio::time::timeout(Duration::from_secs(20), socket.next()).await.expect("a frame in time");
        bytes.extend_from_slice(&message.expect("the session goes on").unwrap().into_data());
        while let Some(prefix) = bytes.first_chunk::<8>().copied() {
            let length = u32::from_be_bytes([0, prefix[5], prefix[6], prefix[7]]) as usize;
            if bytes.len() < 8 + length {
                break;
            }
            let rest = bytes.split_off(8 + length);
            let frame = std::mem::replace(&mut bytes, rest);
            let stream = u32::from_be_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]);
            if stream >> 31 == 0 {
                frames.push((stream, String::from_utf8_lossy(&frame[8..]).into_owned(), prefix[4] == 1));
            }
        }
    }
    frames
}

fn opened(port: u16, deflater: &mut Deflater, error: u32, data: u32) -> Vec<u8> {
    let (port, request) = (port.to_string(), error.to_string());
    let headers = |kind| [("streamtype", kind), ("port", port.as_str()), ("requestid", request.as_str())];
    let mut bytes = open(deflater, error, &headers("error"));
    bytes.extend(open(deflater, data, &headers("data")));
    bytes
}

fn text_of(frames: &[(u32, String, bool)], stream: u32) -> String {
    frames.iter().filter(|(own, ..)| *own == stream).map(|(_, text, _)| text.as_str()).collect()
}

#[tokio::test]
async fn two_connections_share_a_session() {
    let (target, port) = pod().await;
    let mut socket = web_socket(Protocol::SpdyInWebSocket, target).await;
    let mut deflater = Deflater::new();
    let mut bytes = opened(port, &mut deflater, 1, 3);
    bytes.extend(opened(port, &mut deflater, 5, 7));
    bytes.extend(spdy::data(3, b"first", false));
    bytes.extend(spdy::data(7, b"second", true));
    bytes.extend(spdy::data(3, b", and more", true));
    // However the messages are cut.
    for piece in bytes.chunks(11) {
        socket.send(Message::binary(piece.to_vec())).await.unwrap();
    }
    let frames = data_frames(&mut socket, 4).await;
    assert_eq!(text_of(&frames, 3), "FIRST, AND MORE");
    assert_eq!(text_of(&frames, 7), "SECOND");
    assert_eq!(text_of(&frames, 1) + &text_of(&frames, 5), "");
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told_on_the_error_stream() {
    let (target, port) = pod().await;
    let closed = closed_port().await;
    let mut socket = web_socket(Protocol::SpdyInWebSocket, target).await;
    let mut deflater = Deflater::new();
    let bytes = opened(closed, &mut deflater, 1, 3);
    socket.send(Message::binary(bytes)).await.unwrap();
    let told = data_frames(&mut socket, 1).await;
    let expected = format!("error forwarding port {closed} to pod ns/p: Connection refused");
    assert!(text_of(&told, 1).starts_with(&expected), "{told:?}");
    // The session lives on.
    let mut bytes = opened(port, &mut deflater, 5, 7);
    bytes.extend(spdy::data(7, b"still here", true));
    socket.send(Message::binary(bytes)).await.unwrap();
    assert_eq!(text_of(&data_frames(&mut socket, 2).await, 7), "STILL HERE");
}

#[tokio::test]
async fn spdy_needs_no_web_socket_and_pings_are_answered() {
    let (target, _) = pod().await;
    let (mut client, node) = tokio::io::duplex(1 << 16);
    let served = tokio::spawn(serve(Protocol::Spdy, target, node));
    let ping = spdy::pong(5);
    client.write_all(&ping).await.unwrap();
    let mut answer = vec![0; ping.len()];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, ping);
    drop(client);
    served.await.expect("the session ends with its client");
}

#[tokio::test]
async fn channels_carry_one_connection_for_each_port() {
    let (target, port) = pod().await;
    let closed = closed_port().await;
    let mut socket = web_socket(Protocol::Channels(vec![port, closed]), target).await;
    socket.send(Message::binary(b"\0hello".to_vec())).await.unwrap();
    let mut said: Vec<Vec<u8>> = vec![Vec::new(); 4];
    while said[0].len() < 2 + 5 || said[3].len() <= 2 {
        let message = tokio::time::timeout(Duration::from_secs(20), socket.next()).await.expect("in time");
        let message = message.expect("the session goes on").unwrap().into_data();
        said[usize::from(message[0])].extend_from_slice(&message[1..]);
    }
    assert_eq!(said[0], [&port.to_le_bytes()[..], b"HELLO"].concat());
    assert_eq!(said[1], port.to_le_bytes());
    assert_eq!(said[2], closed.to_le_bytes());
    assert!(String::from_utf8_lossy(&said[3][2..]).starts_with("error forwarding port"), "{said:?}");
}

#[test]
fn the_protocol_is_the_first_of_the_clients_that_is_spoken() {
    let headers = |upgrade: &'static str, protocols: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::UPGRADE, HeaderValue::from_static(upgrade));
        headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        if !protocols.is_empty() {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocols));
        }
        headers
    };
    let spoken = |upgrade, protocols, query| agreed(&headers(upgrade, protocols), query);
    assert_eq!(spoken("SPDY/3.1", "", ""), Ok(Protocol::Spdy));
    assert_eq!(spoken("websocket", "x, SPDY/3.1+portforward.k8s.io", ""), Ok(Protocol::SpdyInWebSocket));
    let ports = Ok(Protocol::Channels(vec![80, 81, 82]));
    assert_eq!(spoken("WebSocket", "v4.channel.k8s.io", "ports=80&ports=81%2C82"), ports);
    for (upgrade, protocols, query, why) in [
        ("h2c", "", "", "needs a connection that is upgraded"),
        ("websocket", "", "", "no WebSocket protocol is offered"),
        ("websocket", "v9.channel.k8s.io", "", "v9.channel.k8s.io is not spoken"),
        ("websocket", "v4.channel.k8s.io", "", "the ports are missing"),
        ("websocket", "v4.channel.k8s.io", "ports=0", "\"0\" is no port"),
        ("websocket", "v4.channel.k8s.io", "ports=http", "\"http\" is no port"),
    ] {
        let told = spoken(upgrade, protocols, query).expect_err(protocols);
        assert!(told.contains(why), "{told}");
    }
}
