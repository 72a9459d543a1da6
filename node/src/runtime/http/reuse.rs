//! Instances that answer more than one request: who has room for the next, and when each of them goes.
//!
//! A seat is the account of one instance. All decisions about it are made under one lock, here; the instance itself
//! lives in its worker's task.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Request;
use isopod_spec::core::pod::annotations::Reuse;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::FINISH_TIME;
use super::call::ResponseSender;
use crate::local::Body;
use crate::runtime::failure::Failure;

/// The instances of one container.
pub(super) struct Pool {
    pub(super) reuse: Reuse,
    /// Told when an instance has room again.
    pub(super) freed: Notify,
    seats: Mutex<Seats>,
}

#[derive(Default)]
struct Seats {
    /// The last of them was the last to be used, and is asked first.
    all: Vec<Seat>,
    next_id: u64,
    closed: bool,
}

struct Seat {
    id: u64,
    /// None once it takes no more requests.
    jobs: Option<mpsc::Sender<Job>>,
    working_on: u32,
    left: u32,
    next_turn: u64,
    /// When guests must be done whose requests were given up.
    given_up: Vec<(u64, Instant)>,
    /// When a retired seat must be empty.
    retired: Option<Instant>,
    deadline: watch::Sender<Option<Instant>>,
    ended: watch::Receiver<Option<Failure>>,
}

/// A request on its way to a worker.
pub(super) struct Job {
    pub(super) request: Request<Body>,
    pub(super) sender: ResponseSender,
    /// Held until the guest is done with the request.
    pub(super) turn: Turn,
    /// Ends when nobody takes the response any more.
    pub(super) gone: oneshot::Receiver<()>,
}

/// A request that no instance took.
pub(super) type Back = Box<(Request<Body>, ResponseSender)>;

/// A request with a place, to be sent once the lock is free: a turn that ends wants it.
struct Given {
    jobs: mpsc::Sender<Job>,
    job: Job,
    asking: Asking,
}

/// One request's place in an instance, as the worker holds it.
pub(super) struct Turn {
    pool: Arc<Pool>,
    seat: u64,
    number: u64,
    answered: Arc<AtomicBool>,
    over: Option<oneshot::Sender<Request<Body>>>,
}

/// One request's place in an instance, as whoever asked holds it, until the response has been taken.
pub(super) struct Asking {
    pool: Arc<Pool>,
    seat: u64,
    number: u64,
    answered: Arc<AtomicBool>,
    responded: bool,
    ended: watch::Receiver<Option<Failure>>,
    over: oneshot::Receiver<Request<Body>>,
    _gone: oneshot::Sender<()>,
}

/// How a request ended that got no response.
pub(super) enum End {
    /// The instance failed before it came to it.
    Untouched(Box<Request<Body>>),
    /// Its guest is done, and gave none.
    Silent,
    /// The instance failed.
    Failed(Failure),
}

/// What the worker of a new seat works by.
pub(super) struct Seated {
    pub(super) id: u64,
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) deadline: watch::Receiver<Option<Instant>>,
    pub(super) ended: watch::Sender<Option<Failure>>,
}

