"""The HTTP door of the CLI: its one way to a server. Flow 1 from outside.

Every fault leaves as a `Failure` whose sentence names the next step. A connection serves one request: a
streamed answer closes it anyway, and an interrupted one must (that is how the daemon learns that nobody
listens). It is written here (`http_reply`): to import one of more talents takes longer than `outpost list`.
No proxy is taken from the environment: one meant for the internet must not catch requests to a device on the
LAN.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from appliance import __version__
from appliance.cli.address import Target
from appliance.cli.exits import GET_A_MODEL, Exit, Failure, of_reply
from appliance.cli.http_reply import BrokenOff, NoHttp, Reply
from appliance.cli.trust import context_of

if TYPE_CHECKING:
    from appliance.cli.chat import Notice, Piece, Place, Prefill

Json = dict[str, Any]

CONNECT_TIMEOUT_S = 5.0
MAX_ERROR_BYTES = 64 * 1024
_NONE: Mapping[str, str] = MappingProxyType({})
MAX_LINE_BYTES = 64 * 1024 * 1024
"""Of a stream; a whole answer with log-probabilities is far below."""


class Answer(NamedTuple):
    status: int
    body: Json
    warnings: tuple[str, ...] = ()


class Client:
    """Used by one thread. `timeout_s` bounds each silence of the server, not the whole answer: it sends signs
    of life.
    """

    def __init__(
        self, target: Target, *, key: str | None, timeout_s: float, ca_file: Path | None = None
    ) -> None:
        """`ca_file`: whom an https address must be signed by; None: one of the machine's authorities."""
        self.target = target
        self._ca_file = ca_file
        self._headers = {"User-Agent": f"outpost/{__version__}", "Connection": "close"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        self._timeout_s = timeout_s

    def get(self, path: str, *, accept: tuple[int, ...] = (200,)) -> Answer:
        """One GET whose answer is a JSON object, with any of the statuses in `accept`."""
        with self._asked("GET", path) as response:
            if response.status not in accept:
                raise self._refusal(response)
            return Answer(response.status, self._object(response.read()))

    def delete(self, path: str) -> Answer:
        """One DELETE whose answer is a JSON object."""
        with self._asked("DELETE", path) as response:
            if response.status != 200:
                raise self._refusal(response)
            return Answer(response.status, self._object(response.read()))

    def post(self, path: str, body: Json) -> Answer:
        """One POST whose answer is a JSON object."""
        with self._asked("POST", path, body) as response:
            if response.status != 200:
                raise self._refusal(response)
            return Answer(response.status, self._object(response.read()))

    def send(self, method: str, path: str, body: Json | None = None) -> Answer:
        """Any request whose answer is a JSON object, with what the server warns of."""
        with self._asked(method, path, body) as response:
            if response.status not in {200, 201}:
                raise self._refusal(response)
            warnings = tuple(response.headers("x-outpost-warning"))
            return Answer(response.status, self._object(response.read()), warnings)

    def chat(
        self, body: Json, *, wants_progress: bool = False
    ) -> Generator[Piece | Prefill | Place | Notice]:
        """Stream one chat. Closing the generator closes the connection, which cancels the request.
        `wants_progress`: hear of its place in the queue, too, where the server tells.

        Raises Failure for a refusal, an error event, a stream that breaks off, and a server silent for
        `timeout_s`.
        """
        from appliance.cli.chat import Notice  # noqa: PLC0415 - as below

        wishes = {"X-Outpost-Progress": "1"} if wants_progress else {}
        with self._streamed("/v1/chat/completions", body, wishes) as response:
            for text in response.headers("x-outpost-warning"):
                yield Notice(text)
            yield from self._pieces(self._lines(response))

    def operate(self, body: Json) -> Generator[Json]:
        """Have a verb of the store done: its progress, and last its outcome. Closing the generator cancels
        it. Raises Failure as `chat` does.
        """
        with self._streamed("/outpost/v1/operations", body) as response:
            for line in self._lines(response):
                told = self._object(line)
                if "error" in told:
                    raise _failure_of_error(None, told["error"], retry_after_s=None)
                yield told
                if told.get("status") == "success":
                    return
        raise Failure(
            Exit.TEMPORARY, f"{self.target.url} broke off in mid-work; try again", code="stream_broken"
        )

    @contextmanager
    def _streamed(self, path: str, body: Json, wishes: Mapping[str, str] = _NONE) -> Iterator[Reply]:
        """An answer that comes in pieces. Raises Failure for a refusal; leaving it closes the connection."""
        with self._asked("POST", path, body, wishes) as response:
            if response.status != 200:
                raise self._refusal(response)
            yield response

    def _pieces(self, lines: Iterator[str]) -> Iterator[Piece | Prefill | Place]:
        # What a chat is made of takes longer to load than `outpost list` takes to be answered.
        from appliance.cli.chat import piece_of, place_of, prefill_of  # noqa: PLC0415
        from appliance.cli.sse import Comment, events  # noqa: PLC0415

        for event in events(lines):
            if isinstance(event, Comment):
                progress = prefill_of(event.text) or place_of(event.text)
                if progress is not None:
                    yield progress
                continue
            if event.data == "[DONE]":
                return
            chunk = self._object(event.data)
            if "error" in chunk:
                raise _failure_of_error(None, chunk["error"], retry_after_s=None)
            yield piece_of(chunk)
        raise Failure(
            Exit.TEMPORARY, f"{self.target.url} broke off in mid-answer; try again", code="stream_broken"
        )

    def _refusal(self, response: Reply) -> Failure:
        """The Failure for a reply that is not the answer asked for: OpenAI's error object, or anything."""
        status = response.status
        try:
            error = json.loads(response.read(MAX_ERROR_BYTES))["error"]
        except (ValueError, KeyError, TypeError):
            if status in {404, 405}:
                return self._stranger(f"it answered with status {status}")
            error = {"message": f"{self.target.url} answered with status {status}"}
        return _failure_of_error(status, error, retry_after_s=_seconds(response.header("retry-after")))

    def _stranger(self, detail: str) -> Failure:
        hint = f"check the address ({self.target.source})"
        return Failure(Exit.PROTOCOL, f"{self.target.url} does not speak the OpenAI API: {detail}; {hint}")

    @contextmanager
    def _asked(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        wishes: Mapping[str, str] = _NONE,
    ) -> Iterator[Reply]:
        """Status and headers have come; the body is read inside the `with`."""
        with closing(self._connected()) as connection, self._faults():
            request = self._request(method, path, body, wishes)
            # Who refuses a body may do so before he has read it: his answer is there all the same.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request)
            with connection.makefile("rb") as file:
                yield Reply(file)

    def _request(self, method: str, path: str, body: Json | None, wishes: Mapping[str, str]) -> bytes:
        parts = urlsplit(self.target.url)
        host = parts.netloc.rpartition("@")[2]
        host = host if host.isascii() else host.encode("idna").decode()
        headers = {"Host": host, **self._headers, **wishes}
        data = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
        lines = [f"{method} {parts.path}{path} HTTP/1.1", *(f"{key}: {headers[key]}" for key in headers)]
        if " " in parts.path or not all(line.isascii() and line.isprintable() for line in lines):
            raise NoHttp("an address that no request can have")
        return "\r\n".join([*lines, "", ""]).encode() + data

    def _connected(self) -> socket.socket:
        parts = urlsplit(self.target.url)
        host, connect_s = parts.hostname or "", min(CONNECT_TIMEOUT_S, self._timeout_s)
        context = context_of(self._ca_file) if parts.scheme == "https" else None
        # As bytes, where it is ASCII: the codec of other names takes longer to load than it takes to connect.
        name: Any = host.encode() if host.isascii() else host
        try:
            connection = socket.create_connection(
                (name, parts.port or (80 if context is None else 443)), timeout=connect_s
            )
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                connection = context.wrap_socket(connection, server_hostname=host)
        except TimeoutError as error:
            told = f"{self.target.url} ({self.target.source}) does not answer; check the address"
            raise Failure(Exit.UNAVAILABLE, told) from error
        except OSError as error:
            raise Failure(Exit.UNAVAILABLE, self._not_running(error), code="not_running") from error
        connection.settimeout(self._timeout_s)
        return connection

    def _lines(self, response: Reply) -> Iterator[str]:
        while line := response.readline(MAX_LINE_BYTES):
            if len(line) == MAX_LINE_BYTES:
                raise self._stranger(f"a line of more than {MAX_LINE_BYTES} bytes")
            yield line.rstrip(b"\r\n").decode("utf-8", "replace")

    def _object(self, data: str | bytes) -> Json:
        try:
            value = json.loads(data)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise self._stranger("its answer is no JSON object")
        return value

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Turn what goes wrong on a connection into Failure."""
        url = self.target.url
        try:
            yield
        except TimeoutError as error:
            raise Failure(
                Exit.TEMPORARY,
                f"{url} was silent for {self._timeout_s:.0f} s; try again or raise --timeout",
            ) from error
        except BrokenOff as error:
            raise Failure(
                Exit.TEMPORARY, f"{url} closed the connection in mid-answer; try again", code="stream_broken"
            ) from error
        except NoHttp as error:
            raise Failure(
                Exit.PROTOCOL, f"{url} does not speak HTTP; check the address ({self.target.source})"
            ) from error
        except OSError as error:
            raise Failure(
                Exit.TEMPORARY, f"the connection to {url} broke ({error}); try again", code="stream_broken"
            ) from error

    def _not_running(self, error: OSError) -> str:
        if "CERTIFICATE" in str(error):
            return f"{self.target.url}: {error}; name the right authority with --ca-file"
        return f"no daemon answers at {self.target.url} ({self.target.source}); start one with: outpost serve"


def _failure_of_error(status: int | None, error: Any, *, retry_after_s: float | None) -> Failure:
    if not isinstance(error, dict):
        error = {"message": str(error)}
    code = error.get("code")
    code = code if isinstance(code, str) else None
    message = str(error.get("message") or f"the server answered with status {status}")
    exit_code = of_reply(status, code)
    if code == "model_not_found":
        message += f"; {GET_A_MODEL}"
    if exit_code is Exit.NOT_ALLOWED and status == 401:
        message += " (outpost reads the key from OUTPOST_API_KEY or --key-file)"
    if (
        exit_code is Exit.TEMPORARY
        and retry_after_s is not None
        and "retry" not in message
        and "tried again" not in message
    ):
        message += f"; retry in {retry_after_s:.0f} s"
    return Failure(exit_code, message, code=code, retry_after_s=retry_after_s)


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds; its date form is not used by the daemon and read as none."""
    try:
        return max(0.0, float(retry_after)) if retry_after is not None else None
    except ValueError:
        return None
