//! Turns, places in full queues, and what is held for each caller.

use std::time::Duration;

use bytes::Bytes;
use isopod_spec::status::Status;

use super::account::{Accounts, Bounds};
use super::pool::{Counts, Pool, Rejected, Seat};
use super::*;
use crate::security::identity::{AUTHENTICATED, UNAUTHENTICATED};

const PATIENCE: Duration = Duration::from_secs(3600);
const BOUNDS: Bounds = Bounds { bytes: 100, bytes_of_one: 60, lasting: 10, lasting_of_one: 6 };

fn pool(seats: usize, waiting_max: usize) -> Arc<Pool> {
    Arc::new(Pool::new(seats, waiting_max))
}

/// Begins to wait for a seat, and returns when it waits.
async fn queued(pool: &Arc<Pool>, caller: u64) -> tokio::task::JoinHandle<Result<Seat, Rejected>> {
    let before = pool.picture().waiting;
    let own = Arc::clone(pool);
    let waiter = tokio::spawn(async move { own.seat(caller, PATIENCE).await });
    while pool.picture().waiting == before {
        tokio::task::yield_now().await;
    }
    waiter
}

#[test]
fn callers_have_the_level_of_what_they_are() {
    let member = Identity::named("system:member:1", &[MEMBERS, AUTHENTICATED]);
    for (caller, level) in [
        (Identity::named("system:node:n1", &[NODES, AUTHENTICATED]), Level::System),
        (member, Level::System),
        (Identity::service_account("kube-system", "gc"), Level::System),
        (Identity::named("root", &[MASTERS, AUTHENTICATED]), Level::Administrators),
        (Identity::service_account("shop", "operator"), Level::Workloads),
        // A name alone makes nobody more than another.
        (Identity::named("system:serviceaccount:kube-system:gc", &[AUTHENTICATED]), Level::Users),
        (Identity::named("jane", &[AUTHENTICATED]), Level::Users),
        (Identity::anonymous(), Level::CatchAll),
        (Identity::named("", &[UNAUTHENTICATED]), Level::Users),
    ] {
        assert_eq!(Level::of(&caller), level, "{}", caller.user);
    }
    assert_eq!(Level::ALL.iter().map(|level| level.percent()).sum::<usize>(), 100);
}

#[tokio::test]
async fn turns_go_round_so_that_a_flood_delays_others_by_one() {
    let pool = pool(1, 100);
    let first = pool.seat(1, PATIENCE).await.expect("it is free");
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.push(queued(&pool, 1).await);
    }
    let other = queued(&pool, 2).await;
    drop(first);
    let one_of_the_flood = flood.remove(0).await.unwrap().expect("first in the line");
    assert!(!other.is_finished());
    drop(one_of_the_flood);
    let seat = other.await.unwrap().expect("the second turn is the other's");
    assert_eq!(pool.picture().waiting, 19);
    drop(seat);
    for waiter in flood {
        waiter.await.unwrap().expect("everybody's turn comes");
    }
    let picture = pool.picture();
    assert_eq!((picture.taken, picture.waiting), (0, 0));
    assert_eq!(picture.counts, Counts { dispatched: 22, ..Counts::default() });
}

#[tokio::test]
async fn full_queues_turn_away_whoever_has_most_waiting() {
    let pool = pool(1, 4);
    let seat = pool.seat(1, PATIENCE).await.expect("it is free");
    let mut flood = Vec::new();
    for _ in 0..4 {
        flood.push(queued(&pool, 1).await);
    }
    assert_eq!(pool.seat(1, PATIENCE).await.expect_err("full"), Rejected::Full);
    // Another caller takes the place of the flood's last.
    let own = Arc::clone(&pool);
    let other = tokio::spawn(async move { own.seat(2, PATIENCE).await });
    let last = flood.pop().expect("four wait");
    assert_eq!(last.await.unwrap().expect_err("its place was taken"), Rejected::Full);
    assert_eq!(pool.picture().waiting, 4);
    drop(seat);
    drop(flood.remove(0).await.unwrap().expect("first in the line"));
    other.await.unwrap().expect("it has its turn");
    assert_eq!(pool.picture().counts.full, 2);
}

