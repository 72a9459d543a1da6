//! Every member's part: it keeps its own record true, and its peers' addresses as the records say.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use isopod_raft_store::{Founding, MemberId, Snapshot, Store, Txn, WatchEnd};
use tokio_util::sync::CancellationToken;

use super::folder::Folder;
use super::record::{Record, Roll};
use crate::peers::Peers;

/// Wait between tries to write its record while there is no leader.
const RETRY: Duration = Duration::from_millis(200);

/// Keeps one member known, and in knowledge of the others.
pub(crate) struct Follower {
    pub(crate) own: MemberId,
    /// Its data folder, which remembers where the others are.
    pub(crate) data_dir: PathBuf,
    /// What its record shall say; its standing is not its own business.
    pub(crate) wanted: Record,
    /// What the folder says; where the others are, for as long as this member's state knows of nobody.
    pub(crate) folder: Folder,
    pub(crate) store: Store,
    pub(crate) peers: Peers,
}

/// What a member does about its own record.
#[derive(Debug, PartialEq, Eq)]
enum Announcement {
    /// It is true.
    Nothing,
    /// Its state does not say yet that it is a member.
    Wait,
    Write(Txn),
    /// It was a member, and is none any more.
    Removed,
}

fn announcement(
    roll: Roll,
    state: &Snapshot,
    own: MemberId,
    wanted: &Record,
    is_alone: bool,
) -> Announcement {
    match roll.get(state, own) {
        Some((now, at)) => {
            let wanted = Record { standing: now.standing, ..wanted.clone() };
            if now == wanted {
                Announcement::Nothing
            } else {
                Announcement::Write(roll.replace(own, &wanted, at))
            }
        }
        None if roll.is_removed(state, own) => Announcement::Removed,
        None if is_alone => Announcement::Write(roll.found(state, own, wanted)),
        None => Announcement::Wait,
    }
}

impl Follower {
    /// Works until `shutdown`; ends before when this member was removed. When the store is closed it only waits.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let roll = Roll::of(&self.store);
        let mut members = self.store.members();
        loop {
            let state = self.store.snapshot();
            self.look_around(&roll.all(&state));
            let is_alone = members.borrow_and_update().voters == [self.own];
            match announcement(roll, &state, self.own, &self.wanted, is_alone) {
                Announcement::Nothing | Announcement::Wait => {}
                Announcement::Removed => return,
                Announcement::Write(txn) => {
                    self.write(txn, &shutdown).await;
                    if shutdown.is_cancelled() {
                        return;
                    }
                    continue;
                }
            }
            let mut changes = match self.store.watch(roll.range(), state.revision()) {
                Ok(changes) => changes,
                Err(WatchEnd::Closed) => return shutdown.cancelled().await,
                // The state moved on between the two.
                Err(_) => continue,
            };
            // Cancel-safe: everything is looked at anew.
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = changes.next() => {}
                _ = members.changed() => {}
            }
        }
    }

    async fn write(&self, txn: Txn, shutdown: &CancellationToken) {
        // Cancel-safe: what was proposed may still happen, and is looked at when it is started again.
        let written = tokio::select! {
            () = shutdown.cancelled() => return,
            written = self.store.propose(txn) => written,
        };
        if let Err(error) = written {
            tracing::debug!(%error, "this member's record is not written yet");
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Tells the peers' side where the others are, and remembers it: a member that loses its store finds them again by
    /// that, and never founds a cluster of its own.
    fn look_around(&mut self, records: &BTreeMap<MemberId, Record>) {
        if records.is_empty() {
            return self.peers.set_addresses(&self.folder.introduced);
        }
        let reachable = records.iter().filter(|(_, record)| !record.peer_address.is_empty());
        let mut addresses: BTreeMap<MemberId, String> =
            reachable.map(|(member, record)| (*member, record.peer_address.clone())).collect();
        self.peers.set_addresses(&addresses);
        addresses.remove(&self.own);
        if self.folder.introduced == addresses {
            return;
        }
        self.folder.founding = if addresses.is_empty() { Founding::Alone } else { Founding::Join };
        self.folder.introduced = addresses;
        if let Err(error) = self.folder.write(&self.data_dir) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the data folder does not remember the other members");
        }
    }
}
