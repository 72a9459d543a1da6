//! An operator as people write them, with kube's runtime: a kind of its own, a controller with a finalizer, children by
//! server-side apply, status; also when the leader dies under it. And reflectors, which keep a copy of what there is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use isopod_tests::Cluster;
use isopod_tests::client::client;
use isopod_tests::control_plane::{ControlPlane, Server};
use isopod_tests::eventually;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::finalizer::{self, Event, finalizer};
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;
use tokio::runtime::Runtime;

/// A kind with a size, and a status that says what was made of it.
const GADGETS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: gadgets, singular: gadget, kind: Gadget}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}}
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, required: [size], properties: {size: {type: integer, minimum: 1}}}
            status: {type: object, properties: {made: {type: integer}}}
"#;

fn gadget_kind() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Gadget"))
}

fn gadgets(client: Client) -> Api<DynamicObject> {
    Api::default_namespaced_with(client, &gadget_kind())
}

fn gadget(name: &str, size: u64) -> String {
    format!("apiVersion: example.com/v1\nkind: Gadget\nmetadata: {{name: {name}}}\nspec: {{size: {size}}}")
}

type Failed = finalizer::Error<kube::Error>;

/// Makes of a gadget a ConfigMap that says its size; of one that goes, a ConfigMap that says goodbye.
async fn reconcile(gadget: Arc<DynamicObject>, client: Arc<Client>) -> Result<Action, Failed> {
    let api = gadgets(Client::clone(&client));
    finalizer(&api, "example.com/cleanup", gadget, async |event| match event {
        Event::Apply(gadget) => apply(&client, &gadget).await,
        Event::Cleanup(gadget) => {
            let maps: Api<ConfigMap> = Api::default_namespaced(Client::clone(&client));
            let name = format!("goodbye-{}", gadget.name_any());
            let map = ConfigMap { metadata: named(&name), ..ConfigMap::default() };
            match maps.create(&PostParams::default(), &map).await {
                Ok(_) => Ok(Action::await_change()),
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                    Ok(Action::await_change())
                }
                Err(error) => Err(error),
            }
        }
    })
    .await
}

fn named(name: &str) -> kube::core::ObjectMeta {
    kube::core::ObjectMeta { name: Some(name.to_owned()), ..Default::default() }
}

async fn apply(client: &Client, gadget: &DynamicObject) -> Result<Action, kube::Error> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let (name, size) = (gadget.name_any(), gadget.data["spec"]["size"].clone());
    let owner = gadget.controller_owner_ref(&gadget_kind()).expect("a stored gadget has a name and a uid");
    let map = ConfigMap {
        metadata: kube::core::ObjectMeta { owner_references: Some(vec![owner]), ..named(&name) },
        data: Some(BTreeMap::from([("size".to_owned(), size.to_string())])),
        ..ConfigMap::default()
    };
    maps.patch(&name, &PatchParams::apply("gadgeteer").force(), &Patch::Apply(&map)).await?;
    let status = json!({
        "apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": name}, "status": {"made": size}
    });
    let by = PatchParams::apply("gadgeteer").force();
    gadgets(client.clone()).patch_status(&name, &by, &Patch::Apply(&status)).await?;
    Ok(Action::await_change())
}

/// Begins the operator; it ends with the runtime.
fn begin(runtime: &Runtime, client: Client) {
    let config = watcher::Config::default().streaming_lists();
    let controller = Controller::new_with(gadgets(client.clone()), config.clone(), gadget_kind())
        .owns(Api::<ConfigMap>::default_namespaced(client.clone()), config);
    let again =
        |_: Arc<DynamicObject>, _: &Failed, _: Arc<Client>| Action::requeue(Duration::from_millis(100));
    runtime.spawn(controller.run(reconcile, again, Arc::new(client)).for_each(|_| async {}));
}

/// Waits until a JSONPath of an object gives what is wanted.
#[track_caller]
fn await_field(server: &Server, object: &str, path: &str, wanted: &str) {
    eventually(&format!("{path} of {object} becomes {wanted}"), || {
        let outcome = server.kubectl(&["get", object, "-o", &format!("jsonpath={path}")]);
        if outcome.stdout == wanted { Ok(()) } else { Err(format!("{outcome:?}")) }
    });
}

/// Applies a manifest as soon as somebody leads.
#[track_caller]
fn apply_manifest(server: &Server, manifest: &str) {
    eventually("a write is taken", || {
        let outcome = server.kubectl_with(&["apply", "-f", "-"], manifest);
        if outcome.success { Ok(()) } else { Err(outcome.stderr) }
    });
}

