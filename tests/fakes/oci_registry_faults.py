"""An OCI registry in this process, over a real socket, with a knob for everything a registry can do wrong.

    with FaultyRegistry() as registry:
        registry.add("alice/smol", "q4", manifest, blobs)
        registry.answer_with(r"/blobs/", lambda exchange: exchange.send(200, b"..."))

It also takes pushes (POST, PATCH, PUT), as the specification has them.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from appliance.store.digest import digest_of

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, as it came."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(slots=True, kw_only=True)
class Knobs:
    """What this registry does differently. Set before the requests come."""

    ranges: bool = True
    content_digest: bool = True
    content_length: bool = True
    chunk_delay_s: float = 0.0
    """Between pieces of 64 KiB of a blob."""
    break_after: list[int] = field(default_factory=list)
    """Bytes after which a blob's stream is cut; one entry per answer, then no more."""
    blob_location: str | None = None
    """Prefix of the URL to which blobs are redirected (307)."""
    token_realm: str | None = None
    """Bearer authentication: where tokens are given."""
    token: str = "sesame"
    basic: str | None = None
    """Basic authentication: the header's value."""


class FaultyRegistry:
    """Owned by the test; its server threads only read what the test sets, and append to `asked`."""

    def __init__(self, address: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None) -> None:
        self.knobs = Knobs()
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[Asked] = []
        self.sent_bytes = 0
        self.connections = 0
        self.stopping = threading.Event()
        self._overrides: list[tuple[re.Pattern[str], Callable[[Exchange], None]]] = []
        self._uploads: dict[str, bytearray] = {}
        self._server = _server(self, address)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="fake-registry")
        self.port = self._server.server_address[1]
        self.host = f"{address}:{self.port}"
        self.url = f"http://{self.host}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, name: str, tag: str, manifest: bytes, blobs: list[bytes], kind: str = OCI_MANIFEST) -> None:
        for reference in (tag, str(digest_of(manifest))):
            self.manifests[name, reference] = (kind, manifest)
        self.blobs.update({str(digest_of(blob)): blob for blob in blobs})

    def answer_with(self, path: str, answer: Callable[[Exchange], None]) -> None:
        """Instead of what it would answer to paths in which this pattern is found."""
        self._overrides.append((re.compile(path), answer))

    def asked_for(self, path: str, method: str = "GET") -> list[Asked]:
        return [asked for asked in self.asked if asked.method == method and re.search(path, asked.path)]

    # ── called by the server's threads ──────────────────────────────────────────────────────────

    def answer(self, exchange: Exchange) -> None:
        self.asked.append(
            Asked(method=exchange.command, path=exchange.path, headers=dict(exchange.headers.items()))
        )
        for pattern, answer in self._overrides:
            if pattern.search(exchange.path):
                answer(exchange)
                return
        if exchange.path.startswith("/token"):
            exchange.send(200, json.dumps({"token": self.knobs.token}).encode())
        elif not self._is_allowed(exchange):
            self._challenge(exchange)
        else:
            self.route(exchange)

    def route(self, exchange: Exchange) -> None:
        path = urlsplit(exchange.path).path
        if match := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", path):
            self.manifest(exchange, match[1], match[2])
        elif match := re.fullmatch(r"/v2/(.+)/blobs/uploads/([^/]*)", path):
            self.upload(exchange, match[1], match[2])
        elif match := re.fullmatch(r"(?:/v2/.+/blobs|/cdn)/(sha256:[^/]+)", path):
            self.blob(exchange, match[1])
        else:
            exchange.send(404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}')

    def manifest(self, exchange: Exchange, name: str, reference: str) -> None:
        if exchange.command == "PUT":
            content = exchange.body()
            self.add(name, reference, content, [], exchange.headers["Content-Type"])
            exchange.send(201, b"", {"Docker-Content-Digest": str(digest_of(content))})
            return
        kind, content = self.manifests.get((name, reference), ("", b""))
        if not kind:
            exchange.send(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
            return
        headers = {"Content-Type": kind}
        if self.knobs.content_digest:
            headers["Docker-Content-Digest"] = str(digest_of(content))
        exchange.send(200, content, headers)

    def blob(self, exchange: Exchange, digest: str) -> None:
        content = self.blobs.get(digest)
        if content is None:
            exchange.send(404, b'{"errors":[{"code":"BLOB_UNKNOWN"}]}')
        elif self.knobs.blob_location and exchange.path.startswith("/v2/"):
            exchange.send(307, b"", {"Location": f"{self.knobs.blob_location}/cdn/{digest}"})
        else:
            self.serve(exchange, content)

    def serve(self, exchange: Exchange, content: bytes, extra: Mapping[str, str] | None = None) -> None:
        """A body, in ranges where the knobs allow."""
        headers = dict(extra or {})
        etag = headers.get("ETag")
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", exchange.headers.get("Range", ""))
        if wanted and etag and exchange.headers.get("If-Range", etag) != etag:
            wanted = None
        if wanted is None or not self.knobs.ranges:
            exchange.stream(200, content, headers)
            return
        start = int(wanted[1])
        end = min(int(wanted[2]) + 1 if wanted[2] else len(content), len(content))
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        exchange.stream(206, content[start:end], headers)

    def upload(self, exchange: Exchange, name: str, session: str) -> None:
        query = parse_qs(urlsplit(exchange.path).query)
        if exchange.command == "POST":
            if (mounted := query.get("mount", [""])[0]) in self.blobs:
                exchange.send(201, b"", {"Location": f"/v2/{name}/blobs/{mounted}"})
                return
            session = f"s{len(self._uploads)}"
            self._uploads[session] = bytearray()
        held = self._uploads[session]
        where = {"Location": f"/v2/{name}/blobs/uploads/{session}?state=x"}
        if exchange.command in ("PATCH", "PUT"):
            held += exchange.body()
        if exchange.command == "PUT":
            digest = query["digest"][0]
            if digest_of(bytes(held)) != digest:
                exchange.send(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
                return
            self.blobs[digest] = bytes(held)
            exchange.send(201, b"", {"Location": f"/v2/{name}/blobs/{digest}"})
            return
        reached = {"Range": f"0-{max(len(held) - 1, 0)}"}
        exchange.send(204 if exchange.command == "GET" else 202, b"", {**where, **reached})

    def _is_allowed(self, exchange: Exchange) -> bool:
        given = exchange.headers.get("Authorization")
        if self.knobs.token_realm is not None:
            return given == f"Bearer {self.knobs.token}"
        return self.knobs.basic is None or given == self.knobs.basic

    def _challenge(self, exchange: Exchange) -> None:
        challenge = "Basic realm=registry"
        if self.knobs.token_realm is not None:
            challenge = f'Bearer realm="{self.knobs.token_realm}",service="fake",scope="repository:*:delete"'
        exchange.send(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}', {"WWW-Authenticate": challenge})


class Exchange(BaseHTTPRequestHandler):
    """One request; in a thread of the server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    registry: FaultyRegistry

    def setup(self) -> None:
        super().setup()
        self.registry.connections += 1

    def do_GET(self) -> None:
        self._unread = int(self.headers.get("Content-Length", 0))
        try:
            self.registry.answer(self)
        except OSError:
            self.close_connection = True
        self.close_connection = self.close_connection or bool(self._unread)

    do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815 - as the base class calls them

    def body(self) -> bytes:
        content = self.rfile.read(self._unread)
        self._unread = 0
        return content

    def send(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def stream(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        """A blob's body, with the knobs' faults."""
        knobs = self.registry.knobs
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if knobs.content_length:
            self.send_header("Content-Length", str(len(content)))
        else:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        left = knobs.break_after.pop(0) if knobs.break_after else len(content)
        if left < len(content):
            self.close_connection = True
        content = content[:left]
        for at in range(0, len(content), 64 * 1024):
            self.wfile.write(content[at : at + 64 * 1024])
            self.registry.sent_bytes += len(content[at : at + 64 * 1024])
            if knobs.chunk_delay_s and self.registry.stopping.wait(knobs.chunk_delay_s):
                return

    def drip(self, piece: bytes, every_s: float, head: bytes = b"") -> None:
        """`head`, then `piece` again and again, until the other side or the test has had enough."""
        self.close_connection = True
        self.wfile.write(head)
        until = time.monotonic() + 20
        while time.monotonic() < until and not self.registry.stopping.wait(every_s):
            self.wfile.write(piece)
            self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Quiet."""


def _server(registry: FaultyRegistry, address: str) -> ThreadingHTTPServer:
    handler = type("BoundExchange", (Exchange,), {"registry": registry})
    server = ThreadingHTTPServer((address, 0), handler)
    server.daemon_threads = False
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # clients that hang up are the point
    return server
