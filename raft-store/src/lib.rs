//! Isopod's replicated, revisioned key-value store.
//!
//! Keys and values are bytes; this crate knows nothing of Kubernetes. Every committed transaction that changes
//! something gets the next [`Revision`]. State lives in memory in a persistent ordered map, so a [`Snapshot`]
//! costs a pointer; durability is a Raft log on disk with one `fdatasync` per batch.
//!
//! Callers hold a [`Store`]; the [`Driver`] it was opened with must be running for writes to commit.
//!
//! ```
//! use isopod_raft_store::{Compare, Config, KeyRange, Op, Revision, Store, Txn};
//! use tokio_util::sync::CancellationToken;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let (store, driver) = Store::open(Config::new(folder.path())).await?;
//! let shutdown = CancellationToken::new();
//! let running = tokio::spawn(driver.run(shutdown.clone()));
//!
//! let create = Txn {
//!     compares: vec![Compare::Absent("/a/key".into())],
//!     ops: vec![Op::Put("/a/key".into(), "value".into())],
//! };
//! let answer = store.propose(create).await?;
//! assert!(answer.held());
//! assert_eq!(store.snapshot().get(b"/a/key").map(|entry| entry.modified), Some(answer.revision));
//!
//! let mut watch = store.watch(KeyRange::prefix("/a/"), Revision::FIRST)?;
//! assert_eq!(watch.next().await?[0].revision, answer.revision);
//!
//! shutdown.cancel();
//! running.await??;
//! # Ok(())
//! # }
//! ```
//!
//! How a write goes: [`Store::propose`] puts the transaction into the inbox; the driver's thread takes all that wait,
//! puts them into one Raft entry, writes it to the log and syncs; when a quorum has it, the state machine applies
//! it, the new state becomes visible, the answers go out and the watchers of those keys are woken. On a member that does
//! not lead, the member forwards it, and answers when it has applied it itself.
//!
//! | module | what |
//! |---|---|
//! | `store`, `watch`, `command`, `state` | what users see |
//! | `machine` | `apply`: pure, deterministic |
//! | `history` | the shared recent changes behind watches and past states |
//! | `member` | Raft without threads or clock: what came in → what to sync, apply, send |
//! | `driver`, `worker`, `inbox` | the threads around it |
//! | `log`, `snapshot_file`, `open` | files: format, recovery |
//! | `backup` | saving, restoring, and going on alone when the quorum is lost |
//! | `disk` | the file operations, behind a trait |
//! | `transport` | messages between members: who carries them, and their bytes |
//! | `membership` | who takes part, and the steps by which that changes |
//! | `sum` | the number by which members compare their states |

mod backup;
pub mod command;
mod config;
pub mod disk;
mod driver;
mod error;
mod history;
mod inbox;
mod log;
mod machine;
mod member;
mod membership;
mod mutant;
mod open;
mod raft_logger;
mod shared;
#[cfg(test)]
mod simulation;
mod snapshot_file;
pub mod state;
pub mod store;
mod sum;
pub mod transport;
pub mod watch;
mod wire;
mod worker;

pub use backup::{Saved, inspect, recover, restore};
pub use command::{Compare, Op, Txn, TxnResponse};
pub use config::Config;
pub use driver::Driver;
pub use error::{
    BackupError, DriverError, MembershipError, OpenError, ProposeError, ReadError, TransferError,
};
pub use membership::{ClusterId, Founding, Leadership, MemberId, Members, MembershipChange, Progress};
pub use state::{Entry, KeyRange, Revision, Snapshot};
pub use store::{Status, Store};
pub use watch::{Event, EventKind, Watch, WatchEnd};
