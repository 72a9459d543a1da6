//! How much a member works on at once, and who gets the next turn.
//!
//! Every caller belongs to one [`Level`], and each level has seats of its own for reading and for writing, so that no
//! level can take another's. Who finds no seat free waits in a queue of their own; queues take turns, so that a caller who
//! sends a thousand requests delays others by one. What does not fit in the queues, or waited too long, is turned away
//! with 429: clients come again by themselves. Requests that last (watches, followed logs) take a seat only while they
//! begin; they are counted per caller and in all, as are the bytes of bodies and of answers that were not taken yet.
//!
//! A request that finds a seat pays two short locks and a hash of its caller's name; nothing is allocated.

mod account;
mod metrics;
mod pool;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use isopod_spec::status::Status;

pub(crate) use self::account::{Account, Held, Lasting};
use self::account::{Accounts, Bounds};
pub(crate) use self::metrics::FlowControl;
use self::pool::{Pool, Rejected};
use crate::security::Identity;
use crate::security::identity::{ANONYMOUS, MASTERS, MEMBERS, NODES, SERVICE_ACCOUNTS};

/// How long a request waits for its turn before it is turned away.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);
/// Requests that wait, for each seat there is.
const WAITING_PER_SEAT: usize = 4;
/// After so many seconds a client that was turned away should come again: upstream's.
const RETRY_AFTER_SECONDS: u32 = 1;

/// How many requests are worked on at once, over all levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests that read.
    pub reads: usize,
    /// Requests that write.
    pub writes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { reads: 1024, writes: 1024 }
    }
}

/// What a request does to the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// It reads.
    Read,
    /// It writes.
    Write,
}

/// Callers of one kind, who share seats that no other kind can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Level {
    /// What the cluster lives by: nodes, members, and the service accounts of `kube-system`.
    System,
    /// People and programs in `system:masters`.
    Administrators,
    /// All other service accounts.
    Workloads,
    /// All others who are known.
    Users,
    /// Whoever showed no identity.
    CatchAll,
}

impl Level {
    const ALL: [Level; 5] =
        [Level::System, Level::Administrators, Level::Workloads, Level::Users, Level::CatchAll];

    /// The level of a caller.
    pub(crate) fn of(caller: &Identity) -> Level {
        match caller.as_service_account() {
            _ if caller.user == ANONYMOUS => Level::CatchAll,
            Some(("kube-system", _)) if caller.is_in(SERVICE_ACCOUNTS) => Level::System,
            _ if caller.is_in(NODES) || caller.is_in(MEMBERS) => Level::System,
            _ if caller.is_in(MASTERS) => Level::Administrators,
            Some(_) if caller.is_in(SERVICE_ACCOUNTS) => Level::Workloads,
            _ => Level::Users,
        }
    }

    /// Its name in metrics.
    fn name(self) -> &'static str {
        match self {
            Level::System => "system",
            Level::Administrators => "administrators",
            Level::Workloads => "workloads",
            Level::Users => "users",
            Level::CatchAll => "catch-all",
        }
    }

    /// Hundredths of all seats.
    fn percent(self) -> usize {
        match self {
            Level::System => 30,
            Level::Administrators | Level::Workloads => 25,
            Level::Users => 15,
            Level::CatchAll => 5,
        }
    }

    /// Whether it may use what is kept back for those who run the cluster.
    fn has_reserve(self) -> bool {
        matches!(self, Level::System | Level::Administrators)
    }
}

/// Room for requests.
pub(crate) struct Fairness {
    /// By level; reads, then writes.
    pools: [[Arc<Pool>; 2]; Level::ALL.len()],
    accounts: Accounts,
    queue_timeout: Duration,
}

impl Fairness {
    /// Room for so many requests.
    pub(crate) fn new(limits: Limits) -> Fairness {
        let pool = |level: Level, seats: usize| {
            let seats = (seats * level.percent() / 100).max(1);
            Arc::new(Pool::new(seats, seats * WAITING_PER_SEAT))
        };
        Fairness {
            pools: Level::ALL.map(|level| [pool(level, limits.reads), pool(level, limits.writes)]),
            accounts: Accounts::new(Bounds::default()),
            queue_timeout: QUEUE_TIMEOUT,
        }
    }

    /// What is held for a caller.
    pub(crate) fn account(&self, caller: &Identity) -> Arc<Account> {
        self.accounts.of(&caller.user, Level::of(caller))
    }

    /// Runs `work` when the caller's turn comes, for as long as it may take.
    pub(crate) async fn run<T>(
        &self,
        account: &Account,
        share: Share,
        allowed: Duration,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        if !account.has_room() {
            self.pool(account.level(), share).reject(Rejected::Memory);
            return Err(turned_away("the answers to earlier requests of yours were not taken yet"));
        }
        let pool = self.pool(account.level(), share);
        let seat = pool.seat(account.key(), self.queue_timeout).await;
        let _seat = seat.map_err(|why| turned_away(why.words()))?;
        match tokio::time::timeout(allowed, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Status::timeout("request did not complete within the allotted timeout", 1)),
        }
    }

    fn pool(&self, level: Level, share: Share) -> &Arc<Pool> {
        let of_level = &self.pools[level as usize];
        match share {
            Share::Read => &of_level[0],
            Share::Write => &of_level[1],
        }
    }
}

/// The answer to a request that nobody can work on now.
pub(crate) fn turned_away(why: &str) -> Status {
    let message = format!("too many requests, please try again later: {why}");
    Status::too_many_requests(message, RETRY_AFTER_SECONDS)
}
