"""Streams in time: comments, deadlines, and clients that leave."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from appliance.api.exchange import Exchange
from appliance.api.sse import EventStream
from appliance.errors import ClientGone
from appliance.wire.messages import Accepted, Delta, Progress
from tests.fakes.fake_inference import FakeInference, text_of
from tests.unit.api.door import Door, refusal


class Clock:
    """Moves only when the generation waits."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Timed:
    """A generation of (seconds until it comes, item)."""

    def __init__(self, clock: Clock, lines: Sequence[tuple[float, Delta | Progress]]) -> None:
        self._clock = clock
        self._lines = list(lines)
        self.accepted = Accepted(id=1, prompt_tokens=1, cached_tokens=0)
        self.is_closed = False

    def next(self, timeout_s: float) -> list[Delta | Progress] | None:
        wait_s, item = self._lines[0]
        if wait_s > timeout_s:
            self._clock.now_s += timeout_s
            self._lines[0] = (wait_s - timeout_s, item)
            return None
        self._clock.now_s += wait_s
        del self._lines[0]
        return [item]

    def close(self) -> None:
        self.is_closed = True


class Plain:
    """A writer that writes the text alone."""

    def opening(self) -> bytes:
        return b"<"

    def chunk(self, delta: Delta) -> bytes:
        return delta.text.encode()

    def closing(self) -> bytes:
        return b">"


def streamed(
    lines: Sequence[tuple[float, Delta | Progress]], *, gone_after: int | None = None
) -> tuple[list[bytes], bool]:
    """All events, and whether the lease was given back. `gone_after` events the client has left."""
    clock = Clock()
    said: list[bytes] = []
    exchange = Exchange(
        request_id="r",
        method="POST",
        gone=lambda: gone_after is not None and len(said) >= gone_after,
        observer=None,
    )
    generation = Timed(clock, lines)
    stream = EventStream(generation, Plain(), exchange, heartbeat_s=10, timeout_s=1e9, clock=clock)
    for event in stream:
        said.append(event)  # noqa: PERF402 - `gone` looks at it meanwhile
    stream.close()
    return said, generation.is_closed


def timed(*waits_s: float) -> list[tuple[float, Delta | Progress]]:
    items = text_of(*(str(number) for number in range(len(waits_s) - 1)))
    return [(wait_s, item) for wait_s, item in zip(waits_s, items, strict=True) if isinstance(item, Delta)]


def test_before_the_first_token_a_comment_comes_every_two_seconds() -> None:
    said, _ = streamed(timed(7, 0, 0))
    assert said == [b"<", *[b": ping\n\n"] * 3, b"0", b"1", b">data: [DONE]\n\n"]


def test_once_tokens_flow_a_comment_comes_after_the_heartbeat() -> None:
    said, _ = streamed(timed(0, 25, 0))
    assert said == [b"<", b"0", *[b": ping\n\n"] * 2, b"1", b">data: [DONE]\n\n"]


def test_a_prefill_tells_how_far_it_is() -> None:
    progress: list[tuple[float, Delta | Progress]] = [
        (0.5, Progress(1, 512 * step, 8192)) for step in range(1, 9)
    ]
    said, _ = streamed([*progress, *timed(0, 0)])
    assert said[1:3] == [b": prefill 2048/8192 25% eta_s=6\n\n", b": prefill 4096/8192 50% eta_s=4\n\n"]


def test_a_prefill_that_is_silent_repeats_how_far_it_is() -> None:
    said, _ = streamed([(0, Progress(1, 512, 8192)), *timed(5, 0)])
    assert said[1:3] == [b": prefill 512/8192 6%\n\n"] * 2


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_client_that_left_hears_no_more_and_the_lease_is_given_back(after: int) -> None:
    said, is_closed = streamed(timed(0, 0, 0, 0), gone_after=after)
    assert len(said) == after
    assert is_closed


def test_a_stream_that_was_never_read_gives_the_lease_back() -> None:
    clock = Clock()
    generation = Timed(clock, timed(0))
    exchange = Exchange(request_id="r", method="POST", gone=lambda: True, observer=None)
    EventStream(generation, Plain(), exchange, heartbeat_s=10, timeout_s=60, clock=clock).close()
    assert generation.is_closed


def test_a_client_that_left_while_it_was_queued_is_499_in_the_log() -> None:
    assert refusal(Door(FakeInference(refuse=ClientGone())).chat()) == (499, None, "client_gone")
