//! The receiving side of a snapshot: chunk by chunk into a file, asked for again from where it broke off; checked as a
//! whole; then it takes the place of state and log at once.

use std::time::Duration;

use bytes::Bytes;
use raft::StateRole;
use raft::eraftpb::{HardState, Message, MessageType, Snapshot};

use super::Member;
use crate::disk::DiskError;
use crate::error::{DriverError, OpenError};
use crate::machine::Machine;
use crate::membership::MemberId;
use crate::snapshot_file::{self, Meta};
use crate::transport::letter::{Note, SnapshotId};
use crate::worker::Job;

/// A chunk that does not come is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(300);

/// A sender that is silent for so long has forgotten it.
const GIVE_UP: Duration = Duration::from_secs(10);

/// What is being received.
pub(super) struct Incoming {
    from: MemberId,
    snapshot: SnapshotId,
    stage: Stage,
    asked_at: Duration,
    heard_at: Duration,
}

enum Stage {
    /// So many bytes are in the file.
    Receiving(u64),
    /// A job works on the file, which has so many bytes then.
    Busy(u64),
    /// It is whole, and waits for Raft to want it.
    Whole(Box<(Meta, Machine)>),
    /// The log begins behind it.
    Begun(Box<(Meta, Machine)>),
}

impl Member {
    /// The leader has a snapshot for this member.
    pub(super) fn offered(&mut self, from: MemberId, snapshot: SnapshotId) {
        let raft = &self.node.raft;
        if from.0 != raft.leader_id || raft.state != StateRole::Follower {
            return;
        }
        if snapshot.position.index <= raft.raft_log.committed {
            // Raft tells the leader that it is not needed.
            let meta = Meta {
                cluster: self.cluster,
                position: snapshot.position,
                conf_state: self.conf_state.clone(),
            };
            self.hand_to_raft(&meta);
            return;
        }
        let now = self.now;
        match &mut self.incoming {
            Some(incoming) if incoming.snapshot == snapshot => {
                (incoming.from, incoming.heard_at) = (from, now);
            }
            // Its file is being written; the offer will come again.
            Some(Incoming { stage: Stage::Busy(_) | Stage::Begun(_), .. }) => return,
            _ => {
                tracing::info!(%from, index = snapshot.position.index, bytes = snapshot.bytes, "receiving a snapshot");
                let stage = Stage::Receiving(0);
                self.incoming = Some(Incoming { from, snapshot, stage, asked_at: now, heard_at: now });
            }
        }
        self.want();
    }

    /// Asks for the next chunk, or does what follows the last.
    fn want(&mut self) {
        let now = self.now;
        let Some(Incoming { from, snapshot, stage: Stage::Receiving(have), asked_at, .. }) =
            &mut self.incoming
        else {
            return;
        };
        *asked_at = now;
        let (from, snapshot, offset) = (*from, *snapshot, *have);
        self.post(from, Note::Want { snapshot, offset });
    }

    pub(super) fn received(&mut self, snapshot: SnapshotId, offset: u64, bytes: Bytes) {
        let Some(incoming) = &mut self.incoming else { return };
        let expected = matches!(incoming.stage, Stage::Receiving(have) if have == offset);
        let end = offset + bytes.len() as u64;
        if incoming.snapshot != snapshot || !expected || bytes.is_empty() || end > snapshot.bytes {
            return;
        }
        incoming.heard_at = self.now;
        incoming.stage = Stage::Busy(end);
        self.upkeep.add(Job::WriteChunk { offset, bytes });
    }

    /// A chunk is in the file.
    pub(super) fn chunk_written(&mut self, written: Result<(), DiskError>) -> Result<(), DriverError> {
        if let Err(error) = written {
            // It begins again when it is offered again.
            self.incoming = None;
            return self.job_failed(error, "receiving a snapshot");
        }
        let Some(Incoming { snapshot, stage, .. }) = &mut self.incoming else { return Ok(()) };
        let Stage::Busy(have) = *stage else { return Ok(()) };
        if have < snapshot.bytes {
            *stage = Stage::Receiving(have);
            self.want();
        } else {
            self.upkeep.add(Job::CheckReceived);
        }
        Ok(())
    }

