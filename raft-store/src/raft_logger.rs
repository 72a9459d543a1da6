//! What the Raft library has to say, in our log.

use std::fmt::{self, Write};

use slog::{Drain, KV, Level, Never, OwnedKVList, Record};

/// A logger that passes everything to `tracing`, two levels less important: what the library takes for news is detail
/// here.
pub(crate) fn logger() -> slog::Logger {
    slog::Logger::root(ToTracing, slog::o!())
}

struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        match record.level() {
            Level::Critical | Level::Error => tracing::error!(target: "raft", "{}", text(record, values)),
            Level::Warning => tracing::warn!(target: "raft", "{}", text(record, values)),
            Level::Info => tracing::debug!(target: "raft", "{}", text(record, values)),
            Level::Debug | Level::Trace => tracing::trace!(target: "raft", "{}", text(record, values)),
        }
        Ok(())
    }
}

/// The message with its fields. Called only where `tracing` wants the event.
fn text(record: &Record<'_>, values: &OwnedKVList) -> String {
    let mut fields = Fields(String::new());
    // Writing to a string does not fail.
    drop(record.kv().serialize(record, &mut fields));
    drop(values.serialize(record, &mut fields));
    format!("{}{}", record.msg(), fields.0)
}

struct Fields(String);

impl slog::Serializer for Fields {
    fn emit_arguments(&mut self, key: slog::Key, value: &fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, " {key}={value}")?;
        Ok(())
    }
}
