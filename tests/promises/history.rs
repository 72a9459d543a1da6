//! Clients that read and write a few objects through any member while faults happen, and remember what they were told:
//! it must be what an object could tell that does one thing at a time, and what a watch of all changes has seen.

// The same search that the simulation of the store uses.
#[path = "../../raft-store/src/simulation/linearizability.rs"]
mod linearizability;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use isopod_tests::client::client;
use isopod_tests::control_plane::Server;
use isopod_tests::eventually;
use isopod_tests::observer::{Change, Observer, Seen, revision_of};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use linearizability::{Act, Call, Outcome, Value, Verdict};
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;

/// Objects that the clients share.
const OBJECTS: usize = 3;
const CLIENTS: usize = 4;

/// Between two calls of a client: the members' processes need the machine too.
const THINK: Duration = Duration::from_millis(15);

/// A client that waits for longer gives up, and does not know.
const PATIENCE: Duration = Duration::from_secs(10);

/// What all clients share.
struct Common {
    stop: AtomicBool,
    /// Orders what happens: a moment is one more than the one before.
    clock: AtomicU64,
    /// Values so far; none is written twice.
    values: AtomicU64,
    acknowledged: AtomicU64,
}

/// What a client was told of one call.
#[derive(Debug, Clone, Copy)]
struct Told {
    object: usize,
    act: Act,
    fate: Fate,
    begun: u64,
    ended: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Of a write, with its `resourceVersion`.
    Done(u64),
    /// The object was not as the client had seen it.
    Conflict,
    /// It did not happen.
    Denied,
    Unknown,
}

/// Clients at work.
pub(crate) struct History {
    runtime: Runtime,
    common: Arc<Common>,
    clients: Vec<JoinHandle<Vec<Told>>>,
    observer: Observer,
    kubeconfigs: Vec<PathBuf>,
    first: Vec<Told>,
}

impl History {
    /// Creates the objects and begins.
    #[track_caller]
    pub(crate) fn begin(servers: &[Server]) -> History {
        let runtime = Runtime::new().expect("a runtime can be made");
        let kubeconfigs: Vec<PathBuf> = servers.iter().map(Server::kubeconfig).collect();
        let common = Arc::new(Common {
            stop: AtomicBool::new(false),
            clock: AtomicU64::new(0),
            values: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
        });
        let first = runtime.block_on(create(&kubeconfigs[0], &common));
        let from = first.iter().filter_map(|told| told.revision()).min().expect("they were created") - 1;
        let observer = Observer::start(runtime.handle(), kubeconfigs.clone(), from);
        let clients = (0..CLIENTS)
            .map(|number| runtime.spawn(run(number, kubeconfigs.clone(), common.clone())))
            .collect();
        History { runtime, common, clients, observer, kubeconfigs, first }
    }

    /// Where others may run that watch the same.
    pub(crate) fn runtime(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Waits until the clients were told of some more writes.
    #[track_caller]
    pub(crate) fn await_writes(&self) {
        let before = self.common.acknowledged.load(Ordering::Relaxed);
        eventually("writes go on", || {
            let now = self.common.acknowledged.load(Ordering::Relaxed);
            if now >= before + 3 { Ok(()) } else { Err(format!("{} since", now - before)) }
        });
    }

    /// Ends it, with every member up: whatever the clients were told must be true. Returns what was seen of all changes.
    #[track_caller]
    pub(crate) fn end(self) -> Seen {
        let History { runtime, common, clients, observer, kubeconfigs, first } = self;
        common.stop.store(true, Ordering::Relaxed);
        let mut told = first;
        for client in clients {
            told.extend(runtime.block_on(client).expect("no client panics"));
        }
        let last = runtime.block_on(last_write(&kubeconfigs[0], &common));
        told.push(last);
        for kubeconfig in &kubeconfigs {
            told.extend(runtime.block_on(read_all(kubeconfig, &common)));
        }
        let seen = observer.end_at(last.revision().expect("the last write is done"));
        assert_eq!(seen.compacted, 0, "nothing is so old that it would be forgotten");
        check(&told, &seen.changes);
        let unknown = told.iter().filter(|told| told.fate == Fate::Unknown).count();
        eprintln!("{} calls, {unknown} of unknown outcome; {} changes seen", told.len(), seen.changes.len());
        seen
    }
}

impl Told {
    fn revision(&self) -> Option<u64> {
        match (self.act, self.fate) {
            (Act::Write(_) | Act::Swap { .. }, Fate::Done(revision)) => Some(revision),
            _ => None,
        }
    }

