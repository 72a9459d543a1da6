//! More requests than a member may work on: whoever floods is asked to come back, and nobody else notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::TryStreamExt as _;
use isopod_tests::client::{client, client_as};
use isopod_tests::control_plane::ControlPlane;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{GetParams, ListParams, ObjectMeta, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use tokio::task::JoinSet;

/// Requests that one caller has open all the time, many times what may be worked on.
const FLOOD: usize = 80;
/// What another caller does meanwhile, one thing after the other.
const QUIET: usize = 30;
/// Longest wait for anything.
const DEADLINE: Duration = Duration::from_secs(60);

fn config_maps(client: Client) -> Api<ConfigMap> {
    Api::namespaced(client, "default")
}

fn named(name: String) -> ConfigMap {
    ConfigMap { metadata: ObjectMeta { name: Some(name), ..ObjectMeta::default() }, ..ConfigMap::default() }
}

/// Reads and writes until it is told to stop; counts what it is answered.
async fn flood(api: Api<ConfigMap>, number: usize, stop: Arc<AtomicBool>, turned_away: Arc<AtomicUsize>) {
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let outcome = match round % 2 {
            0 => api.list(&ListParams::default()).await.map(drop),
            _ => api.create(&PostParams::default(), &named(format!("f-{number}-{round}"))).await.map(drop),
        };
        match outcome {
            Ok(()) => {}
            Err(kube::Error::Api(status)) if status.code == 429 => {
                assert_eq!(status.reason, "TooManyRequests");
                let details = status.details.as_ref().expect("it says when to come again");
                assert_eq!(details.retry_after_seconds, 1);
                turned_away.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Sees the creation of every object of the quiet caller.
async fn watch(api: Api<ConfigMap>) {
    let params = WatchParams::default().fields("metadata.name!=kube-root-ca.crt");
    let mut events = std::pin::pin!(api.watch(&params, "0").await.expect("a watch begins"));
    let mut seen = 0;
    while seen < QUIET {
        match events.try_next().await.expect("it goes on").expect("it does not end") {
            WatchEvent::Added(object)
                if object.metadata.name.as_deref().is_some_and(|name| name.starts_with("q-")) =>
            {
                seen += 1;
            }
            _ => {}
        }
    }
}

/// Does one thing after the other: each is done, at the first try.
async fn quiet(api: Api<ConfigMap>) {
    for round in 0..QUIET {
        api.create(&PostParams::default(), &named(format!("q-{round}"))).await.expect("created at once");
        api.get(&format!("q-{round}")).await.expect("read at once");
    }
}

#[test]
fn a_flood_is_turned_away_while_others_work_watch_and_ask_for_health() {
    let limits = ["--max-requests-inflight=20", "--max-mutating-requests-inflight=20"];
    let plane = ControlPlane::found(limits.map(str::to_owned).into());
    let server = &plane.servers[0];
    let users = ["--clusterrole=cluster-admin", "--user=flood", "--user=quiet"];
    server.kubectl(&[&["create", "clusterrolebinding", "users"][..], &users].concat()).ok();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let turned_away = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let stop = Arc::new(AtomicBool::new(false));
        let mut floods = JoinSet::new();
        for number in 0..FLOOD {
            let api = config_maps(client_as(&server.kubeconfig(), "flood").await);
            floods.spawn(flood(api, number, Arc::clone(&stop), Arc::clone(&turned_away)));
        }
        let own = client_as(&server.kubeconfig(), "quiet").await;
        let admin = client(&server.kubeconfig()).await;
        let health = async {
            for _ in 0..QUIET {
                let request = kube::api::Request::new("/readyz").get("any", &GetParams::default());
                let mut request = request.expect("a request can be made");
                *request.uri_mut() = "/readyz".parse().expect("a path");
                assert_eq!(admin.request_text(request).await.expect("healthy"), "ok");
            }
        };
        let meanwhile =
            async { tokio::join!(watch(config_maps(own.clone())), quiet(config_maps(own)), health) };
        tokio::time::timeout(DEADLINE, meanwhile).await.expect("nobody waits for the flood");
        while turned_away.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = floods.join_next().await {
            ended.expect("every answer is a success, or 429");
        }
    });
    let metrics = server.kubectl(&["get", "--raw", "/metrics"]).ok();
    let rejected = |line: &&str| {
        line.starts_with("apiserver_flowcontrol_rejected_requests_total{priority_level=\"users\"")
            && line.contains("reason=\"queue-full\"")
    };
    let counts =
        metrics.lines().filter(rejected).filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
    assert_eq!(counts.sum::<usize>(), turned_away.load(Ordering::Relaxed), "{metrics}");
    for name in ["nominal_limit_seats", "dispatched_requests_total", "request_wait_duration_seconds_bucket"] {
        assert!(metrics.contains(&format!("apiserver_flowcontrol_{name}{{")), "{name}");
    }
}