#[test]
fn an_operator_goes_on_when_the_leader_dies() {
    let mut plane = ControlPlane::start(3);
    let leader = plane.leader();
    let leading = plane.servers.remove(leader);
    // The operator speaks to a member that follows.
    let server = &plane.servers[0];
    apply_manifest(server, GADGETS);
    server.kubectl(&["wait", "crd/gadgets.example.com", "--for=condition=Established"]).ok();
    let runtime = Runtime::new().expect("a runtime can be made");
    begin(&runtime, runtime.block_on(client(&server.kubeconfig())));

    apply_manifest(server, &gadget("a", 3));
    await_field(server, "configmap/a", "{.data.size}", "3");
    await_field(server, "gadget/a", "{.status.made}", "3");
    await_field(server, "gadget/a", "{.metadata.finalizers[*]}", "example.com/cleanup");
    server.kubectl(&["delete", "configmap", "a"]).ok();
    await_field(server, "configmap/a", "{.data.size}", "3");

    drop(leading);
    apply_manifest(server, &gadget("b", 5));
    await_field(server, "configmap/b", "{.data.size}", "5");
    apply_manifest(server, &gadget("a", 4));
    await_field(server, "gadget/a", "{.status.made}", "4");
    server.kubectl(&["delete", "gadget", "a", "b", "--timeout=60s"]).ok();
    server.kubectl(&["get", "configmap", "goodbye-a", "goodbye-b"]).ok();
    eventually("children go with their owners", || {
        let left = server.kubectl(&["get", "configmaps", "a", "b", "--ignore-not-found", "-o", "name"]).ok();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

/// Begins a reflector, which ends with the runtime.
fn reflect(runtime: &Runtime, client: Client, config: watcher::Config) -> Store<ConfigMap> {
    let (store, writer) = reflector::store();
    let maps = Api::<ConfigMap>::default_namespaced(client);
    let kept = reflector::reflector(writer, watcher(maps, config).default_backoff());
    runtime.spawn(kept.for_each(|_| async {}));
    store
}

#[test]
fn reflectors_hold_what_there_is_however_they_begin() {
    let mut plane = ControlPlane::start(1);
    let server = &mut plane.servers[0];
    let runtime = Runtime::new().expect("a runtime can be made");
    let client = runtime.block_on(client(&server.kubeconfig()));
    let make = |server: &Server, name: &str| {
        server.kubectl(&["create", "configmap", name, "--from-literal=a=1"]).ok();
    };
    for name in ["a", "b", "c"] {
        make(server, name);
    }
    let config = watcher::Config::default;
    let stores = [config(), config().page_size(1), config().streaming_lists(), config().any_semantic()]
        .map(|config| reflect(&runtime, client.clone(), config));
    let await_names = |wanted: &[&str]| {
        for store in &stores {
            eventually(&format!("a reflector holds {wanted:?}"), || {
                let mut names: Vec<_> = store.state().iter().map(|map| map.name_any()).collect();
                names.sort_unstable();
                if names == wanted { Ok(()) } else { Err(format!("{names:?}")) }
            });
        }
    };
    await_names(&["a", "b", "c", "kube-root-ca.crt"]);
    server.kubectl(&["delete", "configmap", "b"]).ok();
    make(server, "d");
    await_names(&["a", "c", "d", "kube-root-ca.crt"]);
    // They find their place again in a process that was killed.
    server.kill();
    server.restart(&[]);
    server.await_voters(1);
    make(server, "e");
    await_names(&["a", "c", "d", "e", "kube-root-ca.crt"]);
}

#[test]
fn who_applies_what_another_owns_is_told_whose_it_is() {
    let cluster = Cluster::start();
    let runtime = Runtime::new().expect("a runtime can be made");
    runtime.block_on(async {
        let client = client(cluster.fact("kubeconfig").as_ref()).await;
        let maps = Api::<ConfigMap>::default_namespaced(client);
        let map = |value: &str| ConfigMap {
            metadata: named("shared"),
            data: Some(BTreeMap::from([("a".to_owned(), value.to_owned())])),
            ..ConfigMap::default()
        };
        let apply =
            async |by: &PatchParams, value: &str| maps.patch("shared", by, &Patch::Apply(&map(value))).await;
        let (first, second) = (PatchParams::apply("first"), PatchParams::apply("second"));
        apply(&first, "1").await.expect("nobody owns it yet");
        apply(&second, "1").await.expect("the same value is shared");
        let refused = apply(&second, "2").await.expect_err("another owns it");
        let kube::Error::Api(status) = refused else { panic!("{refused} is no answer") };
        assert_eq!((status.code, &*status.reason), (409, "Conflict"));
        assert!(status.message.contains("conflict with \"first\": .data.a"), "{}", status.message);
        let forced = apply(&second.force(), "2").await.expect("it is forced");
        assert_eq!(forced.data.expect("there is data")["a"], "2");
    });
}
