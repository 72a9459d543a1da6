//! What the proxy counts, under the prefix of the registry it is given.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::facts::ServiceName;

/// The proxy's metrics; a clone counts into the same.
#[derive(Clone, Default)]
pub(crate) struct Metrics {
    requests: Arc<Requests>,
    /// Requests and connections that were tried on another endpoint.
    pub(crate) retries: Counter,
    /// Endpoints left alone for a while after a failure.
    pub(crate) ejections: Counter,
    /// Connections that clients have to the proxy.
    pub(crate) connections: Gauge,
    /// Addresses that are listened on.
    pub(crate) listeners: Gauge,
    /// Addresses that should be listened on and cannot be.
    pub(crate) listeners_failed: Gauge,
}

/// The answered requests, and who counts them: one for each Service, so that a Service deleted and made again
/// goes on with the same counters.
#[derive(Default)]
struct Requests {
    family: Family<RequestLabels, Counter>,
    services: Mutex<HashMap<Arc<ServiceName>, Weak<ServiceStats>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    namespace: String,
    service: String,
    code: u16,
}

impl Metrics {
    /// Metrics that `registry` exposes.
    pub(crate) fn registered(registry: &mut Registry) -> Metrics {
        let metrics = Metrics::default();
        let Metrics { requests, retries, ejections, connections, listeners, listeners_failed } =
            metrics.clone();
        registry.register(
            "requests",
            "HTTP requests answered, by service and status code",
            requests.family.clone(),
        );
        registry.register("retries", "Requests and connections tried on another endpoint", retries);
        registry.register("ejections", "Endpoints left alone for a while after a failure", ejections);
        registry.register("connections", "Connections that clients have to the proxy", connections);
        registry.register("listeners", "Addresses that are listened on", listeners);
        registry.register(
            "listeners_failed",
            "Addresses that should be listened on and cannot be",
            listeners_failed,
        );
        metrics
    }

    /// The counters of one Service; they leave the registry when the last holder drops them.
    pub(crate) fn service(&self, name: &Arc<ServiceName>) -> Arc<ServiceStats> {
        let mut services = self.requests.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stats) = services.get(name).and_then(Weak::upgrade) {
            return stats;
        }
        let stats = Arc::new(ServiceStats {
            name: Arc::clone(name),
            requests: Arc::clone(&self.requests),
            by_code: [const { OnceLock::new() }; COMMON_CODES.len()],
        });
        services.insert(Arc::clone(name), Arc::downgrade(&stats));
        stats
    }
}

/// Codes whose counters are found without a lock; others are rare.
const COMMON_CODES: [u16; 24] = [
    200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 409, 410, 422, 429, 500,
    502, 503, 504,
];

/// The counters of one Service.
pub(crate) struct ServiceStats {
    name: Arc<ServiceName>,
    requests: Arc<Requests>,
    by_code: [OnceLock<Counter>; COMMON_CODES.len()],
}

impl ServiceStats {
    /// Counts an answer.
    pub(crate) fn answered(&self, code: StatusCode) {
        match COMMON_CODES.binary_search(&code.as_u16()) {
            Ok(index) => self.by_code[index].get_or_init(|| self.counter(code.as_u16())).inc(),
            Err(_) => self.counter(code.as_u16()).inc(),
        };
    }

    /// Answers counted so far.
    #[cfg(test)]
    pub(crate) fn count(&self, code: StatusCode) -> u64 {
        self.counter(code.as_u16()).get()
    }

    fn counter(&self, code: u16) -> Counter {
        self.requests.family.get_or_create_owned(&self.labels(code))
    }

    fn labels(&self, code: u16) -> RequestLabels {
        RequestLabels {
            namespace: self.name.namespace.to_string(),
            service: self.name.name.to_string(),
            code,
        }
    }
}

impl Drop for ServiceStats {
    fn drop(&mut self) {
        let mut services = self.requests.services.lock().unwrap_or_else(PoisonError::into_inner);
        // A successor may have been made since the last holder let go; the counters are its own now.
        if services.get(&self.name).is_some_and(|stats| stats.strong_count() == 0) {
            services.remove(&self.name);
            for code in 100..600 {
                self.requests.family.remove(&self.labels(code));
            }
        }
    }
}

impl fmt::Debug for ServiceStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposed(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn answers_are_counted_by_service_and_code_until_the_service_goes() {
        let mut registry = Registry::default();
        let metrics = Metrics::registered(registry.sub_registry_with_prefix("isopod_proxy"));
        let stats = metrics.service(&Arc::new(ServiceName::new("shop", "web")));
        for code in [200, 200, 418] {
            stats.answered(StatusCode::from_u16(code).unwrap());
        }
        let text = exposed(&registry);
        for line in [
            r#"isopod_proxy_requests_total{namespace="shop",service="web",code="200"} 2"#,
            r#"isopod_proxy_requests_total{namespace="shop",service="web",code="418"} 1"#,
        ] {
            assert!(text.contains(line), "{text}");
        }
        drop(stats);
        assert!(!exposed(&registry).contains("web"));
    }
}
