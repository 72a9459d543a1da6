//! Liveness, readiness and startup probes, by the kubelet's rules: thresholds in a row, the startup probe before the
//! others, readiness false and liveness true until proven otherwise.
//!
//! A pod that answers in process is asked in process: the probe is a request to its handler, not a connection.

mod attempt;
mod declared;
mod streak;

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use tokio::time::Instant;

pub use attempt::Target;

use self::attempt::Outcome;
use self::declared::Probe;
use self::streak::{Streak, Turn};

/// Which question a probe answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Has it started?
    Startup,
    /// Should it get requests?
    Readiness,
    /// Is it alive?
    Liveness,
}

impl Purpose {
    /// As it begins a sentence of the kubelet.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// What a probe found that somebody should know.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// One attempt failed.
    Failed {
        /// Of which probe.
        purpose: Purpose,
        /// What happened.
        message: String,
    },
    /// The startup probe passed.
    Started,
    /// The readiness probe passed often enough.
    Ready,
    /// The readiness probe failed often enough.
    NotReady,
    /// The liveness or startup probe failed often enough: the container is to be stopped.
    Unhealthy {
        /// Which.
        purpose: Purpose,
        /// How long the container has to stop, where the probe says so itself.
        grace: Option<Duration>,
    },
}

/// The probes of one running container.
pub struct Prober {
    target: Target,
    started: bool,
    active: Vec<Active>,
    /// Findings that came together with the one returned last.
    pending: Vec<Finding>,
}

struct Active {
    purpose: Purpose,
    probe: Probe,
    streak: Streak,
    due: Instant,
    /// The attempt under way: kept here, so that a caller who stops waiting does not lose it.
    attempt: Option<BoxFuture<'static, Outcome>>,
}

/// Which probes a container has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared {
    /// A startup probe.
    pub startup: bool,
    /// A readiness probe.
    pub readiness: bool,
}

/// Which of the probes that gate a container's status it declares.
pub fn declared(container: &Container) -> Declared {
    Declared { startup: container.startup_probe.is_some(), readiness: container.readiness_probe.is_some() }
}

/// Makes one request as a probe would, for a lifecycle hook. `Err` says what came instead of success.
pub(crate) async fn get(
    action: &HTTPGetAction,
    container: &Container,
    target: Target,
    timeout: Duration,
) -> Result<(), String> {
    match attempt::check(declared::http_check(action, container), timeout, target).await {
        Outcome::Passed => Ok(()),
        Outcome::Failed(message) => Err(message),
    }
}

impl Prober {
    /// The probes of a container that has just started; `None` if it declares none.
    pub fn new(container: &Container, target: Target) -> Option<Self> {
        let probes = [
            (Purpose::Startup, &container.startup_probe),
            (Purpose::Readiness, &container.readiness_probe),
            (Purpose::Liveness, &container.liveness_probe),
        ];
        let declared = probes.into_iter().filter_map(|(purpose, probe)| Some((purpose, probe.as_ref()?)));
        let probes: Vec<_> =
            declared.map(|(purpose, probe)| (purpose, Probe::read(probe, container))).collect();
        (!probes.is_empty()).then(|| Self::with(probes, target))
    }

    fn with(probes: Vec<(Purpose, Probe)>, target: Target) -> Self {
        let now = Instant::now();
        let started = probes.iter().all(|(purpose, _)| *purpose != Purpose::Startup);
        let active = probes.into_iter().map(|(purpose, probe)| {
            let streak = Streak::new(probe.success_threshold, probe.failure_threshold);
            Active { purpose, due: now + probe.initial_delay, probe, streak, attempt: None }
        });
        Self { target, started, active: active.collect(), pending: Vec::new() }
    }

    /// The next finding. Cancel-safe.
    pub async fn next(&mut self) -> Finding {
        loop {
            if let Some(finding) = self.pending.pop() {
                return finding;
            }
            let Self { target, started, active, .. } = self;
            // Until it has started only that is asked; afterwards that is asked no more.
            let asking = active.iter_mut().filter(|active| (active.purpose == Purpose::Startup) != *started);
            let steps: Vec<_> = asking.map(|active| active.step(target).boxed()).collect();
            if steps.is_empty() {
                return std::future::pending().await;
            }
            let ((purpose, grace, turn, message), _, _) = futures::future::select_all(steps).await;
            self.take(purpose, grace, turn, message);
        }
    }

    fn take(
        &mut self,
        purpose: Purpose,
        grace: Option<Duration>,
        turn: Option<Turn>,
        failure: Option<String>,
    ) {
        let change = match (purpose, turn) {
            (_, None) => None,
            (Purpose::Startup, Some(Turn::Good)) => {
                self.started = true;
                Some(Finding::Started)
            }
            (Purpose::Readiness, Some(Turn::Good)) => Some(Finding::Ready),
            (Purpose::Readiness, Some(Turn::Bad)) => Some(Finding::NotReady),
            (Purpose::Liveness, Some(Turn::Good)) => None,
            (Purpose::Startup | Purpose::Liveness, Some(Turn::Bad)) => {
                Some(Finding::Unhealthy { purpose, grace })
            }
        };
        // Popped from the end: the failure is told before what it leads to.
        self.pending.extend(change);
        self.pending.extend(failure.map(|message| Finding::Failed { purpose, message }));
    }
}

impl Active {
    /// Waits for the next attempt and makes it. Cancel-safe: an attempt under way goes on with the next call.
    async fn step(&mut self, target: &Target) -> (Purpose, Option<Duration>, Option<Turn>, Option<String>) {
        if self.attempt.is_none() {
            tokio::time::sleep_until(self.due).await;
        }
        let attempt = self.attempt.get_or_insert_with(|| attempt::attempt(&self.probe, target.clone()));
        let outcome = attempt.await;
        self.attempt = None;
        self.due = Instant::now() + self.probe.period;
        let (turn, message) = match outcome {
            Outcome::Passed => (self.streak.record(Turn::Good), None),
            Outcome::Failed(message) => (self.streak.record(Turn::Bad), Some(message)),
        };
        (self.purpose, self.probe.grace, turn, message)
    }
}

#[cfg(test)]
mod tests;