impl Pool {
    pub(super) fn new(reuse: Reuse) -> Arc<Self> {
        Arc::new(Self { reuse, freed: Notify::new(), seats: Mutex::default() })
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a request to an instance that has room for it, or gives it back.
    pub(super) fn give(
        self: &Arc<Self>,
        request: Request<Body>,
        sender: ResponseSender,
    ) -> Result<Asking, Back> {
        let mut seats = self.seats();
        let at_a_time = self.reuse.at_a_time;
        let free = seats.all.iter_mut().rev().find(|seat| seat.jobs.is_some() && seat.working_on < at_a_time);
        let given = match free {
            Some(seat) => seat.take(self, request, sender)?,
            None => return Err(Box::new((request, sender))),
        };
        drop(seats);
        Ok(given.send())
    }

    /// Gives a request to a new instance, or back if there are to be no more.
    pub(super) fn seat(
        self: &Arc<Self>,
        request: Request<Body>,
        sender: ResponseSender,
    ) -> Result<(Asking, Seated), Back> {
        let mut seats = self.seats();
        if seats.closed {
            return Err(Box::new((request, sender)));
        }
        let id = seats.next_id;
        seats.next_id += 1;
        let (jobs_sender, jobs) = mpsc::channel(self.reuse.at_a_time as usize);
        let (deadline_sender, deadline) = watch::channel(None);
        let (ended, ended_receiver) = watch::channel(None);
        let mut seat = Seat {
            id,
            jobs: Some(jobs_sender),
            working_on: 0,
            left: self.reuse.requests,
            next_turn: 0,
            given_up: Vec::new(),
            retired: None,
            deadline: deadline_sender,
            ended: ended_receiver,
        };
        let given = seat.take(self, request, sender)?;
        seats.all.push(seat);
        drop(seats);
        Ok((given.send(), Seated { id, jobs, deadline, ended }))
    }

    /// Ends a seat that has been idle for long, unless a request is on its way to it.
    pub(super) fn leave(&self, id: u64) -> bool {
        let mut seats = self.seats();
        let Some(seat) = seats.find(id) else { return true };
        if seat.working_on > 0 {
            return false;
        }
        seat.jobs = None;
        true
    }

    /// Gives no more requests to this seat.
    pub(super) fn retire(&self, id: u64) {
        if let Some(seat) = self.seats().find(id) {
            seat.retire();
        }
    }

    /// Forgets a seat whose worker has ended.
    pub(super) fn remove(&self, id: u64) {
        self.seats().all.retain(|seat| seat.id != id);
    }

    /// Lets the instances end once they have answered what they were asked.
    pub(super) fn close(&self) {
        let mut seats = self.seats();
        seats.closed = true;
        seats.all.iter_mut().for_each(Seat::retire);
    }
}

impl Seats {
    fn find(&mut self, id: u64) -> Option<&mut Seat> {
        self.all.iter_mut().find(|seat| seat.id == id)
    }
}

impl Seat {
    /// Counts a request in. None if it takes no more.
    fn take(
        &mut self,
        pool: &Arc<Pool>,
        request: Request<Body>,
        sender: ResponseSender,
    ) -> Result<Given, Back> {
        let Some(jobs) = self.jobs.clone() else { return Err(Box::new((request, sender))) };
        let number = self.next_turn;
        let answered = Arc::new(AtomicBool::new(false));
        let (gone_sender, gone) = oneshot::channel();
        let (over_sender, over) = oneshot::channel();
        let turn = Turn {
            pool: pool.clone(),
            seat: self.id,
            number,
            answered: answered.clone(),
            over: Some(over_sender),
        };
        self.next_turn += 1;
        self.working_on += 1;
        self.left -= 1;
        if self.left == 0 {
            self.jobs = None;
        }
        let (ended, pool) = (self.ended.clone(), pool.clone());
        let asking = Asking {
            pool,
            seat: self.id,
            number,
            answered,
            responded: false,
            ended,
            over,
            _gone: gone_sender,
        };
        Ok(Given { jobs, job: Job { request, sender, turn, gone }, asking })
    }

    fn retire(&mut self) {
        self.jobs = None;
        self.settle();
    }

    /// Sets when the worker must have ended, by what is known now.
    fn settle(&mut self) {
        if self.jobs.is_none() && self.working_on == 0 && self.retired.is_none() {
            self.retired = Some(Instant::now() + FINISH_TIME);
        }
        let first = self.given_up.iter().map(|(_, at)| *at).chain(self.retired).min();
        self.deadline.send_if_modified(|deadline| std::mem::replace(deadline, first) != first);
    }
}

impl Given {
    fn send(self) -> Asking {
        // There is room for as many as it works on at a time. A worker that has just failed drops it with the sender of
        // the response, which is how its failure is heard of.
        let _ = self.jobs.try_send(self.job);
        self.asking
    }
}

impl Job {
    /// For another instance: this one has not come to it, and will not.
    pub(super) fn give_back(mut self) {
        if let Some(over) = self.turn.over.take() {
            // Whoever asked may have gone.
            let _ = over.send(self.request);
        }
    }
}

impl Turn {
    /// The response is on its way, and its length may be known.
    pub(super) fn answered(&self) {
        self.answered.store(true, Ordering::Release);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut seats = self.pool.seats();
        let Some(seat) = seats.find(self.seat) else { return };
        seat.working_on -= 1;
        seat.given_up.retain(|(number, _)| *number != self.number);
        seat.settle();
        drop(seats);
        self.pool.freed.notify_one();
    }
}

impl Asking {
    /// The response is here: from now on only its body can fail.
    pub(super) fn responded(&mut self) {
        self.responded = true;
    }

    /// Whether the guest's call has returned.
    pub(super) fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    /// Whether the instance failed while it worked on the request.
    pub(super) fn has_failed(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Why there is no response.
    pub(super) async fn end(&mut self) -> End {
        // However the call ends, its turn goes with it.
        if let Ok(request) = (&mut self.over).await {
            return End::Untouched(Box::new(request));
        }
        if self.is_answered() {
            return End::Silent;
        }
        match self.ended.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(failure)) => End::Failed(failure.clone()),
            // Its task is gone.
            _ => End::Failed(Failure::Cancelled),
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if self.is_answered() {
            return;
        }
        let mut seats = self.pool.seats();
        let Some(seat) = seats.find(self.seat) else { return };
        let mut time = FINISH_TIME;
        if !self.responded {
            // Given up without an answer: it may be spinning, and gets no more.
            seat.jobs = None;
            if seat.working_on == 1 {
                time = Duration::ZERO;
            }
        }
        seat.given_up.push((self.number, Instant::now() + time));
        seat.settle();
    }
}
