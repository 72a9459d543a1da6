//! The joining machine's side: ask a member, over TLS whose authority is the one that the token names.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::protocol::{JOIN, JoinAnswer, JoinRequest, NODES, NodeAnswer, NodeRequest};
use super::token::AuthorityHash;
use crate::security::tls;

/// Time for each part: to connect, to shake hands, to be answered.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The member that is asked tries to reach this one, and waits for a majority.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a machine asks that got no answer, or was told that none can be given now; and the wait between.
const TRIES_MAX: usize = 5;
const RETRY: Duration = Duration::from_secs(1);
/// An answer has two PEM texts and a list of members.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why a machine did not become a member or node. Nothing was written here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name has no address.
    #[error("cannot resolve {server}: host:port of the API of a member is wanted")]
    Resolve {
        /// What was given.
        server: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("cannot connect to {server}: host:port of the API of a running member is wanted")]
    Connect {
        /// What was given.
        server: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else answers there, or the clocks differ too much.
    #[error("{server} is not trusted")]
    Handshake {
        /// What was given.
        server: String,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("{server} did not answer the request")]
    Http {
        /// What was given.
        server: String,
        /// What happened.
        #[source]
        source: hyper::Error,
    },
    /// It took too long.
    #[error("{server} did not answer in time")]
    TimedOut {
        /// What was given.
        server: String,
    },
    /// It said no.
    #[error("{server} refused: {message}")]
    Refused {
        /// What was given.
        server: String,
        /// Why.
        message: String,
    },
    /// It said that it cannot now: it knows no leader, for instance.
    #[error("{server} cannot let anybody in now: {message}")]
    Busy {
        /// What was given.
        server: String,
        /// Why.
        message: String,
    },
    /// It said something else.
    #[error("{server} gave an answer that is none: is it the API of an Isopod member of the same release?")]
    Answer {
        /// What was given.
        server: String,
    },
    /// TLS cannot be set up here.
    #[error("cannot set up TLS")]
    Tls(#[from] tls::Error),
}

impl Error {
    /// Whether the answer is lost, or may be another one soon.
    fn may_pass(&self) -> bool {
        matches!(self, Error::Http { .. } | Error::TimedOut { .. } | Error::Busy { .. })
    }
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// Asks `server` (`host:port`) to be let in as a member; again when the answer is lost: the key in the request tells the
/// cluster that it is the same machine, whose token may be used up by then.
pub async fn join(
    server: &str,
    authority: AuthorityHash,
    request: &JoinRequest,
) -> Result<JoinAnswer, Error> {
    let mut tries = 1;
    loop {
        match ask(server, authority, JOIN, request).await {
            Err(error) if error.may_pass() && tries < TRIES_MAX => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "no answer yet: the cluster is asked again"
                );
            }
            Err(Error::Connect { .. }) if (2..TRIES_MAX).contains(&tries) => {}
            answer => return answer,
        }
        tries += 1;
        tokio::time::sleep(RETRY).await;
    }
}

/// Asks `server` (`host:port`) to be let in as a node.
pub async fn join_as_node(
    server: &str,
    authority: AuthorityHash,
    request: &NodeRequest,
) -> Result<NodeAnswer, Error> {
    ask(server, authority, NODES, request).await
}

async fn ask<A: DeserializeOwned>(
    server: &str,
    authority: AuthorityHash,
    path: &str,
    request: &impl Serialize,
) -> Result<A, Error> {
    let body = serde_json::to_vec(request).expect("a request has only strings and numbers");
    let named = || server.to_owned();
    let late = |_| Error::TimedOut { server: named() };
    let addresses: Vec<_> = tokio::net::lookup_host(server)
        .await
        .map_err(|source| Error::Resolve { server: named(), source })?
        .collect();
    let stream =
        tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&*addresses)).await.map_err(late)?;
    let stream = stream.map_err(|source| Error::Connect { server: named(), source })?;
    let connector = TlsConnector::from(Arc::new(tls::pinned_client(authority)?));
    let name = ServerName::try_from(tls::API_NAME).expect("a fixed name");
    let handshake =
        tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(name, stream)).await.map_err(late)?;
    let stream = handshake.map_err(|source| Error::Handshake { server: named(), source })?;
    let (code, body) =
        tokio::time::timeout(ANSWER_TIMEOUT, exchange(server, stream, path, body)).await.map_err(late)??;
    if !code.is_success() {
        let message = match serde_json::from_slice(&body) {
            Ok(Refusal { message }) => message,
            Err(_) => format!("it answered {code}"),
        };
        let is_busy = code.is_server_error() || code == http::StatusCode::TOO_MANY_REQUESTS;
        let server = named();
        return Err(if is_busy {
            Error::Busy { server, message }
        } else {
            Error::Refused { server, message }
        });
    }
    serde_json::from_slice(&body).map_err(|_| Error::Answer { server: named() })
}

async fn exchange(
    server: &str,
    stream: tokio_rustls::client::TlsStream<TcpStream>,
    path: &str,
    body: Vec<u8>,
) -> Result<(http::StatusCode, Bytes), Error> {
    let failed = |source| Error::Http { server: server.to_owned(), source };
    let request = Request::post(path)
        .header(header::HOST, server)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| Error::Answer { server: server.to_owned() })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let talk = async {
        let answer = sender.send_request(request).await.map_err(failed)?;
        let code = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|_| Error::Answer { server: server.to_owned() })?;
        Ok((code, body.to_bytes()))
    };
    tokio::pin!(talk);
    // Cancel-safe: the answer is waited for below when the connection ends first.
    tokio::select! {
        answer = &mut talk => answer,
        ended = connection => match ended {
            Ok(()) => talk.await,
            Err(source) => Err(failed(source)),
        },
    }
}
