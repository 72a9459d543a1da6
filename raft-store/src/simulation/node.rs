//! One member with its disk, and the loop of the driver's thread as the simulation runs it: a turn up to a sync, the
//! sync, what follows it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use super::Micros;
use crate::config::Config;
use crate::disk::memory::{Faults, MemoryDisk};
use crate::error::{DriverError, OpenError};
use crate::log::Unsynced;
use crate::member::{Member, TICK};
use crate::membership::Founding;
use crate::open;
use crate::shared::{Input, Shared};
use crate::store::Store;
use crate::transport::{self, Letter};
use crate::worker::{Job, Outcome};

pub(super) struct Node {
    pub(super) id: u64,
    pub(super) config: Config,
    pub(super) disk: MemoryDisk,
    pub(super) running: Option<Running>,
    /// How often it was started.
    pub(super) life: u64,
    /// Speed of its clock: parts in a million of the true one.
    speed: u64,
    pub(super) paused: bool,
    /// It takes part, or is about to.
    pub(super) joined: bool,
    /// The others removed it, and it knows.
    pub(super) removed: bool,
    /// A bit of its memory flipped, and it does not know yet.
    pub(super) flipped: bool,
    /// It lost what it had and is sent it again by the others.
    pub(super) returning: bool,
    pub(super) faults: Faults,
}

/// A process that runs.
pub(super) struct Running {
    pub(super) store: Store,
    pub(super) shared: Arc<Shared>,
    pub(super) member: Member,
    /// The driver waits for the disk.
    pub(super) syncing: Option<Unsynced>,
    /// When the driver will look again.
    pub(super) wake: Option<Micros>,
    opened: Micros,
    ticked: Duration,
    election_ticks: usize,
}

/// What a turn leaves to be done.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) letters: Vec<(Bytes, Letter)>,
    pub(super) jobs: Vec<Job>,
    /// The process was asked to stop, and has done all that it can before.
    pub(super) stops: bool,
}

/// Why a process ended.
#[derive(Debug)]
pub(super) enum End {
    /// It was killed half-way through a change of the disk.
    Killed,
    /// It was asked to.
    Stopped,
    Failed(DriverError),
}

impl Node {
    pub(super) fn new(config: Config, disk: MemoryDisk, speed: u64) -> Self {
        let faults = Faults::default();
        let id = config.member.0;
        Self {
            id,
            joined: config.founding == Founding::Alone,
            config,
            disk,
            running: None,
            life: 0,
            speed,
            paused: false,
            removed: false,
            flipped: false,
            returning: false,
            faults,
        }
    }

    pub(super) fn start(&mut self, now: Micros, random: &mut StdRng) -> Result<(), OpenError> {
        self.life += 1;
        let (shared, member) = open::open(&self.config, Arc::new(self.disk.clone()), random.next_u64())?;
        self.running = Some(Running {
            store: Store::of(shared.clone()),
            shared,
            member,
            syncing: None,
            wake: None,
            opened: now,
            ticked: Duration::ZERO,
            election_ticks: 0,
        });
        Ok(())
    }

    /// The process is gone. With `power` lost, so is what was not synced.
    pub(super) fn crash(&mut self, power: Option<u64>) {
        self.running = None;
        self.paused = false;
        self.flipped = false;
        self.faults.killed_at = None;
        if let Some(seed) = power {
            self.disk = self.disk.crashed(seed);
        }
        self.apply_faults();
    }

    pub(super) fn apply_faults(&self) {
        self.disk.set_faults(self.faults.clone());
    }

    /// Whether the change at which it is to be killed has come.
    fn was_killed(&self) -> bool {
        self.faults.killed_at.is_some_and(|at| self.disk.changes() >= at)
    }

    fn local(&self, opened: Micros, now: Micros) -> Duration {
        Duration::from_micros((now - opened) * self.speed / 1_000_000)
    }

    /// Lets readers know the time.
    pub(super) fn tell_time(&self, now: Micros) {
        if let Some(running) = &self.running {
            let nanos = self.local(running.opened, now).as_nanos() as u64;
            running.shared.simulated_nanos.store(nanos, Ordering::Relaxed);
        }
    }

