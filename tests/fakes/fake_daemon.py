"""A small real HTTP server that speaks the daemon's API to the CLI's tests: chat streams, models, health, and
its faults.

It answers with what the last message asks for (`echo: TEXT` streams TEXT in words) or with `Script.words`;
the tests turn the knobs of `Script` and read `FakeDaemon.requests`. Nothing of the product is imported, so
that both sides can be wrong only on their own.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(kw_only=True)
class Script:
    """How the daemon behaves. Set by the test between requests; read by the serving threads."""

    models: list[str] = field(default_factory=lambda: ["tiny"])
    words: list[str] = field(default_factory=lambda: ["Hello", " there", ", friend."])
    reasoning: list[str] = field(default_factory=list)
    pause_s: float = 0.0
    """Before each word."""
    loading_times: int = 0
    """So many chats are first refused with 503 model_loading."""
    refusal: tuple[int, str, str] | None = None
    """Status, code and message for every chat."""
    break_after: int | None = None
    """Close the connection after so many words, in the middle of the stream."""
    error_after: int | None = None
    """Send an error event after so many words."""
    finish_reason: str = "stop"
    n_ctx: int = 4096
    warning: str | None = None
    prefill: list[tuple[int, int]] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    """Told while a chat waits, if its client wants to know."""
    queue: list[dict[str, Any]] | None = None
    """What `/v1/queue` has; None: there is no such route."""
    fit: Any = None
    """What `/outpost/v1/fit` answers; None: there is no such route."""
    unknown_field: str | None = None
    """Refuse chats whose body has this field."""
    key: str | None = None
    ready: bool = True
    no_api: bool = False
    """Answer everything with a page of HTML."""


class FakeDaemon:
    """Owned by the test's thread; `requests` and `cancelled` are appended to by the serving threads."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script if script is not None else Script()
        self.requests: list[dict[str, Any]] = []
        """Bodies of all chats."""
        self.cancelled = threading.Event()
        """A client closed its connection in mid-answer."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="fake-daemon")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join(timeout=5.0)
        self._server.server_close()


def _handler_of(daemon: FakeDaemon) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        fake = daemon

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeDaemon

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """The tests' output stays clean."""

    def do_GET(self) -> None:
        script = self.fake.script
        if self._refused_at_the_door():
            return
        if self.path == "/v1/models":
            self._json(200, {"object": "list", "data": [_card(name, script) for name in script.models]})
        elif self.path.startswith("/v1/models/") and self.path.removeprefix("/v1/models/") in script.models:
            self._json(200, _card(self.path.removeprefix("/v1/models/"), script))
        elif self.path == "/healthz":
            runners = [_runner(model) for model in script.models]
            self._json(200, {"version": "0.1.0", "uptime_s": 61.0, "status": "ok", "runners": runners})
        elif self.path == "/v1/queue" and script.queue is not None:
            self._json(200, {"object": "list", "data": script.queue})
        elif self.path == "/readyz":
            state = {
                "name": "tiny",
                "state": "ready" if script.ready else "failed",
                "reason": None if script.ready else "crashed",
            }
            reasons = [] if script.ready else ["tiny is failed: crashed"]
            status = "ready" if script.ready else "not ready"
            body = {"status": status, "reasons": reasons, "models": [state]}
            self._json(200 if script.ready else 503, body)
        else:
            self._error(404, "unknown_url", f"no {self.path}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self._refused_at_the_door():
            return
        self.fake.requests.append(body)
        script = self.fake.script
        if body["model"] not in script.models:
            self._error(
                404,
                "model_not_found",
                f"model '{body['model']}' not found; available: {', '.join(script.models)}",
            )
        elif script.unknown_field in body:
            self._error(400, "unsupported_parameter", f"{script.unknown_field}: unknown field")
        elif script.refusal is not None:
            self._error(*script.refusal)
        elif self.path == "/outpost/v1/fit":
            self._fit()
        elif script.loading_times > 0:
            script.loading_times -= 1
            self._error(503, "model_loading", "model 'tiny' was not ready within 1 s", retry_after="0")
        else:
            self._stream(body)

    def _fit(self) -> None:
        if self.fake.script.fit is None:
            self._error(404, "unknown_url", f"no {self.path}")
        else:
            self._json(200, self.fake.script.fit)

    def _refused_at_the_door(self) -> bool:
        script = self.fake.script
        if script.no_api:
            self._send(200, b"<html>a printer</html>", "text/html")
            return True
        if script.key is not None and self.headers.get("authorization") != f"Bearer {script.key}":
            self._error(401, "invalid_api_key", "the key is wrong; send 'Authorization: Bearer KEY'")
            return True
        return False

    def _stream(self, body: dict[str, Any]) -> None:
        script = self.fake.script
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.send_header("connection", "close")
        if script.warning is not None:
            self.send_header("x-outpost-warning", script.warning)
        self.end_headers()
        try:
            self._say(body)
        except (BrokenPipeError, ConnectionResetError):
            self.fake.cancelled.set()

    def _say(self, body: dict[str, Any]) -> None:
        script = self.fake.script
        for position in script.places if self.headers.get("x-outpost-progress") == "1" else ():
            self._chunk(f": queue position={position} eta_s={10 * position}\n\n")
            time.sleep(script.pause_s)
        for done, total in script.prefill:
            self._chunk(f": prefill {done}/{total} {100 * done // total}%\n\n")
        self._event(body, delta={"role": "assistant", "content": ""})
        for word in script.reasoning:
            self._event(body, delta={"reasoning_content": word})
        words = _words(body, script)
        for index, word in enumerate(words):
            if script.pause_s:
                time.sleep(script.pause_s)
            if index == script.break_after:
                return
            if index == script.error_after:
                error = {
                    "message": "the runner of 'tiny' died (SIGKILL)",
                    "type": "server_error",
                    "param": None,
                }
                self._chunk(f"data: {json.dumps({'error': {**error, 'code': 'runner_died'}})}\n\n")
                return
            self._event(body, delta={"content": word})
        self._event(body, delta={}, finish_reason=script.finish_reason)
        self._chunk(
            f"data: {json.dumps({**_chunk_of(body), 'choices': [], 'usage': _usage(body, len(words))})}\n\n"
        )
        self._chunk("data: [DONE]\n\n")
        self._chunk("")

    def _event(
        self, body: dict[str, Any], *, delta: dict[str, Any], finish_reason: str | None = None
    ) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        self._chunk(f"data: {json.dumps({**_chunk_of(body), 'choices': [choice], 'usage': None})}\n\n")

    def _chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _json(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, json.dumps(body).encode(), "application/json")

    def _error(self, status: int, code: str, message: str, *, retry_after: str | None = None) -> None:
        body = {"error": {"message": message, "type": "server_error", "param": None, "code": code}}
        self._send(status, json.dumps(body).encode(), "application/json", retry_after=retry_after)

    def _send(self, status: int, data: bytes, content_type: str, *, retry_after: str | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(data)))
        if retry_after is not None:
            self.send_header("retry-after", retry_after)
        self.end_headers()
        self.wfile.write(data)


def _words(body: dict[str, Any], script: Script) -> list[str]:
    last = body["messages"][-1]["content"]
    if isinstance(last, str) and "echo: " in last:
        words = last.partition("echo: ")[2].split(" ")
        return [word if index == 0 else f" {word}" for index, word in enumerate(words)]
    limit = body.get("max_tokens")
    return script.words[:limit] if isinstance(limit, int) else script.words


def _chunk_of(body: dict[str, Any]) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}


def _usage(body: dict[str, Any], completion: int) -> dict[str, Any]:
    prompt = sum(len(str(message["content"]).split()) for message in body["messages"])
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 1},
    }


def _card(name: str, script: Script) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": 1,
        "owned_by": "outpost",
        "state": "ready",
        "reason": None,
        "meta": {"size": 91_700_000, "n_ctx": script.n_ctx, "n_params": 134_515_008},
    }


def _runner(name: str) -> dict[str, Any]:
    return {
        "model": name,
        "state": "ready",
        "running": 1,
        "waiting": 0,
        "loading_progress": None,
        "rss_bytes": 212_000_000,
        "sandbox_level": "full",
        "device": "cpu",
    }
