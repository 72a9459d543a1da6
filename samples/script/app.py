"""Answers every request with the pod's name, the path, and what Python this is."""

import os
import platform

from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.types import Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        pod = os.environ.get("POD_NAME", "somewhere")
        path = request.path_with_query() or "/"
        text = f"Hello from {pod}, in Python {platform.python_version()}! You asked for {path}\n"

        response = OutgoingResponse(Fields.from_list([("content-type", b"text/plain; charset=utf-8")]))
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with body.write() as stream:
            stream.blocking_write_and_flush(text.encode())
        OutgoingBody.finish(body, None)
