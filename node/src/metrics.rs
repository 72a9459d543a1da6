//! What a node counts, as its server exposes it under `/metrics`.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::runtime::Runtime;

/// The media type of [`text`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry with what the runtime counts. Nodes of one process may share a runtime; then each tells of all of it.
pub(crate) fn registry(runtime: &Runtime) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Counted(runtime.clone())));
    registry
}

/// All of it, as text.
///
/// # Errors
/// A metric could not be written as text, which would be a mistake of ours.
pub(crate) fn text(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    encode(&mut text, registry)?;
    Ok(text)
}

/// Tells of live instances and failed requests when asked.
struct Counted(Runtime);

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counted")
    }
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, count) in [
            (
                "isopod_runtime_live_instances",
                "Instances of components that live now",
                self.0.instances_in_use(),
            ),
            ("isopod_runtime_live_instances_max", "Instances that can live at once", self.0.live_instances()),
        ] {
            let out = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::from(count)).encode(out)?;
        }
        let (trapped, out_of_memory) = self.0.failed_requests();
        let mut failed = encoder.encode_descriptor(
            "isopod_runtime_failed_requests",
            "Requests that failed in their component",
            None,
            MetricType::Counter,
        )?;
        for (reason, count) in [("trap", trapped), ("out_of_memory", out_of_memory)] {
            ConstCounter::new(count).encode(failed.encode_family(&[("reason", reason)])?)?;
        }
        Ok(())
    }
}
