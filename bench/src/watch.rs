//! Events of a watch, as they come.

use anyhow::ensure;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;

use crate::connection::{Connection, get};
use crate::endpoint::Endpoint;

/// A running watch.
pub(crate) struct Watch {
    body: Incoming,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no end of a line.
    searched: usize,
    _connection: Connection,
}

impl Watch {
    /// Opens a watch; returns when the server has begun to answer.
    pub(crate) async fn open(endpoint: &Endpoint, path: &str) -> anyhow::Result<Watch> {
        let mut connection = Connection::open(endpoint).await?;
        let response = connection.send(get(path)).await?;
        ensure!(response.status().is_success(), "GET {path}: {}", response.status());
        Ok(Watch {
            body: response.into_body(),
            buffer: BytesMut::new(),
            searched: 0,
            _connection: connection,
        })
    }

    /// The next event, or `None` when the server has ended the watch.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + end + 1).freeze();
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            match self.body.frame().await {
                Some(frame) => {
                    if let Some(data) = frame?.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                None => return Ok(None),
            }
        }
    }
}

/// What is read of an event.
#[derive(Deserialize)]
pub(crate) struct Event {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) object: Object,
}

/// What is read of an object.
#[derive(Deserialize)]
pub(crate) struct Object {
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(crate) status: Status,
}

/// Its metadata.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) resource_version: String,
}

/// Its status.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    #[serde(default)]
    pub(crate) conditions: Vec<Condition>,
    #[serde(default)]
    pub(crate) ready_replicas: u32,
}

/// One condition.
#[derive(Deserialize)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: String,
}

impl Object {
    /// Whether its condition `Ready` is true.
    pub(crate) fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True")
    }
}

/// The version of a collection now, to watch from.
pub(crate) async fn version_of(connection: &mut Connection, path: &str) -> anyhow::Result<String> {
    let list: Object = serde_json::from_slice(&connection.expect(get(&format!("{path}?limit=1"))).await?)?;
    Ok(list.metadata.resource_version)
}
