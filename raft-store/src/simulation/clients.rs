//! Clients that read and write a few keys on any member, one call at a time each, and remember what they were told.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut, Bytes};
use rand::RngExt;
use rand::rngs::StdRng;

use super::Micros;
use super::linearizability::{Act, Call, Outcome, Value};
use super::oracle::{Check, Oracle, Violation, number_of, violation};
use crate::command::{Compare, Op, Txn, TxnResponse};
use crate::error::{ProposeError, ReadError};
use crate::machine::Machine;
use crate::snapshot_file::Meta;
use crate::state::{Revision, Snapshot};
use crate::store::Store;

/// A client that waits for longer gives up, and does not know.
const PATIENCE: Micros = 7_000_000;

/// What the store answers.
pub(super) enum Answer {
    Write(Result<TxnResponse, ProposeError>),
    Read(Result<Snapshot, ReadError>),
    Saved(Result<Box<(Meta, Machine)>, ReadError>),
}

type Waiting = Pin<Box<dyn Future<Output = Answer>>>;

/// What a client asks for.
pub(super) enum Request {
    Read,
    /// All of it, for a backup.
    Save,
    /// A transaction, and what it means for each of its keys.
    Write(Txn, Vec<(Bytes, Act)>),
}

impl Request {
    /// An unconditional write.
    pub(super) fn put(key: &Bytes, histories: &mut Histories) -> Self {
        let value = histories.value(0);
        let act = Act::Write(number_of(&value));
        Self::Write(Txn::of(vec![Op::Put(key.clone(), value)]), vec![(key.clone(), act)])
    }
}

/// A call under way.
struct Pending {
    request: Request,
    /// `None` until the member takes it.
    waiting: Option<Waiting>,
    begun: u64,
    deadline: Micros,
    /// The greatest revision that anybody knew when it began.
    floor: Revision,
}

pub(super) struct Client {
    /// The member it talks to.
    pub(super) at: usize,
    /// How its last call ended.
    pub(super) last: Option<Ended>,
    /// What it just saved.
    pub(super) saved: Option<(Meta, Machine)>,
    pending: Option<Pending>,
    /// What it last saw of each key.
    seen: BTreeMap<Bytes, (Value, Revision)>,
}

/// What all clients were told.
#[derive(Default)]
pub(super) struct Histories {
    pub(super) calls: BTreeMap<Bytes, Vec<Call>>,
    /// Numbers of values whose writes were refused.
    pub(super) refused: Vec<Value>,
    pub(super) done: u64,
    pub(super) unknown: u64,
    numbers: u64,
    clock: u64,
}

impl Histories {
    fn moment(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn note(&mut self, key: &Bytes, act: Act, outcome: Outcome, begun: u64, ended: u64) {
        self.calls.entry(key.clone()).or_default().push(Call { act, outcome, begun, ended });
    }

    fn value(&mut self, padding: usize) -> Bytes {
        self.numbers += 1;
        let mut value = Vec::with_capacity(8 + padding);
        value.put_u64_le(self.numbers);
        // No zeros: they would look like a file that was never written.
        value.resize(8 + padding, 1 + (self.numbers % 255) as u8);
        value.into()
    }
}

/// Draws what to ask for.
pub(super) fn draw(
    client: &Client,
    keys: &[Bytes],
    (padding, reads): (usize, u32),
    histories: &mut Histories,
    random: &mut StdRng,
) -> Request {
    let key = &keys[random.random_range(0..keys.len())];
    if random.random_range(0..100) < reads {
        return if random.random_bool(0.03) { Request::Save } else { Request::Read };
    }
    let kind = random.random_range(30..100);
    let mut txn = Txn::default();
    let delete = (80..90).contains(&kind);
    let value = if delete { Bytes::new() } else { histories.value(random.random_range(0..=padding)) };
    let to = if delete { 0 } else { number_of(&value) };
    txn.ops.push(if delete { Op::Delete(key.clone()) } else { Op::Put(key.clone(), value) });
    let mut acts = vec![(key.clone(), Act::Write(to))];
    if (55..85).contains(&kind) {
        let (from, revision) = client.seen.get(key).copied().unwrap_or_default();
        txn.compares.push(if from == 0 {
            Compare::Absent(key.clone())
        } else {
            Compare::Modified(key.clone(), revision)
        });
        acts[0].1 = Act::Swap { from, to };
    }
    let other = &keys[random.random_range(0..keys.len())];
    if kind >= 90 && other != key {
        let value = histories.value(0);
        acts.push((other.clone(), Act::Write(number_of(&value))));
        txn.ops.push(Op::Put(other.clone(), value));
    }
    Request::Write(txn, acts)
}

impl Client {
    pub(super) fn new(at: usize) -> Self {
        Self { at, last: None, saved: None, pending: None, seen: BTreeMap::new() }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_none()
    }

    /// Forgets a call that no member has taken yet.
    pub(super) fn turn_away(&mut self) -> bool {
        self.pending.take_if(|pending| pending.waiting.is_none()).is_some()
    }

    /// Begins a call; the member takes it when it is polled.
    pub(super) fn begin(
        &mut self,
        request: Request,
        now: Micros,
        histories: &mut Histories,
        oracle: &Oracle,
    ) {
        self.last = None;
        let (begun, deadline) = (histories.moment(), now + PATIENCE);
        self.pending = Some(Pending { request, waiting: None, begun, deadline, floor: oracle.floor });
    }

