"""The httpx door: the CLI's one way to a server. Flow 1 from outside.

Every fault leaves as a `Failure` whose sentence names the next step. A connection serves one request: a
streamed answer closes it anyway, and an interrupted one must (that is how the daemon learns that nobody
listens).
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from appliance import __version__
from appliance.cli.address import Target
from appliance.cli.chat import Json, Piece, Prefill, piece_of, prefill_of
from appliance.cli.exits import GET_A_MODEL, Exit, Failure, of_reply
from appliance.cli.sse import Comment, events

CONNECT_TIMEOUT_S = 5.0
MAX_ERROR_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning of the server: a field it did not honour."""

    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Json


class Client:
    """Used by one thread. `timeout_s` bounds each silence of the server, not the whole answer: it sends signs
    of life.
    """

    def __init__(self, target: Target, *, key: str | None, timeout_s: float) -> None:
        self.target = target
        self._headers = {"user-agent": f"outpost/{__version__}"}
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"
        self._timeout = httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s))

    def get(self, path: str, *, accept: tuple[int, ...] = (200,)) -> Answer:
        """One GET whose answer is a JSON object, with any of the statuses in `accept`."""
        with self._faults(), self._session() as session:
            response = session.get(path)
            if response.status_code not in accept:
                raise self._refusal(response.status_code, response.headers, response.content)
            return Answer(response.status_code, self._object(response.content))

    def chat(self, body: Json) -> Generator[Piece | Prefill | Notice]:
        """Stream one chat. Closing the generator closes the connection, which cancels the request.

        Raises Failure for a refusal, an error event, a stream that breaks off, and a server silent for
        `timeout_s`.
        """
        with self._streamed("/v1/chat/completions", body) as response:
            for text in response.headers.get_list("x-outpost-warning"):
                yield Notice(text)
            yield from self._pieces(response.iter_lines())

    def operate(self, body: Json) -> Generator[Json]:
        """Have a verb of the store done: its progress, and last its outcome. Closing the generator cancels
        it. Raises Failure as `chat` does.
        """
        with self._streamed("/outpost/v1/operations", body) as response:
            for line in response.iter_lines():
                told_line = self._object(line)
                if "error" in told_line:
                    raise _failure_of_error(None, told_line["error"], retry_after_s=None)
                yield told_line
                if told_line.get("status") == "success":
                    return
        raise Failure(
            Exit.TEMPORARY, f"{self.target.url} broke off in mid-work; try again", code="stream_broken"
        )

    @contextmanager
    def _streamed(self, path: str, body: Json) -> Iterator[httpx.Response]:
        """An answer that comes in pieces. Raises Failure for a refusal; leaving it closes the connection."""
        with (
            self._faults(),
            self._session() as session,
            session.stream("POST", path, json=body) as response,
        ):
            if response.status_code != 200:
                told = _at_most(response, MAX_ERROR_BYTES)
                raise self._refusal(response.status_code, response.headers, told)
            yield response

    def _pieces(self, lines: Iterator[str]) -> Iterator[Piece | Prefill]:
        for event in events(lines):
            if isinstance(event, Comment):
                progress = prefill_of(event.text)
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

    def _refusal(self, status: int, headers: httpx.Headers, body: bytes) -> Failure:
        """The Failure for a reply that is not the answer asked for: OpenAI's error object, or anything."""
        try:
            error = json.loads(body)["error"]
        except (ValueError, KeyError, TypeError):
            if status in {404, 405}:
                return self._stranger(f"it answered with status {status}")
            error = {"message": f"{self.target.url} answered with status {status}"}
        return _failure_of_error(status, error, retry_after_s=_seconds(headers.get("retry-after")))

    def _stranger(self, detail: str) -> Failure:
        hint = f"check the address ({self.target.source})"
        return Failure(Exit.PROTOCOL, f"{self.target.url} does not speak the OpenAI API: {detail}; {hint}")

    def _session(self) -> httpx.Client:
        # trust_env=False: a proxy meant for the internet must not catch requests to a device on the LAN.
        verify = ssl.create_default_context() if self.target.url.startswith("https:") else False
        return httpx.Client(
            base_url=self.target.url,
            headers=self._headers,
            timeout=self._timeout,
            verify=verify,
            trust_env=False,
        )

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
        """Turn what httpx raises into Failure."""
        url = self.target.url
        try:
            yield
        except httpx.ConnectTimeout as error:
            raise Failure(
                Exit.UNAVAILABLE, f"{url} ({self.target.source}) does not answer; check the address"
            ) from error
        except httpx.ConnectError as error:
            raise Failure(Exit.UNAVAILABLE, self._not_running(error), code="not_running") from error
        except httpx.TimeoutException as error:
            raise Failure(
                Exit.TEMPORARY,
                f"{url} was silent for {self._timeout.read:.0f} s; try again or raise --timeout",
            ) from error
        except (httpx.RemoteProtocolError, httpx.DecodingError) as error:
            # A peer that vanished and one that speaks something else raise the same type.
            if "incomplete" in str(error) or "disconnected" in str(error):
                raise Failure(
                    Exit.TEMPORARY,
                    f"{url} closed the connection in mid-answer; try again",
                    code="stream_broken",
                ) from error
            raise Failure(
                Exit.PROTOCOL, f"{url} does not speak HTTP; check the address ({self.target.source})"
            ) from error
        except httpx.TransportError as error:
            raise Failure(
                Exit.TEMPORARY, f"the connection to {url} broke ({error}); try again", code="stream_broken"
            ) from error

    def _not_running(self, error: httpx.ConnectError) -> str:
        if "CERTIFICATE" in str(error):
            return f"{self.target.url}: {error}; name the right authority with SSL_CERT_FILE"
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


def _at_most(response: httpx.Response, limit: int) -> bytes:
    body = b""
    for part in response.iter_bytes():
        body += part
        if len(body) >= limit:
            break
    return body[:limit]