#[tokio::test]
async fn clients_who_have_gone_hold_no_place_and_no_seat() {
    let pool = pool(1, 3);
    let seat = pool.seat(1, PATIENCE).await.expect("it is free");
    let timed_out = pool.seat(2, Duration::from_millis(1)).await;
    assert_eq!(timed_out.expect_err("nobody left"), Rejected::TimedOut);
    for _ in 0..2 {
        let gone = queued(&pool, 3).await;
        gone.abort();
        gone.await.expect_err("it was aborted");
    }
    // Full of those who have gone: they leave.
    let waits = Arc::clone(&pool);
    let waits = tokio::spawn(async move { waits.seat(4, PATIENCE).await });
    while pool.picture().waiting != 1 {
        tokio::task::yield_now().await;
    }
    drop(seat);
    drop(waits.await.unwrap().expect("its turn comes"));
    // A seat that is given at the moment the client goes is not lost.
    for _ in 0..100 {
        let seat = pool.seat(1, PATIENCE).await.expect("it is free");
        let leaving = queued(&pool, 2).await;
        drop(seat);
        leaving.abort();
        drop(leaving.await);
        assert_eq!(pool.picture().taken, 0);
    }
}

#[tokio::test]
async fn seats_are_never_more_than_there_are_whoever_comes_and_goes() {
    let pool = pool(4, 64);
    let mut workers = Vec::new();
    for caller in 0..16_u64 {
        let pool = Arc::clone(&pool);
        workers.push(tokio::spawn(async move {
            for round in 0..200_u64 {
                let patience = if (caller + round) % 3 == 0 { Duration::ZERO } else { PATIENCE };
                let seat = pool.seat(caller % 5, patience).await;
                assert!(pool.picture().taken <= 4);
                tokio::task::yield_now().await;
                drop(seat);
            }
        }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let picture = pool.picture();
    assert_eq!(picture.taken, 0, "{picture:?}");
}

#[test]
fn bytes_are_held_until_the_answer_is_taken() {
    let accounts = Accounts::new(Bounds { bytes: 4000, bytes_of_one: 2000, ..BOUNDS });
    let account = accounts.of("jane", Level::Users);
    let answer = account.counted(Bytes::from(vec![b'a'; 2000]));
    assert!(!account.has_room());
    assert!(accounts.of("john", Level::Users).has_room());
    let rest = answer.slice(1990..);
    drop(answer);
    assert_eq!(accounts.held().0, 2000, "a part of it is still to be sent");
    drop(rest);
    assert_eq!(accounts.held().0, 0);
    let small = account.counted(Bytes::from_static(b"small"));
    assert_eq!((accounts.held().0, small.len()), (0, 5));
}

#[test]
fn one_caller_has_a_part_and_administrators_find_some_left() {
    let accounts = Accounts::new(BOUNDS);
    let [jane, john, root] =
        [("jane", Level::Users), ("john", Level::Users), ("root", Level::Administrators)]
            .map(|(user, level)| accounts.of(user, level));
    let mut held = jane.hold(50);
    assert!(jane.has_room());
    assert!(!held.grow(10));
    assert!(john.has_room());
    let other = john.hold(35);
    assert!(!john.has_room() && root.has_room());
    let watches: Vec<_> = (0..6).map(|_| jane.lasting().expect("room")).collect();
    assert!(jane.lasting().is_none());
    let more: Vec<_> = (0..3).map(|_| john.lasting().expect("room")).collect();
    assert!(john.lasting().is_none());
    let last = root.lasting().expect("kept back for them");
    assert!(root.lasting().is_none());
    drop((held, other, watches, more, last));
    assert_eq!(accounts.held(), (0, 0));
}

#[tokio::test]
async fn a_flood_of_writes_leaves_reads_and_other_levels_alone() {
    let fairness = Fairness { queue_timeout: Duration::from_millis(5), ..Fairness::new(Limits::default()) };
    let (user, node) = (
        fairness.account(&Identity::named("jane", &[AUTHENTICATED])),
        fairness.account(&Identity::named("system:node:n1", &[NODES, AUTHENTICATED])),
    );
    let mut flood = Vec::new();
    let pool = fairness.pool(Level::Users, Share::Write);
    for _ in 0..pool.picture().seats {
        flood.push(pool.seat(user.key(), PATIENCE).await.expect("free"));
    }
    let run = async |account: &Account, share| fairness.run(account, share, PATIENCE, async { Ok(1) }).await;
    let refused = run(&user, Share::Write).await.expect_err("no seat");
    assert_eq!((refused.code, refused.retry_after_seconds()), (429, Some(1)));
    assert_eq!(run(&user, Share::Read).await, Ok(1));
    assert_eq!(run(&node, Share::Write).await, Ok(1));
    let stuck = std::future::pending::<Result<(), Status>>();
    let late = fairness.run(&node, Share::Read, Duration::from_millis(5), stuck).await;
    assert_eq!(late.expect_err("too slow").code, 504);
    let held = user.hold(Bounds::default().bytes_of_one);
    assert_eq!(run(&user, Share::Read).await.expect_err("too much is held").code, 429);
    drop(held);
    assert_eq!(run(&user, Share::Read).await, Ok(1));
}
