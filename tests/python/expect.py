"""What the scripts beside it expect of a cluster: that something comes true, or that something is refused."""

import json
import time

from kubernetes.client.rest import ApiException

# How long "it happens at all" may take on a busy machine.
PATIENCE_SECONDS = 60


def eventually(what, look, holds):
    """Looks again and again until what is seen holds; returns it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    pause = 0.01
    while True:
        seen = look()
        if holds(seen):
            return seen
        assert time.monotonic() < deadline, f"{what}: did not happen, last seen: {seen}"
        time.sleep(pause)
        pause = min(pause * 2, 0.2)


def refused(code, reason, call, *args, **kwargs):
    """Calls what must be refused; returns the Status that says why."""
    try:
        answer = call(*args, **kwargs)
    except ApiException as error:
        status = json.loads(error.body)
        assert (error.status, status["code"], status["reason"]) == (code, code, reason), status
        assert status["kind"] == "Status" and status["status"] == "Failure" and status["message"], status
        return status
    raise AssertionError(f"this should have been refused with {code}: {answer}")
