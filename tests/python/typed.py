"""The typed classes of the official client: every verb on built-in kinds, as scripts and operators use them."""

import base64
import datetime
import json

from kubernetes import client, config, utils
from kubernetes.client.rest import ApiException

from expect import eventually, refused

config.load_kube_config()
core, apps, batch = client.CoreV1Api(), client.AppsV1Api(), client.BatchV1Api()
NAMESPACE = "typed"


def meta(name, **more):
    return client.V1ObjectMeta(name=name, **more)


def pod_spec(*args, restart_policy="Always"):
    container = client.V1Container(
        name="c",
        image="registry.local/tool:v1",
        args=list(args),
        resources=client.V1ResourceRequirements(requests={"cpu": "10m", "memory": "8Mi"}),
    )
    return client.V1PodSpec(containers=[container], restart_policy=restart_policy)


def namespaces():
    made = core.create_namespace(client.V1Namespace(metadata=meta(NAMESPACE, labels={"team": "a"})))
    assert made.status.phase == "Active" and made.spec.finalizers == ["kubernetes"], made
    assert isinstance(made.metadata.creation_timestamp, datetime.datetime)
    names = [namespace.metadata.name for namespace in core.list_namespace(label_selector="team=a").items]
    assert names == [NAMESPACE], names


def config_maps_with_every_verb():
    body = client.V1ConfigMap(metadata=meta("settings"), data={"a": "1"}, binary_data={"b": "AAE="})
    made = core.create_namespaced_config_map(NAMESPACE, body, field_manager="script")
    assert made.binary_data == {"b": "AAE="} and made.metadata.managed_fields[0].manager == "script", made
    dry = core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=meta("never")), dry_run="All")
    assert dry.metadata.uid
    refused(404, "NotFound", core.read_namespaced_config_map, "never", NAMESPACE)

    made.data["a"] = "2"
    replaced = core.replace_namespaced_config_map("settings", NAMESPACE, made)
    assert int(replaced.metadata.resource_version) > int(made.metadata.resource_version)
    refused(409, "Conflict", core.replace_namespaced_config_map, "settings", NAMESPACE, made)
    refused(409, "AlreadyExists", core.create_namespaced_config_map, NAMESPACE, body)

    # The client chooses the patch's type by its body: a list is a JSON patch, an object a strategic merge.
    patched = core.patch_namespaced_config_map("settings", NAMESPACE, {"data": {"c": "3"}})
    assert patched.data == {"a": "2", "c": "3"}, patched
    patch = [{"op": "test", "path": "/data/a", "value": "2"}, {"op": "remove", "path": "/data/a"}]
    patched = core.patch_namespaced_config_map("settings", NAMESPACE, patch)
    assert patched.data == {"c": "3"}, patched
    patch = [{"op": "test", "path": "/data/c", "value": "no"}]
    refused(422, "Invalid", core.patch_namespaced_config_map, "settings", NAMESPACE, patch)
    applied = core.patch_namespaced_config_map(
        "settings",
        NAMESPACE,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"d": "4"}},
        field_manager="applier",
        force=True,
        _content_type="application/apply-patch+yaml",
    )
    assert applied.data == {"c": "3", "d": "4"}, applied
    for content_type in ["application/merge-patch+json", "application/strategic-merge-patch+json"]:
        patched = core.patch_namespaced_config_map(
            "settings", NAMESPACE, {"data": {"d": None}}, _content_type=content_type
        )
        assert patched.data == {"c": "3"}, patched

    gone = core.delete_namespaced_config_map("settings", NAMESPACE)
    assert gone.status == "Success" and gone.details.name == "settings", gone
    refused(404, "NotFound", core.delete_namespaced_config_map, "settings", NAMESPACE)


def secrets_and_accounts():
    secret = client.V1Secret(metadata=meta("login"), string_data={"password": "s3cret"})
    made = core.create_namespaced_secret(NAMESPACE, secret)
    assert base64.b64decode(made.data["password"]) == b"s3cret" and made.type == "Opaque", made
    core.create_namespaced_service_account(NAMESPACE, client.V1ServiceAccount(metadata=meta("robot")))
    asked = client.AuthenticationV1TokenRequest(
        spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600)
    )
    token = core.create_namespaced_service_account_token("robot", NAMESPACE, asked).status.token
    review = client.AuthenticationV1Api().create_token_review(
        client.V1TokenReview(spec=client.V1TokenReviewSpec(token=token))
    )
    assert review.status.user.username == f"system:serviceaccount:{NAMESPACE}:robot", review

    # A client that has only this token may look at nothing, and says so with the server's words.
    own = client.Configuration.get_default_copy()
    own.cert_file = own.key_file = None
    own.api_key = {"authorization": f"Bearer {token}"}
    robot = client.CoreV1Api(client.ApiClient(own))
    error = refused(403, "Forbidden", robot.list_namespaced_secret, NAMESPACE)
    assert f'User "system:serviceaccount:{NAMESPACE}:robot" cannot list resource "secrets"' in error["message"], error


