"""Streams that begin before the request is accepted, for callers who asked for that."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from appliance.api.awaited import Awaited
from appliance.api.exchange import Exchange
from appliance.api.sse import EventStream
from appliance.errors import OutpostError, Overloaded, RunnerDied
from appliance.supervisor.inference import Generation
from appliance.supervisor.turn import Standing, Turn
from tests.fakes.fake_inference import MODEL, FakeInference
from tests.unit.api.door import Door, comments_of, events_of, refusal
from tests.unit.api.test_sse import Clock, Plain, Timed, timed

PROGRESS = {"X-Outpost-Progress": "1"}
OVERLOADED = Overloaded(waiting=1, limit=1, retry_after_s=2.0, is_displaced=True)


class InLine:
    """Steps forward once a second of `clock`, then is accepted, or refused with `fault`."""

    def __init__(self, clock: Clock, places: int, fault: OutpostError | None = None) -> None:
        self._clock = clock
        self._places = places
        self._fault = fault
        self.generation = Timed(clock, timed(0, 0, 0))
        self.is_closed = False

    def next(self, timeout_s: float) -> Generation | None:
        self._clock.now_s += timeout_s
        if self._clock.now_s < self._places:
            return None
        if self._fault is not None:
            raise self._fault
        return self.generation

    def standing(self) -> Standing | None:
        position = self._places - int(self._clock.now_s)
        return Standing(position=position, eta_s=position if position < 5 else None)

    def close(self) -> None:
        self.is_closed = True


def exchange_of(gone: Callable[[], bool] = lambda: False, deadline_s: float | None = None) -> Exchange:
    exchange = Exchange(request_id="r", method="POST", gone=gone, observer=None)
    exchange.turn = Turn(deadline_s=deadline_s)
    return exchange


def opened(pending: InLine, clock: Clock, exchange: Exchange) -> EventStream:
    awaited = Awaited(pending, exchange)
    return EventStream(awaited, Plain(), exchange, heartbeat_s=10, timeout_s=1e9, clock=clock)


def test_while_it_waits_it_says_at_once_and_every_two_seconds_where_it_stands() -> None:
    clock = Clock()
    pending = InLine(clock, 6)
    exchange = exchange_of()
    stream = opened(pending, clock, exchange)
    assert exchange.turn.arrived_at == Standing(position=6, eta_s=None)
    assert list(stream) == [
        b": queue position=6\n\n",
        b": queue position=4 eta_s=4\n\n",
        b": queue position=2 eta_s=2\n\n",
        b"<",
        b"0",
        b"1",
        b">data: [DONE]\n\n",
    ]
    assert exchange.accepted is pending.generation.accepted
    stream.close()
    assert pending.generation.is_closed
    assert not pending.is_closed


def test_who_is_accepted_at_once_gets_an_ordinary_stream() -> None:
    clock = Clock()
    assert next(iter(opened(InLine(clock, 0), clock, exchange_of()))) == b"<"


def test_what_is_refused_at_once_has_its_true_status() -> None:
    door = Door(FakeInference(refuse_later=OVERLOADED))
    assert refusal(door.chat(PROGRESS, stream=True)) == (503, None, "overloaded")


def test_what_is_refused_later_is_the_last_event() -> None:
    clock = Clock()
    pending = InLine(clock, 3, OVERLOADED)
    stream = opened(pending, clock, exchange_of())
    said = list(stream)
    stream.close()
    assert said[-1].startswith(b'data: {"error":{"message":"the queue is full')
    assert b'"code":"overloaded"' in said[-1]
    assert pending.is_closed


def test_a_client_that_leaves_the_line_ends_it() -> None:
    clock = Clock()
    said: list[bytes] = []
    pending = InLine(clock, 1000)
    stream = opened(pending, clock, exchange_of(gone=lambda: len(said) >= 2))
    for event in stream:
        said.append(event)  # noqa: PERF402 - `gone` looks at it meanwhile
    stream.close()
    assert len(said) == 2
    assert pending.is_closed


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/completions", {"prompt": "hi"}),
    ],
)
def test_chats_and_completions_begin_with_where_they_stand(path: str, asked: dict[str, object]) -> None:
    door = Door(FakeInference(looks=2, standing=Standing(position=2, eta_s=30.0)))
    answer = door.post(path, {"model": MODEL, "stream": True, **asked}, PROGRESS)
    assert answer.status_code == 200
    assert answer.headers["x-outpost-queue-position"] == "2"
    assert "x-outpost-queue-s" not in answer.headers
    assert comments_of(answer)[0] == ": queue position=2 eta_s=30"
    assert events_of(answer)[-1] == "[DONE]"


def test_the_fault_of_a_stream_that_waits_is_told_as_an_event() -> None:
    door = Door(FakeInference(looks=2, refuse_later=RunnerDied(model=MODEL, cause="SIGKILL")))
    answer = door.chat(PROGRESS, stream=True)
    assert answer.status_code == 200
    assert comments_of(answer) == [": queue"]
    assert [event["error"]["code"] for event in events_of(answer)] == ["runner_died"]
    assert [pending.is_closed for pending in door.inference.pending] == [True]


@pytest.mark.parametrize(
    ("headers", "stream"), [({}, True), ({"X-Outpost-Progress": "0"}, True), (PROGRESS, False)]
)
def test_without_the_wish_or_a_stream_the_first_byte_waits_for_acceptance(
    headers: dict[str, str],
    stream: bool,
) -> None:
    door = Door()
    assert door.chat(headers, stream=stream).status_code == 200
    assert door.inference.pending == []


def test_several_prompts_have_no_place_to_tell() -> None:
    answer = Door().post("/v1/completions", {"model": MODEL, "prompt": ["a", "b"], "stream": True}, PROGRESS)
    assert answer.headers["x-outpost-warning"] == "'X-Outpost-Progress' is ignored for several prompts"
    assert comments_of(answer) == [": ping"]
