//! A request to some member that stays open for as long as this process lives: when its connection closes, the cluster need
//! not wait until a Lease runs out.
//!
//! An API of another make does not know the path; then there is only the Lease, as with any node.

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Wait before it is tried again, doubled each time.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Longest first line of an answer.
const LINE_BYTES_MAX: usize = 256;

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It was open for a while.
    Lost,
    /// It could not be opened.
    Refused,
    /// The API knows of no such thing.
    Unknown,
}

/// Keeps a connection until `shutdown`, and tells its number, `None` while there is none.
pub(super) async fn keep(
    client: kube::Client,
    node: String,
    told: watch::Sender<Option<String>>,
    shutdown: CancellationToken,
) {
    let mut wait = RETRY_MIN;
    loop {
        let ended = shutdown.run_until_cancelled(connect(&client, &node, &told)).await;
        told.send_if_modified(|number| number.take().is_some());
        match ended {
            Some(End::Lost) => wait = RETRY_MIN,
            Some(End::Refused) => wait = (wait * 2).min(RETRY_MAX),
            Some(End::Unknown) => return shutdown.cancelled().await,
            None => return,
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
    }
}

async fn connect(client: &kube::Client, node: &str, told: &watch::Sender<Option<String>>) -> End {
    let request = Request::get(format!("/isopod/v1/nodes/{node}/connection")).body(Body::empty());
    let Ok(request) = request else { return End::Unknown };
    let answer = match client.send(request).await {
        Ok(answer) if answer.status() == StatusCode::NOT_FOUND => return End::Unknown,
        Ok(answer) if answer.status().is_success() => answer,
        Ok(answer) => {
            tracing::debug!(status = %answer.status(), "the node's connection is refused");
            return End::Refused;
        }
        Err(error) => {
            tracing::debug!(%error, "the node has no connection");
            return End::Refused;
        }
    };
    let mut body = Box::pin(answer.into_body());
    let mut line = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        if told.borrow().is_some() {
            continue;
        }
        line.extend_from_slice(&data);
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            let number = String::from_utf8_lossy(&line[..end]).into_owned();
            told.send_replace(Some(number));
        } else if line.len() > LINE_BYTES_MAX {
            return End::Unknown;
        }
    }
    End::Lost
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::StreamExt;
    use http::Response;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    /// An API that refuses the first request, and whose answers begin in two pieces; each later one ends when its token
    /// is cancelled.
    fn client(cut: CancellationToken) -> kube::Client {
        let asked = Arc::new(AtomicU32::new(0));
        let service = tower::service_fn(move |_: Request<Body>| {
            let (turn, cut) = (asked.fetch_add(1, Ordering::Relaxed), cut.clone());
            async move {
                let pieces = ["num".to_owned(), format!("ber-{turn}\n")];
                let pieces = futures::stream::iter(
                    pieces.map(|piece| Ok::<_, Infallible>(Frame::data(bytes::Bytes::from(piece)))),
                );
                let rest = futures::stream::once(async move {
                    match turn {
                        1 => cut.cancelled().await,
                        _ => std::future::pending().await,
                    }
                });
                let body = StreamBody::new(pieces.chain(rest.filter_map(|()| std::future::ready(None))));
                let mut response = Response::new(body);
                if turn == 0 {
                    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                }
                Ok::<_, Infallible>(response)
            }
        });
        kube::Client::new(service, "default")
    }

    #[tokio::test]
    async fn a_connection_is_made_again_until_there_is_one_and_when_it_is_lost() {
        let (cut, stop) = (CancellationToken::new(), CancellationToken::new());
        let (told, mut number) = watch::channel(None);
        let keeping = tokio::spawn(keep(client(cut.clone()), "n".into(), told, stop.clone()));
        let until = async |number: &mut watch::Receiver<Option<String>>, wanted: Option<&str>| {
            let told = number.wait_for(|number| number.as_deref() == wanted);
            drop(tokio::time::timeout(Duration::from_secs(60), told).await.expect("in time").unwrap());
        };
        until(&mut number, Some("number-1")).await;
        cut.cancel();
        until(&mut number, Some("number-2")).await;
        stop.cancel();
        keeping.await.unwrap();
        assert_eq!(*number.borrow(), None);
    }
}