def pages_and_selectors():
    for number in range(7):
        body = client.V1ConfigMap(metadata=meta(f"page-{number}", labels={"odd": str(number % 2)}))
        core.create_namespaced_config_map(NAMESPACE, body)
    seen, token = [], None
    while True:
        page = core.list_namespaced_config_map(NAMESPACE, limit=3, _continue=token)
        seen += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert len(page.items) == 2 and seen == sorted(seen) and len(seen) == 8, seen
    odd = core.list_namespaced_config_map(NAMESPACE, label_selector="odd in (1)")
    assert [item.metadata.name for item in odd.items] == ["page-1", "page-3", "page-5"]
    one = core.list_config_map_for_all_namespaces(field_selector="metadata.name=page-4")
    assert [item.metadata.name for item in one.items] == ["page-4"]
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="odd=0")
    left = core.list_namespaced_config_map(NAMESPACE, label_selector="odd")
    assert len(left.items) == 3, left


def deployments_scale_and_roll():
    labels = {"app": "web"}
    template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=pod_spec("serve"))
    body = client.V1Deployment(
        metadata=meta("web"),
        spec=client.V1DeploymentSpec(
            replicas=1, selector=client.V1LabelSelector(match_labels=labels), template=template
        ),
    )
    made = apps.create_namespaced_deployment(NAMESPACE, body)
    assert made.spec.progress_deadline_seconds == 600 and made.spec.strategy.rolling_update.max_surge == "25%", made
    scale = apps.read_namespaced_deployment_scale("web", NAMESPACE)
    assert scale.spec.replicas == 1 and scale.kind == "Scale", scale
    scaled = apps.patch_namespaced_deployment_scale("web", NAMESPACE, {"spec": {"replicas": 2}})
    assert scaled.spec.replicas == 2, scaled
    pods = eventually(
        "two pods are made",
        lambda: [
            pod.metadata.name
            for pod in core.list_namespaced_pod(NAMESPACE, label_selector="app=web").items
        ],
        lambda names: len(names) == 2,
    )
    sets = apps.list_namespaced_replica_set(NAMESPACE, label_selector="app=web").items
    assert [owner.name for owner in sets[0].metadata.owner_references] == ["web"], sets
    status = apps.read_namespaced_deployment_status("web", NAMESPACE).status
    assert status.observed_generation >= 1, status
    options = client.V1DeleteOptions(propagation_policy="Foreground", grace_period_seconds=0)
    apps.delete_namespaced_deployment("web", NAMESPACE, body=options)
    eventually(
        f"{pods} go with their deployment",
        lambda: core.list_namespaced_pod(NAMESPACE, label_selector="app=web").items,
        lambda left: not left,
    )


def jobs_run_and_say_what_they_printed():
    template = client.V1PodTemplateSpec(spec=pod_spec("args", "printed", restart_policy="Never"))
    body = client.V1Job(metadata=meta("once"), spec=client.V1JobSpec(template=template, backoff_limit=0))
    batch.create_namespaced_job(NAMESPACE, body)
    eventually(
        "the job completes",
        lambda: batch.read_namespaced_job_status("once", NAMESPACE).status,
        lambda status: status.succeeded == 1 and status.completion_time,
    )
    pod = core.list_namespaced_pod(NAMESPACE, label_selector="job-name=once").items[0]
    terminated = pod.status.container_statuses[0].state.terminated
    assert terminated.exit_code == 0 and terminated.reason == "Completed", pod.status
    printed = core.read_namespaced_pod_log(pod.metadata.name, NAMESPACE)
    assert "printed" in printed, printed
    lines = core.read_namespaced_pod_log(
        pod.metadata.name, NAMESPACE, follow=True, timestamps=True, _preload_content=False
    )
    assert any(b"printed" in line for line in lines.stream()), "followed logs end with their pod"
    batch.delete_namespaced_job("once", NAMESPACE, propagation_policy="Background")


