//! Who the members of the control plane are, how one joins, and how one leaves.
//!
//! The store knows members by number. What else is to be known of one (its name, where it is reached, whether it shall
//! leave) is a [`record`] in the store, written in the transaction that uses up its join token. Raft's configuration
//! follows the records: the leader's [`keeper`] adds who has a record as a learner, promotes it when it has caught up,
//! and takes out who shall leave. So a join or a removal that was interrupted goes on, whoever leads then.

pub(crate) mod admit;
pub(crate) mod cleaner;
mod entry;
pub mod folder;
pub(crate) mod follow;
pub mod join;
pub(crate) mod keeper;
mod nodes;
pub(crate) mod presence;
pub mod protocol;
pub mod record;
mod report;
pub(crate) mod serve;
mod snapshot;
pub mod token;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use isopod_raft_store::{MemberId, ProposeError, ReadError, Snapshot, Store, Txn, TxnResponse};
use isopod_spec::status::Status;

use self::presence::Presence;
pub(crate) use self::report::LeaderClient;
use crate::objects::{propose_failed, read_failed};
use crate::peers::Peers;
use crate::security::CertificateAuthority;

/// Where the key for ServiceAccount tokens lies in a data folder: all members have the same.
pub(crate) const SERVICE_ACCOUNT_KEY: &str = "pki/sa.key";

/// What the members' part of the API works with.
pub(crate) struct Membership {
    pub(crate) own: MemberId,
    pub(crate) data_dir: PathBuf,
    pub(crate) store: Store,
    pub(crate) peers: Peers,
    pub(crate) authority: Arc<CertificateAuthority>,
    pub(crate) service_cidr: String,
    /// How long the certificates of nodes last.
    pub(crate) node_certificate_life: Duration,
    /// Where nodes are connected.
    pub(crate) presence: Presence,
    /// Asks the leader what only it knows.
    pub(crate) leader: LeaderClient,
}

impl Membership {
    async fn propose(&self, txn: Txn) -> Result<TxnResponse, Status> {
        self.store.propose(txn).await.map_err(|error: ProposeError| propose_failed(&error))
    }

    async fn newest(&self) -> Result<Snapshot, Status> {
        self.store.linearizable().await.map_err(|error: ReadError| read_failed(&error))
    }
}