    /// What it wrote, or wanted to.
    fn value(&self) -> Option<Value> {
        match self.act {
            Act::Write(to) | Act::Swap { to, .. } => Some(to),
            Act::Read(_) => None,
        }
    }
}

fn name(object: usize) -> String {
    format!("shared-{object}")
}

fn object(number: usize, value: Value, version: Option<String>) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(name(number));
    object.metadata.resource_version = version;
    object.data = Some(BTreeMap::from([("v".to_owned(), value.to_string())]));
    object
}

fn value_of(object: &ConfigMap) -> Value {
    let value = object.data.as_ref().and_then(|data| data.get("v"));
    value.and_then(|value| value.parse().ok()).expect("every shared object has a number")
}

impl Common {
    fn moment(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn next_value(&self) -> Value {
        self.values.fetch_add(1, Ordering::Relaxed) + 1
    }
}

async fn create(kubeconfig: &std::path::Path, common: &Common) -> Vec<Told> {
    let api = Api::<ConfigMap>::namespaced(client(kubeconfig).await, "default");
    let mut told = Vec::new();
    for number in 0..OBJECTS {
        let (begun, value) = (common.moment(), common.next_value());
        let created = api.create(&PostParams::default(), &object(number, value, None)).await;
        let revision = revision_of(&created.expect("it is created"));
        let (act, ended) = (Act::Write(value), common.moment());
        told.push(Told { object: number, act, fate: Fate::Done(revision), begun, ended });
    }
    told
}

/// A write after all others.
async fn last_write(kubeconfig: &std::path::Path, common: &Common) -> Told {
    let mut client = Caller::new(0, std::slice::from_ref(&kubeconfig.to_owned())).await;
    client.write(0, None, common).await
}

/// What a member says in the end.
async fn read_all(kubeconfig: &std::path::Path, common: &Common) -> Vec<Told> {
    let mut client = Caller::new(0, std::slice::from_ref(&kubeconfig.to_owned())).await;
    let mut told = Vec::new();
    for object in 0..OBJECTS {
        told.push(client.read(object, common).await.expect("a member that is well answers"));
    }
    told
}

async fn run(number: usize, kubeconfigs: Vec<PathBuf>, common: Arc<Common>) -> Vec<Told> {
    let mut caller = Caller::new(number, &kubeconfigs).await;
    let mut told = Vec::new();
    for turn in number.. {
        if common.stop.load(Ordering::Relaxed) {
            break;
        }
        let object = turn % OBJECTS;
        let call = match turn % 4 {
            0 | 2 => caller.read(object, &common).await,
            1 => Some(caller.write(object, None, &common).await),
            _ => Some(caller.write(object, caller.seen[object].clone(), &common).await),
        };
        if call.is_none_or(|told| matches!(told.fate, Fate::Unknown | Fate::Denied)) {
            caller.go_on_elsewhere();
        }
        told.extend(call);
        tokio::time::sleep(THINK).await;
    }
    told
}

/// One client, that talks to one member at a time.
struct Caller {
    members: Vec<Api<ConfigMap>>,
    at: usize,
    /// What it last saw of each object, and at which `resourceVersion`.
    seen: Vec<Option<(Value, String)>>,
}

impl Caller {
    async fn new(at: usize, kubeconfigs: &[PathBuf]) -> Caller {
        let mut members = Vec::new();
        for kubeconfig in kubeconfigs {
            members.push(Api::namespaced(client(kubeconfig).await, "default"));
        }
        Caller { at: at % members.len(), members, seen: vec![None; OBJECTS] }
    }

    fn go_on_elsewhere(&mut self) {
        self.at = (self.at + 1) % self.members.len();
    }

    /// A read that failed tells nothing.
    async fn read(&mut self, object: usize, common: &Common) -> Option<Told> {
        let begun = common.moment();
        let call = tokio::time::timeout(PATIENCE, self.members[self.at].get(&name(object))).await;
        let found = call.ok()?.ok()?;
        self.note(object, &found);
        let (act, ended) = (Act::Read(value_of(&found)), common.moment());
        Some(Told { object, act, fate: Fate::Done(revision_of(&found)), begun, ended })
    }

