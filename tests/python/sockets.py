"""Watches and logs over WebSockets, as pages in a browser open them: with a token among the protocols."""

import base64
import json
import ssl
import urllib.parse

import websocket
from kubernetes import client, config

from expect import eventually

config.load_kube_config()
core = client.CoreV1Api()
NAMESPACE = "default"
HOST = client.Configuration.get_default_copy().host.replace("https://", "wss://")


def token(name):
    core.create_namespaced_service_account(
        NAMESPACE, client.V1ServiceAccount(metadata=client.V1ObjectMeta(name=name))
    )
    asked = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[]))
    return core.create_namespaced_service_account_token(name, NAMESPACE, asked).status.token


def open_socket(path, bearer, *protocols, **query):
    coded = base64.urlsafe_b64encode(bearer.encode()).decode().rstrip("=")
    offered = [f"base64url.bearer.authorization.k8s.io.{coded}", *protocols]
    url = f"{HOST}{path}?{urllib.parse.urlencode(query)}"
    return websocket.create_connection(
        url, subprotocols=offered, sslopt={"cert_reqs": ssl.CERT_NONE}, timeout=60
    )


def events_come_one_by_one(bearer):
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    socket = open_socket(path, bearer, "v4.channel.k8s.io", watch="1", labelSelector="seen")
    for name in ["a", "b"]:
        body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"seen": "yes"}))
        core.create_namespaced_config_map(NAMESPACE, body)
    core.delete_namespaced_config_map("a", NAMESPACE)
    seen = []
    for _ in range(3):
        event = json.loads(socket.recv())
        seen.append((event["type"], event["object"]["metadata"]["name"]))
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")], seen
    socket.ping("there?")
    core.delete_namespaced_config_map("b", NAMESPACE)
    assert json.loads(socket.recv())["type"] == "DELETED"
    socket.close()


def a_watch_says_goodbye_at_its_end(bearer):
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    socket = open_socket(path, bearer, "any", watch="1", labelSelector="none", timeoutSeconds="1")
    opcode, _ = socket.recv_data()
    assert opcode == websocket.ABNF.OPCODE_CLOSE, opcode


def logs_are_bytes_or_base64(bearer):
    container = client.V1Container(name="c", image="registry.local/tool:v1", args=["args", "printed"])
    core.create_namespaced_pod(
        NAMESPACE,
        client.V1Pod(
            metadata=client.V1ObjectMeta(name="once"),
            spec=client.V1PodSpec(containers=[container], restart_policy="Never"),
        ),
    )
    eventually(
        "the pod has ended",
        lambda: core.read_namespaced_pod("once", NAMESPACE).status.phase,
        lambda phase: phase == "Succeeded",
    )
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/once/log"
    for protocol, decode in [("binary.k8s.io", bytes), ("base64.binary.k8s.io", base64.b64decode)]:
        socket = open_socket(path, bearer, protocol, follow="1")
        assert socket.getsubprotocol() == protocol
        printed = b""
        while True:
            opcode, data = socket.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                break
            printed += decode(data)
        assert b"printed" in printed, printed


def who_may_not_look_gets_no_socket(stranger):
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    for bearer, protocols, expected in [(stranger, ["x"], 403), ("nonsense", ["x"], 401), (stranger, [], 400)]:
        try:
            open_socket(path, bearer, *protocols, watch="1")
            raise AssertionError(f"{expected} was expected")
        except websocket.WebSocketBadStatusException as error:
            assert error.status_code == expected, (error.status_code, expected)


viewer, stranger = token("viewer"), token("stranger")
client.RbacAuthorizationV1Api().create_namespaced_role_binding(
    NAMESPACE,
    {
        "metadata": {"name": "viewer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "viewer", "namespace": NAMESPACE}],
    },
)
for step, bearer in [
    (events_come_one_by_one, viewer),
    (a_watch_says_goodbye_at_its_end, viewer),
    (logs_are_bytes_or_base64, viewer),
    (who_may_not_look_gets_no_socket, stranger),
]:
    step(bearer)
    print(step.__name__, flush=True)
