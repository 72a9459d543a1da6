//! Counts of the way to each peer, for `/metrics`.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{PeerStatus, Peers};

/// Reads the counts when asked.
pub(crate) struct PeerMetrics(pub(crate) Peers);

impl std::fmt::Debug for PeerMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerMetrics")
    }
}

/// Name, help and value of a counter.
type CounterOf = (&'static str, &'static str, fn(&PeerStatus) -> u64);

const COUNTERS: [CounterOf; 4] = [
    ("isopod_peer_sent_messages", "Messages handed to the connection to a member", |peer| peer.sent),
    ("isopod_peer_sent_bytes", "Bytes of messages handed to the connection to a member", |peer| {
        peer.sent_bytes
    }),
    ("isopod_peer_dropped_messages", "Messages for a member that were dropped", |peer| peer.dropped),
    ("isopod_peer_dropped_bytes", "Bytes of messages for a member that were dropped", |peer| {
        peer.dropped_bytes
    }),
];

impl Collector for PeerMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let peers = self.0.status();
        if peers.is_empty() {
            return Ok(());
        }
        for (name, help, value) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for peer in &peers {
                let counter = ConstCounter::new(value(peer));
                counter.encode(family.encode_family(&[("member", peer.member.0)])?)?;
            }
        }
        let help = "Whether a member takes messages now";
        let mut family = encoder.encode_descriptor("isopod_peer_connected", help, None, MetricType::Gauge)?;
        for peer in &peers {
            let gauge = ConstGauge::new(i64::from(peer.connected));
            gauge.encode(family.encode_family(&[("member", peer.member.0)])?)?;
        }
        Ok(())
    }
}
