//! Seats, and a queue for each caller who waits for one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Bounds of the buckets of waiting times, in seconds: upstream's, below the longest wait.
const WAITS: [f64; 8] = [0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0];

/// The seats of one level for one kind of request.
pub(super) struct Pool {
    seats: usize,
    waiting_max: usize,
    /// Never held while anything waits or can panic.
    state: Mutex<State>,
    waits: Histogram,
}

/// Where everybody is.
#[derive(Default)]
struct State {
    /// Seats that nobody has. While there is one, nobody waits.
    free: usize,
    /// Requests in all queues, among them some whose clients have gone.
    waiting: usize,
    queues: HashMap<u64, VecDeque<oneshot::Sender<Seat>>>,
    /// The callers who have a queue; the first one's turn is next.
    turns: VecDeque<u64>,
    counts: Counts,
}

/// What has happened so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Requests that got a seat.
    pub(super) dispatched: u64,
    /// Requests turned away because the queues were full.
    pub(super) full: u64,
    /// Requests turned away after a long wait.
    pub(super) timed_out: u64,
    /// Requests of callers for whom too many bytes were held.
    pub(super) memory: u64,
}

/// How it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) seats: usize,
    pub(super) taken: usize,
    pub(super) waiting: usize,
    pub(super) counts: Counts,
}

/// Why a request got no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejected {
    /// As many wait as may.
    Full,
    /// It waited for too long.
    TimedOut,
    /// Too many bytes are held for the caller.
    Memory,
}

impl Rejected {
    /// The reason for whoever is turned away.
    pub(super) fn words(self) -> &'static str {
        match self {
            Rejected::Full => "as many requests wait as may",
            Rejected::TimedOut => "no turn came in time",
            Rejected::Memory => "too much is held for you",
        }
    }
}

/// The right to be worked on. Dropping it gives it to the next in turn.
#[derive(Debug)]
pub(super) struct Seat {
    /// `None` once it was given on.
    pool: Option<Arc<Pool>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("seats", &self.seats).finish_non_exhaustive()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.release();
        }
    }
}

enum Entered {
    Seated(Seat),
    Queued(oneshot::Receiver<Seat>),
}

impl Pool {
    /// So many seats, and at most so many who wait.
    pub(super) fn new(seats: usize, waiting_max: usize) -> Pool {
        let state = Mutex::new(State { free: seats, ..State::default() });
        Pool { seats, waiting_max, state, waits: Histogram::new(WAITS) }
    }

    /// A seat for a caller, at once or after a while.
    pub(super) async fn seat(self: &Arc<Pool>, caller: u64, patience: Duration) -> Result<Seat, Rejected> {
        let turn = match self.enter(caller) {
            Ok(Entered::Seated(seat)) => return Ok(seat),
            Ok(Entered::Queued(turn)) => turn,
            Err(why) => {
                self.reject(why);
                return Err(why);
            }
        };
        let began = Instant::now();
        // Cancel-safe: a seat that came and was not taken is dropped with the channel, and so given on.
        let seat = match tokio::time::timeout(patience, turn).await {
            Ok(Ok(seat)) => Ok(seat),
            // Its place was needed for a caller who has fewer.
            Ok(Err(_)) => Err(Rejected::Full),
            Err(_) => Err(Rejected::TimedOut),
        };
        self.waits.observe(began.elapsed().as_secs_f64());
        seat.inspect_err(|why| self.reject(*why))
    }

    /// Counts a request that was turned away.
    pub(super) fn reject(&self, why: Rejected) {
        let counts = &mut self.lock().counts;
        match why {
            Rejected::Full => counts.full += 1,
            Rejected::TimedOut => counts.timed_out += 1,
            Rejected::Memory => counts.memory += 1,
        }
    }

    /// How it is now.
    pub(super) fn picture(&self) -> Picture {
        let state = self.lock();
        Picture {
            seats: self.seats,
            taken: self.seats - state.free,
            waiting: state.waiting,
            counts: state.counts,
        }
    }

    /// How long those waited who had to.
    pub(super) fn waits(&self) -> &Histogram {
        &self.waits
    }

    fn enter(self: &Arc<Pool>, caller: u64) -> Result<Entered, Rejected> {
        let mut state = self.lock();
        if state.free > 0 {
            state.free -= 1;
            state.counts.dispatched += 1;
            return Ok(Entered::Seated(Seat { pool: Some(Arc::clone(self)) }));
        }
        if state.waiting >= self.waiting_max {
            state.make_room(caller)?;
        }
        let (give, turn) = oneshot::channel();
        state.push(caller, give);
        Ok(Entered::Queued(turn))
    }

    /// Gives a seat that became free to the next who still waits.
    fn release(self: Arc<Pool>) {
        loop {
            let next = {
                let mut state = self.lock();
                let next = state.next();
                match next {
                    Some(_) => state.counts.dispatched += 1,
                    None => state.free += 1,
                }
                next
            };
            let Some(next) = next else { return };
            // Outside the lock: when its client goes at this moment, the seat comes back here.
            match next.send(Seat { pool: Some(Arc::clone(&self)) }) {
                Ok(()) => return,
                Err(mut seat) => {
                    seat.pool = None;
                    self.lock().counts.dispatched -= 1;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, caller: u64, give: oneshot::Sender<Seat>) {
        let queue = self.queues.entry(caller).or_default();
        if queue.is_empty() {
            self.turns.push_back(caller);
        }
        queue.push_back(give);
        self.waiting += 1;
    }

    /// The first in the queue of the caller whose turn it is.
    fn next(&mut self) -> Option<oneshot::Sender<Seat>> {
        loop {
            let caller = self.turns.pop_front()?;
            let queue = self.queues.get_mut(&caller)?;
            let next = queue.pop_front();
            match queue.is_empty() {
                true => drop(self.queues.remove(&caller)),
                false => self.turns.push_back(caller),
            }
            let Some(next) = next else { continue };
            self.waiting -= 1;
            if !next.is_closed() {
                return Some(next);
            }
        }
    }

    /// Makes room for one more of `caller`: those who have gone leave, else the last of whoever has most waiting.
    fn make_room(&mut self, caller: u64) -> Result<(), Rejected> {
        let before = self.waiting;
        for queue in self.queues.values_mut() {
            queue.retain(|waiter| !waiter.is_closed());
        }
        self.queues.retain(|_, queue| !queue.is_empty());
        let queues = &self.queues;
        self.turns.retain(|caller| queues.contains_key(caller));
        self.waiting = self.queues.values().map(VecDeque::len).sum();
        if self.waiting < before {
            return Ok(());
        }
        let own = self.queues.get(&caller).map_or(0, VecDeque::len);
        let longest = self.queues.values_mut().max_by_key(|queue| queue.len());
        match longest {
            // A queue that is longer by two has another one left after it gave one up.
            Some(longest) if longest.len() >= own + 2 => {
                drop(longest.pop_back());
                self.waiting -= 1;
                Ok(())
            }
            _ => Err(Rejected::Full),
        }
    }
}
