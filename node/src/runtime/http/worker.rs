//! The task of one instance that answers more than one request.

use std::future::poll_fn;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use wasmtime::Store;
use wasmtime::component::Accessor;

use super::HttpContainer;
use super::call::{Instance, Linked};
use super::reuse::{Job, Pool, Seated};
use crate::runtime::engine::Host;
use crate::runtime::failure::Failure;
use crate::runtime::guest::Guest;

/// Runs an instance until it has answered all that it may, was idle for long, or failed.
pub(super) async fn run(
    container: Arc<HttpContainer>,
    pool: Arc<Pool>,
    seated: Seated,
    _instance: OwnedSemaphorePermit,
) {
    let Seated { id, mut jobs, deadline, ended } = seated;
    let mut store = Guest::store(&container.host.engine, container.grants.clone());
    let worker = Worker { component: &container.component, host: &container.host, pool: &pool, id };
    let work = container.cpu.run(&container.host.ticker, worker.work(&mut store, &mut jobs));
    let result = tokio::select! {
        biased;
        result = work => result.map_err(Some),
        () = container.cancel.cancelled() => Err(None),
        () = passed(deadline) => Err(None),
    };
    let failure = match result {
        Ok(()) => None,
        Err(Some(error)) => Some(Failure::new(&error, &store.data().memory)),
        Err(None) => Some(Failure::Cancelled),
    };
    pool.retire(id);
    if let Some(failure) = failure {
        container.count(&failure);
        // Before the store goes, and with it the bodies, which would look whole.
        ended.send_replace(Some(failure));
    }
    drop(store);
    while let Ok(job) = jobs.try_recv() {
        job.give_back();
    }
    pool.remove(id);
}

async fn passed(mut deadline: watch::Receiver<Option<Instant>>) {
    loop {
        let at = *deadline.borrow_and_update();
        let changed = deadline.changed();
        let passed = async {
            match at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = changed => if changed.is_err() { return std::future::pending().await },
            () = passed => return,
        }
    }
}

struct Worker<'a> {
    component: &'a Linked,
    host: &'a Host,
    pool: &'a Pool,
    id: u64,
}

impl Worker<'_> {
    async fn work(
        &self,
        store: &mut Store<Guest>,
        jobs: &mut tokio::sync::mpsc::Receiver<Job>,
    ) -> wasmtime::Result<()> {
        let instance = self.component.instantiate(store).await?;
        let work = store.run_concurrent(async |guests| {
            let mut calls = FuturesUnordered::new();
            let mut open = true;
            while open || !calls.is_empty() {
                // Cancel-safe: jobs stay in the queue, calls in the set.
                tokio::select! {
                    biased;
                    Some(done) = calls.next() => {
                        let () = done?;
                        if guests.with(|mut guest| guest.get().memory.refused()) {
                            self.pool.retire(self.id);
                        }
                    }
                    job = jobs.recv(), if open => match job {
                        Some(job) => calls.push(call(&instance, guests, job)),
                        None => open = false,
                    },
                    () = self.idle(), if open && calls.is_empty() => open = !self.pool.leave(self.id),
                }
            }
            poll_fn(|cx| guests.poll_no_interesting_tasks(cx)).await;
            Ok(())
        });
        work.await?
    }

    /// Ends when the instance has been idle for as long as it may, or another wants its place.
    async fn idle(&self) {
        tokio::select! {
            () = tokio::time::sleep(self.pool.reuse.idle) => {}
            () = self.host.wanted.notified() => {}
        }
    }
}

async fn call(instance: &Instance, guests: &Accessor<Guest>, job: Job) -> wasmtime::Result<()> {
    let Job { request, sender, turn, gone } = job;
    instance.answer(guests, request, sender).await?;
    turn.answered();
    if let Instance::P3(_) = instance {
        // It may still be writing the body, and works on the request until that has been taken.
        let _ = gone.await;
    }
    Ok(())
}
