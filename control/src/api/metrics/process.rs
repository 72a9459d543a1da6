//! What the process uses, read from `/proc` when asked.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Collects the process's use of processor, memory and descriptors.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        if let Some(seconds) = cpu_seconds() {
            let out = encoder.encode_descriptor(
                "process_cpu_seconds",
                "Processor time spent",
                None,
                MetricType::Counter,
            )?;
            ConstCounter::new(seconds).encode(out)?;
        }
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Memory in use", resident_bytes()),
            ("process_open_fds", "Open descriptors", open_descriptors()),
        ] {
            if let Some(value) = value {
                let out = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                ConstGauge::new(value).encode(out)?;
            }
        }
        Ok(())
    }
}

/// User and system time of all threads.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    cpu_seconds_of(&stat, rustix::param::clock_ticks_per_second())
}

/// Fields 14 and 15 of `stat`; the name in field 2 may hold spaces and parentheses.
fn cpu_seconds_of(stat: &str, ticks_per_second: u64) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    let ticks_per_second = u32::try_from(ticks_per_second).ok()?;
    Some((f64::from(user) + f64::from(system)) / f64::from(ticks_per_second))
}

fn resident_bytes() -> Option<i64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * i64::try_from(rustix::param::page_size()).ok()?)
}

fn open_descriptors() -> Option<i64> {
    i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "1 (a ) b) S 1 1 1 0 -1 4194560 10 20 0 0 250 150 0 0 20 0 1 0 100 0 0";
        assert_eq!(cpu_seconds_of(stat, 100), Some(4.0));
        assert_eq!(cpu_seconds_of("", 100), None);
    }
}
