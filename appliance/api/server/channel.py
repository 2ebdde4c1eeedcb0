"""One connection: what waitress lets through and we do not, its faults in JSON, deadlines it lacks."""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import ErrorTask

from appliance import log
from appliance.api import anthropic_errors, ollama_errors
from appliance.api.error_responses import http_error_object
from appliance.api.exchange import request_id_of
from appliance.api.server.limits import ServerLimits
from appliance.api.server.upload_stream import UploadChannel, UploadParser

_log = log.logger("api")

_TLS_HANDSHAKE: Final = b"\x16\x03"
"""How a TLS record of a greeting begins (RFC 8446, 5.1); no method of HTTP does."""


class _Parser(UploadParser, HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """Refuses what two servers in a row might read in two ways (smuggling) and waitress lets through."""

    def parse_header(self, header_plus: bytes) -> None:
        first_line, _, rest = header_plus.partition(b"\r\n")
        lines = rest.split(b"\r\n")
        if any(line.startswith((b" ", b"\t")) for line in lines):
            raise ParsingError("a header is folded over two lines")
        names = [line.partition(b":")[0].lower() for line in lines]
        for name in (b"host", b"content-length", b"transfer-encoding"):
            if names.count(name) > 1:
                raise ParsingError(f"the header {name.decode()} stands there twice")
        if b"transfer-encoding" in names and (b"content-length" in names or first_line.endswith(b"HTTP/1.0")):
            raise ParsingError("Transfer-Encoding beside Content-Length or in HTTP/1.0")
        super().parse_header(header_plus)


class _JsonErrorTask(ErrorTask):  # type: ignore[misc]
    """Faults that waitress finds itself, in the form of all others."""

    def execute(self) -> None:
        error = self.request.error
        message = {413: "the body is larger than this Outpost takes"}.get(
            error.code, f"{error.reason}: {error.body}"
        )
        request_id = request_id_of(self.request.headers.get("X_REQUEST_ID"))
        told = http_error_object(error.code, message)
        path = getattr(self.request, "path", "")  # none where its first line is wrong
        if path.startswith(ollama_errors.PREFIX):
            told = ollama_errors.ollama_object(told)
        elif anthropic_errors.is_anthropic(path):
            told = anthropic_errors.error_object(told, error.code, request_id)
        body = msgspec.json.encode(told)
        self.status = f"{error.code} {error.reason}"
        self.response_headers.extend([("Content-Type", "application/json"), ("X-Request-Id", request_id)])
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)
        _log.info(
            "request", request_id=request_id, status=error.code, route="unmatched", error="refused_by_server"
        )


class Channel(UploadChannel, HTTPChannel):  # type: ignore[misc]
    """One connection. waitress's own rules say which thread may call what; here only the loop thread's part
    grows.
    """

    error_task_class = _JsonErrorTask
    reading_since_s: float | None = None
    """When the request being received began."""

    def __init__(self, server: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(server, *args, **kwargs)
        self.stall_s = server.stall_s

    def parser_class(self, adj: Adjustments) -> _Parser:
        """In the place of waitress's class attribute: a request knows its channel."""
        parser = _Parser(adj)
        parser.begin_upload = self.begin_upload
        return parser

    def received(self, data: bytes) -> bool:
        if self.request is None and data.startswith(_TLS_HANDSHAKE):
            # Clients that try HTTPS first (skopeo) would wait here for ten seconds before they try HTTP.
            self.handle_close()
            return False
        result = bool(super().received(data))
        if self.request is None:
            self.reading_since_s = None
        elif self.reading_since_s is None:
            self.reading_since_s = time.time()
        return result

    def is_overdue(self, now_s: float, limits: ServerLimits) -> bool:
        """A request that does not come whole, or an answer that is not taken."""
        if self.reading_since_s is not None and now_s - self.reading_since_s > limits.read_s:
            return True
        return bool(self.total_outbufs_len) and now_s - self.last_activity > limits.stall_s
