//! `GET /containerLogs/<namespace>/<pod>/<container>`, with the parameters of `pods/log`.

use futures::TryStreamExt;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use jiff::Timestamp;

use super::{Body, text};
use crate::logs::{Logs, ReadError, ReadOptions};

pub(super) fn answer(
    logs: &Logs,
    namespace: &str,
    pod: &str,
    container: &str,
    query: &str,
) -> Response<Body> {
    let options = match ReadOptions::from_query(query, Timestamp::now()) {
        Ok(options) => options,
        Err(error) => return text(StatusCode::BAD_REQUEST, error.to_string()),
    };
    match logs.read(namespace, pod, container, options) {
        Ok(stream) => {
            let body = StreamBody::new(stream.into_stream().map_ok(Frame::data));
            let mut response = text(StatusCode::OK, "");
            *response.body_mut() = body.boxed_unsync();
            response
        }
        Err(error) => {
            let status = match &error {
                ReadError::NoPod { .. } => StatusCode::NOT_FOUND,
                ReadError::NotStarted { .. } | ReadError::NoPrevious { .. } => StatusCode::BAD_REQUEST,
                ReadError::Disk { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            };
            text(status, error.to_string())
        }
    }
}