    /// Looks for the answer. Returns what became of the call when it ended.
    pub(super) fn poll(
        &mut self,
        store: &Store,
        now: Micros,
        histories: &mut Histories,
        oracle: &mut Oracle,
    ) -> Result<Option<Ended>, Violation> {
        let Some(pending) = &mut self.pending else { return Ok(None) };
        let waiting = pending.waiting.get_or_insert_with(|| ask(store.clone(), &pending.request));
        self.last = match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(self.answered(answer, histories, oracle)?),
            Poll::Pending if now > pending.deadline => {
                self.lost(histories);
                Some(Ended::Unknown)
            }
            Poll::Pending => None,
        };
        Ok(self.last)
    }

    /// Nobody will ever tell what became of the call.
    pub(super) fn lost(&mut self, histories: &mut Histories) {
        let Some(Pending { request: Request::Write(_, acts), waiting, begun, .. }) = self.pending.take()
        else {
            return;
        };
        if waiting.is_some() {
            histories.unknown += 1;
            acts.iter().for_each(|(key, act)| histories.note(key, *act, Outcome::Unknown, begun, u64::MAX));
        }
    }

    fn answered(
        &mut self,
        answer: Answer,
        histories: &mut Histories,
        oracle: &mut Oracle,
    ) -> Result<Ended, Violation> {
        let pending = self.pending.take().expect("only a call can be answered");
        let ended = match (answer, pending.request) {
            (Answer::Read(Ok(state)), _) => {
                self.saw(&state, pending.begun, pending.floor, histories, oracle)?;
                Ended::Done
            }
            (Answer::Saved(Ok(saved)), _) => {
                let (meta, machine) = *saved;
                if machine.revision() < pending.floor {
                    violation!(
                        "a backup is stale: it is of revision {}, after {} was known",
                        machine.revision(),
                        pending.floor
                    );
                }
                oracle.check_saved(&meta, &machine)?;
                self.saved = Some((meta, machine));
                Ended::Done
            }
            (Answer::Read(Err(_)) | Answer::Saved(Err(_)), _) => Ended::Refused,
            (Answer::Write(Ok(response)), Request::Write(txn, acts)) => {
                if response.revision < pending.floor {
                    violation!(
                        "a write was answered with revision {}, after {} was known",
                        response.revision,
                        pending.floor
                    );
                }
                self.wrote((&txn, &acts), response, pending.begun, histories, oracle)?;
                Ended::Done
            }
            (Answer::Write(Err(ProposeError::Unknown)), Request::Write(_, acts)) => {
                histories.unknown += 1;
                let unknown = Outcome::Unknown;
                acts.iter()
                    .for_each(|(key, act)| histories.note(key, *act, unknown, pending.begun, u64::MAX));
                Ended::Unknown
            }
            (Answer::Write(Err(_)), Request::Write(_, acts)) => {
                histories.refused.extend(acts.iter().filter_map(|(_, act)| match act {
                    Act::Write(to) | Act::Swap { to, .. } => (*to != 0).then_some(*to),
                    Act::Read(_) => None,
                }));
                Ended::Refused
            }
            (Answer::Write(_), _) => unreachable!("a read is answered with a state"),
        };
        histories.done += u64::from(ended == Ended::Done);
        Ok(ended)
    }

    /// A linearizable read showed this state.
    fn saw(
        &mut self,
        state: &Snapshot,
        begun: u64,
        floor: Revision,
        histories: &mut Histories,
        oracle: &mut Oracle,
    ) -> Check {
        if state.revision < floor {
            violation!(
                "a linearizable read is stale: it shows revision {}, after {floor} was known",
                state.revision
            );
        }
        oracle.floor = oracle.floor.max(state.revision);
        let ended = histories.moment();
        let keys: Vec<Bytes> = histories.calls.keys().cloned().collect();
        for key in keys {
            let entry = state.get(&key);
            let value = entry.map_or(0, |entry| number_of(&entry.value));
            histories.note(&key, Act::Read(value), Outcome::Done, begun, ended);
            self.seen.insert(key, (value, entry.map_or(Revision::FIRST, |entry| entry.modified)));
        }
        Ok(())
    }

    /// A write was answered by the state machine.
    fn wrote(
        &mut self,
        (txn, acts): (&Txn, &[(Bytes, Act)]),
        response: TxnResponse,
        begun: u64,
        histories: &mut Histories,
        oracle: &mut Oracle,
    ) -> Check {
        let outcome = if response.held() { Outcome::Done } else { Outcome::Refused };
        let ended = histories.moment();
        for (key, act) in acts {
            histories.note(key, *act, outcome, begun, ended);
            match act {
                Act::Write(to) | Act::Swap { to, .. } if response.held() => {
                    self.seen.insert(key.clone(), (*to, response.revision));
                }
                _ => {}
            }
        }
        if response.held() { oracle.acknowledge(txn, response.revision) } else { Ok(()) }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Done,
    /// It did not happen.
    Refused,
    Unknown,
}

fn ask(store: Store, request: &Request) -> Waiting {
    match request {
        Request::Read => Box::pin(async move { Answer::Read(store.linearizable().await) }),
        Request::Save => Box::pin(async move { Answer::Saved(save(store).await) }),
        Request::Write(txn, _) => {
            let txn = txn.clone();
            Box::pin(async move { Answer::Write(store.propose(txn).await) })
        }
    }
}

/// As [`Store::save`], without writing it down.
async fn save(store: Store) -> Result<Box<(Meta, Machine)>, ReadError> {
    store.linearizable().await?;
    let copy = store.copy().ok_or(ReadError::Closed)?;
    copy.await.map(Box::new).map_err(|_| ReadError::Closed)
}
