//! The sending side of a snapshot: the leader offers its newest file, the receiver pulls it, one chunk at a time and at
//! its own pace, so that nobody else waits for it and nothing queues.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft::eraftpb::{Message, SnapshotMetadata};
use raft::{ProgressState, SnapshotStatus, StateRole};

use super::Member;
use crate::disk::{DiskError, DiskFile};
use crate::log::frame::Position;
use crate::membership::MemberId;
use crate::snapshot_file;
use crate::transport::letter::{Note, SnapshotId};
use crate::worker::Job;

/// An offer that is not taken up is made again.
const OFFER_AGAIN: Duration = Duration::from_millis(300);

/// A receiver that is silent for so long has to be offered a newer one.
const GIVE_UP: Duration = Duration::from_secs(10);

/// Receivers at a time; the others wait.
const RECEIVERS_MAX: usize = 4;

/// What is being sent, by receiver.
#[derive(Default)]
pub(super) struct Outgoing(BTreeMap<MemberId, Sending>);

struct Sending {
    snapshot: SnapshotId,
    /// Stays readable when the file is removed because there is a newer one.
    file: Arc<dyn DiskFile>,
    offered_at: Duration,
    heard_at: Duration,
    /// A job reads a chunk.
    reading: bool,
}

impl Outgoing {
    /// Entries after this are needed by those who are just receiving what comes before.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.0.values().map(|sending| sending.snapshot.position.index).min()
    }
}

impl Member {
    /// Raft wants a member to have a snapshot.
    pub(super) fn offer(&mut self, message: &Message) {
        let to = MemberId(message.to);
        let opened = match self.outgoing_snapshots.0.len() {
            RECEIVERS_MAX.. => None,
            _ => self.open_snapshot(message.get_snapshot().get_metadata()),
        };
        let Some((snapshot, file)) = opened else {
            // Raft asks for it again after a while.
            self.refused_snapshots.push(to);
            return;
        };
        tracing::info!(%to, index = snapshot.position.index, bytes = snapshot.bytes, "offering a snapshot");
        let sending = Sending { snapshot, file, offered_at: self.now, heard_at: self.now, reading: false };
        self.outgoing_snapshots.0.insert(to, sending);
        self.post(to, Note::Offer { snapshot });
    }

    fn open_snapshot(&self, metadata: &SnapshotMetadata) -> Option<(SnapshotId, Arc<dyn DiskFile>)> {
        let position = Position { index: metadata.index, term: metadata.term };
        let file = self.node.store().disk().open(&snapshot_file::name_of(position.index));
        let opened = file.and_then(|file| file.size_bytes().map(|bytes| (file, bytes)));
        match opened {
            Ok((file, bytes)) => Some((SnapshotId { position, bytes }, file)),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a snapshot cannot be sent");
                None
            }
        }
    }

    /// A receiver wants a chunk.
    pub(super) fn wanted(&mut self, from: MemberId, snapshot: SnapshotId, offset: u64) {
        let Some(sending) = self.outgoing_snapshots.0.get_mut(&from) else { return };
        if sending.snapshot != snapshot || sending.reading || offset >= snapshot.bytes {
            return;
        }
        (sending.heard_at, sending.reading) = (self.now, true);
        self.upkeep.add(Job::ReadChunk { to: from, snapshot, file: sending.file.clone(), offset });
    }

    /// A chunk was read.
    pub(super) fn chunk_read(
        &mut self,
        to: MemberId,
        snapshot: SnapshotId,
        offset: u64,
        read: Result<Bytes, DiskError>,
    ) {
        let Some(sending) = self.outgoing_snapshots.0.get_mut(&to) else { return };
        sending.reading = false;
        match read {
            Ok(bytes) if sending.snapshot == snapshot => {
                self.post(to, Note::Chunk { snapshot, offset, bytes });
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a snapshot cannot be sent");
                self.end_sending(to);
            }
        }
    }

    /// Offers again, and gives up.
    pub(super) fn tend_outgoing(&mut self) {
        for to in std::mem::take(&mut self.refused_snapshots) {
            self.node.report_snapshot(to.0, SnapshotStatus::Failure);
        }
        let (now, raft) = (self.now, &self.node.raft);
        let leads = raft.state == StateRole::Leader;
        let awaited = |to: MemberId| {
            let progress = raft.prs().get(to.0);
            leads && progress.is_some_and(|progress| progress.state == ProgressState::Snapshot)
        };
        self.outgoing_snapshots.0.retain(|to, _| awaited(*to));
        let (mut again, mut silent) = (Vec::new(), Vec::new());
        for (to, sending) in &mut self.outgoing_snapshots.0 {
            if now >= sending.heard_at + GIVE_UP {
                silent.push(*to);
            } else if now >= sending.offered_at.max(sending.heard_at) + OFFER_AGAIN {
                sending.offered_at = now;
                again.push((*to, sending.snapshot));
            }
        }
        again.into_iter().for_each(|(to, snapshot)| self.post(to, Note::Offer { snapshot }));
        silent.into_iter().for_each(|to| self.end_sending(to));
    }

    pub(super) fn forget_sending(&mut self, to: MemberId) {
        self.outgoing_snapshots.0.remove(&to);
    }

    fn end_sending(&mut self, to: MemberId) {
        self.outgoing_snapshots.0.remove(&to);
        self.node.report_snapshot(to.0, SnapshotStatus::Failure);
    }
}