def events_and_the_rest():
    nodes = core.list_node().items
    assert nodes and nodes[0].status.node_info.kubelet_version.startswith("v1.36"), nodes
    pod = core.create_namespaced_pod(NAMESPACE, client.V1Pod(metadata=meta("one"), spec=pod_spec("serve")))
    eventually(
        "it is scheduled",
        lambda: core.list_namespaced_event(
            NAMESPACE, field_selector=f"involvedObject.uid={pod.metadata.uid}"
        ).items,
        lambda events: any(event.reason == "Scheduled" for event in events),
    )
    eviction = client.V1Eviction(metadata=meta("one", namespace=NAMESPACE))
    core.create_namespaced_pod_eviction("one", NAMESPACE, eviction)
    eventually(
        "the evicted pod goes",
        lambda: core.list_namespaced_pod(NAMESPACE, field_selector="metadata.name=one").items,
        lambda left: not left,
    )
    rights = client.AuthorizationV1Api()
    asked = client.V1SelfSubjectAccessReview(
        spec=client.V1SelfSubjectAccessReviewSpec(
            resource_attributes=client.V1ResourceAttributes(verb="create", resource="pods", namespace=NAMESPACE)
        )
    )
    assert rights.create_self_subject_access_review(asked).status.allowed
    assert client.VersionApi().get_code().minor == "36"
    groups = [group.name for group in client.ApisApi().get_api_versions().groups]
    assert "apps" in groups and "batch" in groups, groups
    resources = [resource.name for resource in core.get_api_resources().resources]
    assert "pods/log" in resources and "pods/eviction" in resources, resources


def what_is_wrong_is_named():
    error = refused(422, "Invalid", core.create_namespaced_pod, NAMESPACE, client.V1Pod(
        metadata=meta("Bad_Name"), spec=pod_spec("serve")
    ))
    assert error["details"]["causes"][0]["field"] == "metadata.name", error
    error = refused(
        400, "BadRequest", core.create_namespaced_config_map, NAMESPACE,
        {"metadata": {"name": "x"}, "dota": {}}, field_validation="Strict",
    )
    assert 'unknown field "dota"' in error["message"], error
    refused(404, "NotFound", core.create_namespaced_config_map, "absent", client.V1ConfigMap(metadata=meta("x")))
    refused(400, "BadRequest", core.list_namespaced_pod, NAMESPACE, label_selector="a in b")
    refused(422, "Invalid", core.list_namespaced_pod, NAMESPACE, resource_version_match="Exact")
    future = refused(504, "Timeout", core.list_namespaced_pod, NAMESPACE, resource_version="999999999999")
    assert "Too large resource version" in future["message"], future


def manifests_are_created_from_files():
    manifest = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "listed"}, "data": {"a": "b"}},
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": "listed"},
                "spec": {"podSelector": {}},
            },
        ],
    }
    utils.create_from_dict(client.ApiClient(), manifest, namespace=NAMESPACE)
    assert core.read_namespaced_config_map("listed", NAMESPACE).data == {"a": "b"}
    try:
        utils.create_from_dict(client.ApiClient(), manifest, namespace=NAMESPACE)
        raise AssertionError("a second creation must be refused")
    except utils.FailToCreateError as error:
        reasons = [json.loads(each.body)["reason"] for each in error.api_exceptions]
        assert reasons == ["AlreadyExists", "AlreadyExists"], reasons
    policies = client.NetworkingV1Api().list_namespaced_network_policy(NAMESPACE).items
    assert policies[0].spec.policy_types == ["Ingress"], policies


def namespaces_take_all_with_them():
    core.delete_namespace(NAMESPACE)

    def phase():
        try:
            return core.read_namespace(NAMESPACE).status.phase
        except ApiException as error:
            return error.status

    eventually("the namespace goes", phase, lambda phase: phase == 404)


for step in [
    namespaces,
    config_maps_with_every_verb,
    secrets_and_accounts,
    pages_and_selectors,
    deployments_scale_and_roll,
    jobs_run_and_say_what_they_printed,
    events_and_the_rest,
    what_is_wrong_is_named,
    manifests_are_created_from_files,
    namespaces_take_all_with_them,
]:
    step()
    print(step.__name__, flush=True)