    /// Writes, if the object still is as it was `seen`.
    async fn write(&mut self, number: usize, seen: Option<(Value, String)>, common: &Common) -> Told {
        let to = common.next_value();
        let act = match &seen {
            Some((from, _)) => Act::Swap { from: *from, to },
            None => Act::Write(to),
        };
        let wanted = object(number, to, seen.map(|(_, version)| version));
        let (begun, params) = (common.moment(), PostParams::default());
        let name = name(number);
        let call = self.members[self.at].replace(&name, &params, &wanted);
        let fate = match tokio::time::timeout(PATIENCE, call).await {
            Ok(Ok(written)) => {
                common.acknowledged.fetch_add(1, Ordering::Relaxed);
                self.note(number, &written);
                Fate::Done(revision_of(&written))
            }
            Ok(Err(kube::Error::Api(status))) => match (status.code, act) {
                (409, Act::Swap { .. }) => Fate::Conflict,
                (400..500, _) => Fate::Denied,
                _ => Fate::Unknown,
            },
            _ => Fate::Unknown,
        };
        Told { object: number, act, fate, begun, ended: common.moment() }
    }

    fn note(&mut self, object: usize, found: &ConfigMap) {
        let version = found.metadata.resource_version.clone().unwrap_or_default();
        self.seen[object] = Some((value_of(found), version));
    }
}

/// Everything that was acknowledged happened once, where it was said to; nothing happened that nobody asked for, or that was
/// refused; and what was read can be explained.
#[track_caller]
fn check(told: &[Told], changes: &[Change]) {
    for object in 0..OBJECTS {
        let name = name(object);
        let told: Vec<&Told> = told.iter().filter(|told| told.object == object).collect();
        let changes = changes.iter().filter(|change| change.name == name);
        let mut happened = BTreeMap::new();
        for change in changes {
            let value: Value = change.value.as_ref().and_then(|v| v.parse().ok()).expect("it has a number");
            let before = happened.insert(value, change.revision);
            assert_eq!(before, None, "{name}: {value} was written twice");
        }
        let asked = told.iter().filter(|told| matches!(told.fate, Fate::Done(_) | Fate::Unknown));
        let asked: BTreeSet<Value> = asked.filter_map(|told| told.value()).collect();
        let phantoms: Vec<_> = happened.keys().filter(|value| !asked.contains(value)).collect();
        assert!(phantoms.is_empty(), "{name}: nobody wrote {phantoms:?}, or it was refused");
        for told in &told {
            if let (Some(revision), Some(value)) = (told.revision(), told.value()) {
                assert_eq!(happened.get(&value), Some(&revision), "{name}: {told:?} was acknowledged");
            }
        }
        let calls: Vec<Call> = told.iter().filter_map(|told| told.call(&happened)).collect();
        match linearizability::check(&calls) {
            Verdict::Linearizable => {}
            Verdict::Impossible(at) => panic!("{name}: nothing explains {:?}", calls[at]),
            Verdict::Undecided => panic!("{name}: {} calls are too many to judge", calls.len()),
        }
    }
}

impl Told {
    /// The call as the search takes it. A write of unknown outcome that no watch has seen never happened.
    fn call(&self, happened: &BTreeMap<Value, u64>) -> Option<Call> {
        let (outcome, ended) = match self.fate {
            Fate::Done(_) => (Outcome::Done, self.ended),
            Fate::Conflict => (Outcome::Refused, self.ended),
            Fate::Unknown if self.value().is_some_and(|value| happened.contains_key(&value)) => {
                (Outcome::Unknown, u64::MAX)
            }
            Fate::Denied | Fate::Unknown => return None,
        };
        Some(Call { act: self.act, outcome, begun: self.begun, ended })
    }
}

#[test]
fn a_history_that_lost_a_write_or_has_one_too_many_is_seen() {
    let told = |act, fate, begun| Told { object: 0, act, fate, begun, ended: begun + 1 };
    let change = |revision, value: Value| Change {
        revision,
        name: name(0),
        value: Some(value.to_string()),
        deleted: false,
    };
    let written = [
        told(Act::Write(1), Fate::Done(5), 1),
        told(Act::Write(2), Fate::Unknown, 3),
        told(Act::Swap { from: 1, to: 3 }, Fate::Conflict, 5),
        told(Act::Read(2), Fate::Done(6), 7),
    ];
    check(&written, &[change(5, 1), change(6, 2)]);
    let fails = |changes: &[Change]| {
        let (told, changes) = (written.to_vec(), changes.to_vec());
        std::panic::catch_unwind(move || check(&told, &changes)).is_err()
    };
    assert!(fails(&[change(6, 2)]), "an acknowledged write is missing");
    assert!(fails(&[change(5, 1), change(6, 2), change(7, 3)]), "a refused write happened");
    assert!(fails(&[change(5, 1), change(6, 2), change(7, 9)]), "nobody asked for that");
    assert!(fails(&[change(5, 1), change(6, 2), change(7, 2)]), "one write happened twice");
    assert!(fails(&[change(5, 1)]), "what was read was never written");
}
