//! Figures of Kubernetes that ours stand beside.
//!
//! Measured, not taken from papers: kube-apiserver 1.36.2 with etcd 3.6 (one member, fsync on) on a machine with 2
//! cores, 24 GiB and a virtio disk that does 10,650 fdatasync/s of 256 bytes; client and server on the same cores, over
//! loopback with TLS, JSON, HTTP/1.1, one connection a worker; the same requests, bodies and counts as here; medians
//! of three. The client was written in Go, with the standard library only.

/// Whose figures these are.
pub(crate) const KUBERNETES: &str = "Kubernetes";

/// A load of writes: how many connections, how many requests, and what kube-apiserver does of them per second.
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) count: usize,
    pub(crate) prefix: &'static str,
    pub(crate) per_second: f64,
    pub(crate) goal: Option<f64>,
}

/// Creates of minimal pods; together 10,000.
pub(crate) const CREATES: [Load; 3] = [
    Load { connections: 1, count: 1_500, prefix: "a", per_second: 696.0, goal: None },
    Load { connections: 16, count: 4_000, prefix: "b", per_second: 1_829.0, goal: None },
    Load { connections: 64, count: 4_500, prefix: "p", per_second: 2_167.0, goal: Some(6_500.0) },
];
/// Latency of one create at a time.
pub(crate) const CREATE_P50_MS: f64 = 1.3;
/// Merge patches of one label.
pub(crate) const PATCHES: Load =
    Load { connections: 64, count: 4_500, prefix: "p", per_second: 1_488.0, goal: Some(5_000.0) };
/// Deletes without grace.
pub(crate) const DELETES: Load =
    Load { connections: 16, count: 4_000, prefix: "b", per_second: 1_106.0, goal: Some(4_000.0) };
/// Linearizable reads of one pod.
pub(crate) const GETS: Load =
    Load { connections: 64, count: 4_500, prefix: "p", per_second: 6_295.0, goal: Some(15_000.0) };

/// All of 10,000 pods (19.85 MB), in milliseconds.
pub(crate) const LIST_MS: f64 = 198.0;
/// The same as a Table.
pub(crate) const LIST_TABLE_MS: f64 = 87.0;
/// The same compressed, decompressed by the client.
pub(crate) const LIST_GZIP_MS: f64 = 138.0;
/// The same in pages of 500.
pub(crate) const LIST_PAGES_MS: f64 = 191.0;
/// The same as a watch with initial events, to its bookmark.
pub(crate) const LIST_STREAM_MS: f64 = 269.0;

/// From sending a create to the event of one watcher, 50 creates a second.
pub(crate) const WATCH_P50_MS: f64 = 2.6;
/// The same, 99 of 100.
pub(crate) const WATCH_P99_MS: f64 = 3.9;

/// From exec of kube-apiserver (etcd already runs) to 200 on `/readyz`, empty.
pub(crate) const READY_MS: f64 = 1_950.0;
/// Resident memory of kube-apiserver, etcd, kube-controller-manager and kube-scheduler, idle.
pub(crate) const IDLE_MIB: f64 = 500.0;
/// Resident memory of kube-apiserver and etcd after the load of `api`.
pub(crate) const LOADED_MIB: f64 = 1_069.0;
/// Kubernetes' own objective for the start of a pod with its image pulled: 99 of 100 within 5 s.
pub(crate) const POD_START_P99_MS: f64 = 5_000.0;

/// 2,000 pods on 20 fake nodes, created and bound, with the limits of kube-scheduler's and kube-controller-manager's
/// clients raised; with the default limits 53.
pub(crate) const BOUND_PER_SECOND: f64 = 616.0;
/// A Deployment of 500 until its pods exist, likewise; with the default limits 24 s.
pub(crate) const DEPLOYMENT_500_MS: f64 = 770.0;
/// From the create of one pod to its binding, likewise; with the default limits 54 ms.
pub(crate) const FIRST_BOUND_MS: f64 = 44.0;
/// What Kubernetes' own scheduler benchmark asks for with required anti-affinity, on larger machines.
pub(crate) const APART_PER_SECOND: f64 = 60.0;