    /// The whole file was read back.
    pub(super) fn checked(&mut self, read: Result<(Meta, Machine), OpenError>) -> Result<(), DriverError> {
        let Some(incoming) = &mut self.incoming else { return Ok(()) };
        match read {
            Ok((meta, machine))
                if meta.position == incoming.snapshot.position && meta.cluster == self.cluster =>
            {
                incoming.stage = Stage::Whole(Box::new((meta, machine)));
                Ok(())
            }
            Err(OpenError::Disk(error)) => Err(error.into()),
            other => {
                let reason = other.err().map_or("it is another one".to_owned(), |error| error.to_string());
                tracing::error!(from = %incoming.from, reason, "a snapshot that was received is of no use");
                self.incoming = None;
                Ok(())
            }
        }
    }

    /// Asks again, gives up, and offers what is whole to Raft.
    pub(super) fn tend_incoming(&mut self) {
        let now = self.now;
        let Some(incoming) = &self.incoming else { return };
        match &incoming.stage {
            Stage::Receiving(_) if now >= incoming.heard_at + GIVE_UP => self.incoming = None,
            Stage::Receiving(_) if now >= incoming.asked_at + ASK_AGAIN => self.want(),
            Stage::Whole(whole) => {
                let (raft, meta) = (&self.node.raft, whole.0.clone());
                if raft.state != StateRole::Follower || raft.leader_id == raft::INVALID_ID {
                    return;
                }
                self.hand_to_raft(&meta);
                if self.node.snap().is_none() {
                    // The log has come as far meanwhile.
                    self.incoming = None;
                }
            }
            _ => {}
        }
    }

    /// Raft only gets to know what the snapshot is of.
    fn hand_to_raft(&mut self, meta: &Meta) {
        let raft = &self.node.raft;
        let mut message = Message {
            msg_type: MessageType::MsgSnapshot,
            to: raft.id,
            from: raft.leader_id,
            term: raft.term,
            ..Message::default()
        };
        message.set_snapshot(snapshot_file::for_raft(meta));
        if let Err(error) = self.node.step(message) {
            tracing::debug!(%error, "snapshot not taken");
        }
    }

    /// Puts the snapshot that Raft accepted in the place of state and log. May be called again when the disk was full.
    pub(super) fn install(&mut self, wanted: &Snapshot, state: Option<&HardState>) -> Result<(), DiskError> {
        let incoming = self.incoming.take().expect("Raft gets only snapshots that are whole");
        let (meta, machine, begun) = match incoming.stage {
            Stage::Whole(whole) => (whole.0, whole.1, false),
            Stage::Begun(whole) => (whole.0, whole.1, true),
            Stage::Receiving(_) | Stage::Busy(_) => unreachable!("Raft gets only snapshots that are whole"),
        };
        assert_eq!(meta.position.index, wanted.get_metadata().index, "Raft was given another snapshot");
        let log = self.node.mut_store();
        // From here on, opening the folder finds the log behind the received file, and completes this.
        let restarted = if begun { Ok(()) } else { log.restart(meta.position, state) };
        if let Err(error) = restarted {
            let stage = Stage::Whole(Box::new((meta, machine)));
            self.incoming = Some(Incoming { stage, ..incoming });
            return Err(error);
        }
        if let Err(error) = snapshot_file::take_received(&**log.disk(), meta.position.index) {
            let stage = Stage::Begun(Box::new((meta, machine)));
            self.incoming = Some(Incoming { stage, ..incoming });
            return Err(error);
        }
        self.jump_to(meta, machine);
        Ok(())
    }

    fn jump_to(&mut self, meta: Meta, machine: Machine) {
        tracing::info!(index = meta.position.index, revision = %machine.revision(), "a snapshot takes the place of the state");
        self.machine = machine;
        self.applied = meta.position;
        self.conf_state = meta.conf_state.clone();
        self.proposals.jumped(meta.position.index);
        self.forwards.jumped();
        self.members_changed();
        self.shared.jump(self.machine.snapshot());
        self.snapshot_in_place(meta);
    }
}