    /// As the driver: take what waits, let the clock tick, let the member act.
    pub(super) fn turn(&mut self, now: Micros, random: &mut StdRng) -> Result<Effects, End> {
        let Some(opened) = self.running.as_ref().map(|running| running.opened) else {
            return Ok(Effects::default());
        };
        let local = self.local(opened, now);
        let running = self.running.as_mut().expect("checked to be there");
        let mut inputs = Vec::new();
        running.shared.inbox.take(&mut inputs, Duration::ZERO);
        if inputs.is_empty() {
            running.shared.history.expire(local);
        }
        if running.member.needs_ticks() && local >= running.ticked + TICK {
            running.ticked = local;
            let draw = |range: std::ops::Range<usize>| random.random_range(range);
            running.member.draw_election_timeout(&mut running.election_ticks, draw);
            running.member.tick();
        }
        let stepped = running.member.step(inputs.into_iter(), local);
        self.go_on(stepped)
    }

    /// The disk has what the driver waits for, unless it fails.
    pub(super) fn synced(&mut self) -> Result<Effects, End> {
        let Some(running) = &mut self.running else { return Ok(Effects::default()) };
        let Some(written) = running.syncing.take() else { return Ok(Effects::default()) };
        let stepped = match written.sync() {
            Ok(()) => running.member.synced(&written),
            Err(error) => Err(error.into()),
        };
        self.go_on(stepped)
    }

    fn go_on(&mut self, stepped: Result<Option<Unsynced>, DriverError>) -> Result<Effects, End> {
        if self.was_killed() {
            return Err(End::Killed);
        }
        let running = self.running.as_mut().expect("only a process that runs goes on");
        running.syncing = stepped.map_err(End::Failed)?;
        let cluster = running.shared.cluster;
        let letters = running.member.take_messages();
        let encode = |letter: Letter| Some((transport::encode(cluster, &letter)?, letter));
        let letters = letters.into_iter().filter_map(encode).collect();
        let waits = running.syncing.is_some();
        let jobs = if waits { Vec::new() } else { running.member.take_jobs() };
        let stops = !waits && running.member.is_stopping() && !running.member.wants_more();
        Ok(Effects { letters, jobs, stops })
    }

    /// The second thread has done a job.
    pub(super) fn work(&mut self, job: Job) -> Result<(), End> {
        let Some(running) = &self.running else { return Ok(()) };
        let outcome: Outcome = job.run(&self.disk);
        drop(running.shared.inbox.push(Input::Done(outcome)));
        if self.was_killed() { Err(End::Killed) } else { Ok(()) }
    }

    /// Somebody asks the process to end.
    pub(super) fn stop(&self) {
        if let Some(running) = &self.running {
            drop(running.shared.inbox.push(Input::Shutdown));
        }
    }

    /// All files are gone; the process will wait for those of the others.
    pub(super) fn empty(&mut self) {
        self.disk = MemoryDisk::default();
        self.config.founding = Founding::Join;
        self.apply_faults();
    }

    /// As the driver does when the member has failed.
    pub(super) fn close(&mut self) {
        if let Some(running) = &mut self.running {
            running.member.close();
            running.shared.close();
        }
    }

    /// How long the driver sleeps when nothing comes in.
    pub(super) fn sleep(&self, now: Micros) -> Micros {
        let Some(running) = &self.running else { return 0 };
        let tick = TICK.as_micros() as Micros;
        if running.member.wants_more() {
            return 0;
        }
        let local = self.local(running.opened, now);
        let until = running.member.wake_at().map_or(TICK, |at| TICK.min(at.saturating_sub(local)));
        (until.as_micros() as Micros).min(tick) * 1_000_000 / self.speed + 1
    }

    pub(super) fn has_input(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.shared.inbox.len() > 0)
    }

    pub(super) fn is_serving(&self) -> bool {
        self.running.is_some() && !self.paused
    }

    /// The process, when what it shows has to be right.
    pub(super) fn trusted(&self) -> Option<&Running> {
        self.running.as_ref().filter(|_| !self.flipped)
    }

    pub(super) fn leads(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.member.view().leads)
    }
}
