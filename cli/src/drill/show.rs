//! How a drill is shown while it goes on.

use std::time::Instant;

use anyhow::Context as _;

use crate::steps::{say, step};

/// How the steps are shown.
#[derive(Clone, Copy)]
pub(super) struct Show {
    pub(super) started: Instant,
    /// Nothing but the result goes to standard output.
    pub(super) quiet: bool,
}

impl Show {
    pub(super) async fn step<T>(
        self,
        what: &str,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        if self.quiet {
            return work.await.with_context(|| format!("could not {what}"));
        }
        step(what, work).await
    }

    pub(super) fn line(self, text: &str) -> anyhow::Result<()> {
        self.say(&format!("\n{:6.1} s  {text}", self.started.elapsed().as_secs_f64()))
    }

    pub(super) fn detail(self, text: &str) -> anyhow::Result<()> {
        self.say(&format!("          {text}"))
    }

    pub(super) fn say(self, text: &str) -> anyhow::Result<()> {
        if self.quiet {
            eprintln!("{text}");
            return Ok(());
        }
        say(text)
    }
}
