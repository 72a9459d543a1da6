"""The dynamic client: it knows nothing but what discovery says, also of kinds that are declared while it looks."""

from kubernetes import client, config, dynamic
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError, ResourceNotFoundError

from expect import eventually

config.load_kube_config()
api = dynamic.DynamicClient(client.ApiClient())
NAMESPACE = "dynamic"


def every_kind_is_found_by_discovery():
    for version, kind, namespaced, short in [
        ("v1", "Pod", True, "po"),
        ("v1", "Node", False, "no"),
        ("apps/v1", "Deployment", True, "deploy"),
        ("batch/v1", "CronJob", True, "cj"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole", False, None),
        ("autoscaling/v2", "HorizontalPodAutoscaler", True, "hpa"),
    ]:
        found = api.resources.get(api_version=version, kind=kind)
        assert found.namespaced is namespaced and "watch" in found.verbs, found.to_dict()
        assert short is None or short in found.short_names, found.to_dict()
    deployments = api.resources.get(api_version="apps/v1", kind="Deployment")
    assert {"status", "scale"} <= set(deployments.subresources), deployments.subresources
    assert api.version["kubernetes"]["minor"] == "36"
    try:
        api.resources.get(api_version="example.com/v1", kind="Nothing")
        raise AssertionError("there is no such kind")
    except ResourceNotFoundError:
        pass


def objects_are_written_and_read():
    api.resources.get(api_version="v1", kind="Namespace").create(body={"metadata": {"name": NAMESPACE}})
    maps = api.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "labels": {"a": "b"}}, "data": {"x": "1"}}
    made = maps.create(body=body, namespace=NAMESPACE)
    assert made.data.x == "1"
    stale = made.to_dict()
    patched = maps.patch(
        name="one", namespace=NAMESPACE, body={"data": {"y": "2"}}, content_type="application/merge-patch+json"
    )
    assert patched.data.to_dict() == {"x": "1", "y": "2"}
    try:
        maps.replace(body=stale, namespace=NAMESPACE)
        raise AssertionError("a stale object must be refused")
    except ConflictError as error:
        assert "the object has been modified" in error.summary(), error.summary()
    body["data"] = {"z": "3"}
    applied = maps.server_side_apply(body=body, namespace=NAMESPACE, field_manager="dynamic", force_conflicts=True)
    assert applied.data.to_dict() == {"x": "1", "y": "2", "z": "3"}, applied.data
    listed = maps.get(namespace=NAMESPACE, label_selector="a=b")
    assert listed.kind == "ConfigMapList" and [item.metadata.name for item in listed.items] == ["one"]
    deleted = maps.delete(name="one", namespace=NAMESPACE)
    assert deleted.status == "Success"
    try:
        maps.get(name="one", namespace=NAMESPACE)
        raise AssertionError("it is deleted")
    except NotFoundError as error:
        assert 'configmaps "one" not found' in error.summary(), error.summary()


def subresources_are_written_apart():
    deployments = api.resources.get(api_version="apps/v1", kind="Deployment")
    labels = {"app": "web"}
    deployments.create(
        namespace=NAMESPACE,
        body={
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "c", "image": "registry.local/tool:v1"}]},
                },
            },
        },
    )
    scale = deployments.scale.get(name="web", namespace=NAMESPACE)
    assert (scale.kind, scale.spec.replicas or 0) == ("Scale", 0), scale
    scaled = deployments.scale.patch(
        name="web", namespace=NAMESPACE, body={"spec": {"replicas": 3}}, content_type="application/merge-patch+json"
    )
    assert scaled.spec.replicas == 3, scaled
    assert deployments.get(name="web", namespace=NAMESPACE).spec.replicas == 3
    deployments.delete(name="web", namespace=NAMESPACE)


def a_kind_declared_now_is_served_at_once():
    declarations = api.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {"size": {"type": "integer", "minimum": 1, "default": 2}},
            },
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    declarations.create(
        body={
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "gadgets.example.com"},
            "spec": {
                "group": "example.com",
                "scope": "Namespaced",
                "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget"},
                "versions": [version],
            },
        }
    )

    def conditions():
        status = declarations.get(name="gadgets.example.com").status
        return {condition.type: condition.status for condition in (status.conditions if status else None) or []}

    eventually("the kind is established", conditions, lambda found: found.get("Established") == "True")
    gadgets = api.resources.get(api_version="example.com/v1", kind="Gadget")
    made = gadgets.create(
        namespace=NAMESPACE,
        body={"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {}},
    )
    assert made.spec.size == 2 and made.metadata.generation == 1, made
    shown = gadgets.status.patch(
        name="g", namespace=NAMESPACE, body={"status": {"ready": True}}, content_type="application/merge-patch+json"
    )
    assert shown.status.ready is True and shown.metadata.generation == 1, shown
    custom = client.CustomObjectsApi()
    listed = custom.list_namespaced_custom_object("example.com", "v1", NAMESPACE, "gadgets")
    assert [item["metadata"]["name"] for item in listed["items"]] == ["g"], listed
    patched = custom.patch_namespaced_custom_object(
        "example.com", "v1", NAMESPACE, "gadgets", "g", {"spec": {"size": 5}}
    )
    assert patched["spec"] == {"size": 5} and patched["metadata"]["generation"] == 2, patched
    custom.delete_namespaced_custom_object("example.com", "v1", NAMESPACE, "gadgets", "g")
    declarations.delete(name="gadgets.example.com")
    eventually(
        "the kind goes",
        lambda: [item.metadata.name for item in declarations.get().items],
        lambda names: "gadgets.example.com" not in names,
    )


def changes_are_watched():
    maps = api.resources.get(api_version="v1", kind="ConfigMap")
    version = maps.get(namespace=NAMESPACE).metadata.resourceVersion
    for name in ["a", "b"]:
        maps.create(body={"metadata": {"name": name}}, namespace=NAMESPACE)
    maps.delete(name="a", namespace=NAMESPACE)
    seen = []
    for event in maps.watch(namespace=NAMESPACE, resource_version=version, timeout=10):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 3:
            break
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")], seen


for step in [
    every_kind_is_found_by_discovery,
    objects_are_written_and_read,
    subresources_are_written_apart,
    a_kind_declared_now_is_served_at_once,
    changes_are_watched,
]:
    step()
    print(step.__name__, flush=True)
