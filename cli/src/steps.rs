//! How a verb of several steps shows what it does: each with its time, and a spinner while it takes long.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

/// Runs a step: a spinner while it takes long, then its name and time.
pub(crate) async fn step<T>(what: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let begun = Instant::now();
    let spinner = std::io::stdout().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}").expect("a fixed template");
        let bar = ProgressBar::new_spinner().with_style(style).with_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    });
    let outcome = work.await;
    if let Some(spinner) = spinner {
        spinner.finish_and_clear();
    }
    let elapsed = begun.elapsed().as_secs_f64();
    match &outcome {
        Ok(_) => say(&format!("ok    {elapsed:6.3} s  {what}"))?,
        Err(_) => say(&format!("FAIL  {elapsed:6.3} s  {what}"))?,
    }
    outcome.with_context(|| format!("could not {what}"))
}

/// Prints a line at once.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush().context("standard output is closed")
}
