//! What fairness shows, under the names that Kubernetes has for flow control.
//!
//! `priority_level` is the level; `flow_schema` is the level with what the request does, as each has seats of its own.
//! Everything is read when it is asked for: a request that is served at once counts in nothing but its pool.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::pool::{Picture, Pool};
use super::{Fairness, Level};

/// Collects what pools and accounts hold.
#[derive(Debug)]
pub(crate) struct FlowControl(pub(crate) Arc<Fairness>);

impl fmt::Debug for Fairness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fairness")
    }
}

/// A pool and its labels.
struct Flow<'a> {
    labels: [(&'static str, String); 2],
    pool: &'a Pool,
    picture: Picture,
}

impl Fairness {
    fn flows(&self) -> Vec<Flow<'_>> {
        let mut flows = Vec::new();
        for (level, pools) in Level::ALL.into_iter().zip(&self.pools) {
            for (what, pool) in ["reads", "writes"].into_iter().zip(pools) {
                let schema = format!("{}-{what}", level.name());
                let labels = [("priority_level", level.name().to_owned()), ("flow_schema", schema)];
                flows.push(Flow { labels, pool, picture: pool.picture() });
            }
        }
        flows
    }
}

impl Collector for FlowControl {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let flows = self.0.flows();
        gauges(
            &mut encoder,
            "nominal_limit_seats",
            "Requests that may be worked on at once",
            &flows,
            |own| own.seats,
        )?;
        gauges(&mut encoder, "current_executing_requests", "Requests that are worked on", &flows, |own| {
            own.taken
        })?;
        gauges(
            &mut encoder,
            "current_inqueue_requests",
            "Requests that wait for their turn",
            &flows,
            |own| own.waiting,
        )?;
        dispatched(&mut encoder, &flows)?;
        rejected(&mut encoder, &flows)?;
        waits(&mut encoder, &flows)?;
        let (bytes, lasting) = self.0.accounts.held();
        for (name, help, value) in [
            ("isopod_api_held_bytes", "Bytes of bodies and of answers that were not taken yet", bytes),
            ("isopod_api_lasting_requests", "Watches and other requests that last", lasting),
        ] {
            let gauge = gauge(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}

fn gauge(value: usize) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    flows: &[Flow<'_>],
    value: impl Fn(&Picture) -> usize,
) -> fmt::Result {
    let name = format!("apiserver_flowcontrol_{name}");
    let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
    for flow in flows {
        gauge(value(&flow.picture)).encode(family.encode_family(&flow.labels)?)?;
    }
    Ok(())
}

fn dispatched(encoder: &mut DescriptorEncoder<'_>, flows: &[Flow<'_>]) -> fmt::Result {
    let name = "apiserver_flowcontrol_dispatched_requests";
    let help = "Requests that got a seat";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for flow in flows {
        let counter = ConstCounter::new(flow.picture.counts.dispatched);
        counter.encode(family.encode_family(&flow.labels)?)?;
    }
    Ok(())
}

fn rejected(encoder: &mut DescriptorEncoder<'_>, flows: &[Flow<'_>]) -> fmt::Result {
    let name = "apiserver_flowcontrol_rejected_requests";
    let help = "Requests that were turned away";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for flow in flows {
        let counts = &flow.picture.counts;
        for (reason, count) in
            [("queue-full", counts.full), ("time-out", counts.timed_out), ("memory", counts.memory)]
        {
            let [level, schema] = &flow.labels;
            let labels = [level.clone(), schema.clone(), ("reason", reason.to_owned())];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn waits(encoder: &mut DescriptorEncoder<'_>, flows: &[Flow<'_>]) -> fmt::Result {
    let name = "apiserver_flowcontrol_request_wait_duration";
    let help = "Time that requests waited which had to";
    let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
    for flow in flows {
        flow.pool.waits().encode(family.encode_family(&flow.labels)?)?;
    }
    Ok(())
}
