//! Every member's part: it keeps its own record true, and its peers' addresses as the records say.

use std::collections::BTreeMap;
use std::time::Duration;

use isopod_raft_store::{MemberId, Snapshot, Store, Txn};
use tokio_util::sync::CancellationToken;

use super::record::{self, Record};
use crate::peers::Peers;

/// Wait between tries to write its record while there is no leader.
const RETRY: Duration = Duration::from_millis(200);

/// Keeps one member known, and in knowledge of the others.
pub(crate) struct Follower {
    pub(crate) own: MemberId,
    /// What its record shall say; its standing is not its own business.
    pub(crate) wanted: Record,
    /// Where others were when it joined, for as long as its state knows of nobody.
    pub(crate) introduced: BTreeMap<MemberId, String>,
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

fn announcement(state: &Snapshot, own: MemberId, wanted: &Record, is_alone: bool) -> Announcement {
    match record::of(state, own) {
        Some((now, at)) => {
            let wanted = Record { standing: now.standing, ..wanted.clone() };
            if now == wanted {
                Announcement::Nothing
            } else {
                Announcement::Write(record::replace(own, &wanted, at))
            }
        }
        None if record::is_removed(state, own) => Announcement::Removed,
        None if is_alone => Announcement::Write(record::found(own, wanted)),
        None => Announcement::Wait,
    }
}

impl Follower {
    /// Works until `shutdown`; ends before when this member was removed.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut members = self.store.members();
        loop {
            let state = self.store.snapshot();
            self.tell_peers(&state);
            let is_alone = members.borrow_and_update().voters == [self.own];
            let is_waiting = match announcement(&state, self.own, &self.wanted, is_alone) {
                Announcement::Nothing => true,
                Announcement::Wait => true,
                Announcement::Removed => return,
                Announcement::Write(txn) => self.write(txn, &shutdown).await,
            };
            if shutdown.is_cancelled() {
                return;
            }
            if !is_waiting {
                continue;
            }
            let Ok(mut changes) = self.store.watch(record::range(), state.revision()) else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            // Cancel-safe: everything is looked at anew.
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = changes.next() => if changed.is_err() { tokio::time::sleep(RETRY).await },
                _ = members.changed() => {}
            }
        }
    }

    /// Returns false: there is more to see at once.
    async fn write(&self, txn: Txn, shutdown: &CancellationToken) -> bool {
        // Cancel-safe: what was proposed may still happen, and is looked at when it is started again.
        let written = tokio::select! {
            () = shutdown.cancelled() => return false,
            written = self.store.propose(txn) => written,
        };
        if let Err(error) = written {
            tracing::debug!(%error, "this member's record is not written yet");
            tokio::time::sleep(RETRY).await;
        }
        false
    }

    fn tell_peers(&self, state: &Snapshot) {
        let records = record::all(state);
        if records.is_empty() {
            return self.peers.set_addresses(&self.introduced);
        }
        let reachable = records.into_iter().filter(|(_, record)| !record.peer_address.is_empty());
        self.peers.set_addresses(&reachable.map(|(member, record)| (member, record.peer_address)).collect());
    }
}
