"""Watches as scripts use them: from a version, by selectors, until a timeout, and again after what was too old."""

import itertools
import threading

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException

config.load_kube_config()
core = client.CoreV1Api()
NAMESPACE = "watched"


def create(name, **labels):
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels))
    return core.create_namespaced_config_map(NAMESPACE, body)


def stream(**options):
    options.setdefault("timeout_seconds", 10)
    return watch.Watch().stream(core.list_namespaced_config_map, NAMESPACE, **options)


def told(events):
    return [(event["type"], event["object"].metadata.name) for event in events]


def present():
    return core.list_namespaced_config_map(NAMESPACE).metadata.resource_version


def a_watch_shows_what_there_is_then_what_changes():
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
    create("first", kind="a")
    events = stream(label_selector="kind")
    seen = told(itertools.islice(events, 1))
    assert seen == [("ADDED", "first")], seen
    writer = threading.Thread(target=create, args=("second",), kwargs={"kind": "b"})
    writer.start()
    seen = told(itertools.islice(events, 1))
    writer.join()
    assert seen == [("ADDED", "second")], seen


def a_watch_begins_after_its_version():
    version = present()
    create("third", kind="a")
    core.patch_namespaced_config_map("third", NAMESPACE, {"data": {"x": "1"}})
    core.delete_namespaced_config_map("third", NAMESPACE)
    seen = told(itertools.islice(stream(resource_version=version), 3))
    assert seen == [("ADDED", "third"), ("MODIFIED", "third"), ("DELETED", "third")], seen


def what_enters_and_leaves_a_selection_is_told():
    version = present()
    create("mover", side="left")
    core.patch_namespaced_config_map("mover", NAMESPACE, {"metadata": {"labels": {"side": "right"}}})
    core.patch_namespaced_config_map("mover", NAMESPACE, {"metadata": {"labels": {"side": "left"}}})
    events = stream(resource_version=version, label_selector="side=left")
    seen = told(itertools.islice(events, 3))
    assert seen == [("ADDED", "mover"), ("DELETED", "mover"), ("ADDED", "mover")], seen
    one = stream(resource_version=version, field_selector="metadata.name=mover")
    seen = told(itertools.islice(one, 3))
    assert seen == [("ADDED", "mover"), ("MODIFIED", "mover"), ("MODIFIED", "mover")], seen


def a_watch_ends_by_itself_when_its_time_is_over():
    version = present()
    # The client begins again at the end unless it is told how long it may go on.
    assert list(stream(resource_version=version, timeout_seconds=1)) == []


def bookmarks_move_a_quiet_watch_on():
    events = list(stream(resource_version="0", allow_watch_bookmarks=True, timeout_seconds=1))
    assert events and events[-1]["type"] == "BOOKMARK", events
    assert int(events[-1]["raw_object"]["metadata"]["resourceVersion"]) > 0, events


def a_version_from_the_future_is_refused():
    try:
        list(stream(resource_version="999999999999", timeout_seconds=5))
        raise AssertionError("a version that is not there yet must be refused")
    except ApiException as error:
        assert error.status == 504, error


for step in [
    a_watch_shows_what_there_is_then_what_changes,
    a_watch_begins_after_its_version,
    what_enters_and_leaves_a_selection_is_told,
    a_watch_ends_by_itself_when_its_time_is_over,
    bookmarks_move_a_quiet_watch_on,
    a_version_from_the_future_is_refused,
]:
    step()
    print(step.__name__, flush=True)
