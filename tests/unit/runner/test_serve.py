"""The runner's loop on the calling thread, with an engine that says what it is told to and a channel that
remembers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import msgspec
import pytest

from appliance.engine.interface import Said
from appliance.errors import ClientGone, ContextLengthExceeded
from appliance.runner.preparers import LONG_CHARS
from appliance.runner.serve import Listener, Loop
from appliance.wire.channel import Channel
from appliance.wire.messages import (
    Accepted,
    Cancel,
    DaemonMessage,
    Delta,
    Detokenize,
    EngineStats,
    Generate,
    Heartbeat,
    ModelFacts,
    Refused,
    Result,
    SetLimits,
    Step,
    TextPrompt,
    Tokenize,
)


class FakeChannel:
    """The reader gets `messages`, then EOF once `until` has been sent so often."""

    def __init__(self, messages: Iterable[DaemonMessage], engine: ScriptedEngine) -> None:
        self._messages = iter(messages)
        self._engine = engine
        self.sent: list[msgspec.Struct] = []

    def receive(self) -> DaemonMessage | None:
        message = next(self._messages, None)
        if message is None:
            self._engine.wait_until_idle()
        return message

    def send(self, message: msgspec.Struct) -> None:
        self.sent.append(message)
        if isinstance(message, Refused) and message.error.name == "ClientGone":
            self._engine.settle()

    def of(self, kind: type[Any]) -> list[Any]:
        return [message for message in self.sent if isinstance(message, kind)]


class ScriptedEngine:
    """Two steps per request; remembers what it was asked."""

    facts = cast(ModelFacts, None)

    def __init__(self, *, expected: int) -> None:
        import threading

        self.asked: list[str] = []
        self.step_s = 0.0
        self.left: dict[int, int] = {}
        self._expected = expected
        self._settled = threading.Semaphore(0)

    def wait_until_idle(self) -> None:
        for _ in range(self._expected):
            assert self._settled.acquire(timeout=5.0)

    def settle(self) -> None:
        self._settled.release()

    def prepare(self, request: Any, is_wanted: Callable[[], bool]) -> Any:
        if isinstance(request, Tokenize):
            self._settled.release()
            return Result(id=request.id, tokens=[1])
        if isinstance(request, Detokenize):
            self._settled.release()
            raise ZeroDivisionError("a bug")
        if request.prompt.text == "long":
            self._settled.release()
            raise ContextLengthExceeded(prompt_tokens=9, limit_tokens=8)
        if request.prompt.text.startswith("endless"):
            deadline_s = time.monotonic() + 5.0
            while is_wanted():
                assert time.monotonic() < deadline_s, "nobody said that it was cancelled"
            raise ClientGone
        if request.prompt.text == "os":
            self._settled.release()
            raise PermissionError("an OSError that is not the channel's")
        return request

    def submit(self, prepared: Any) -> Sequence[Said]:
        self.left[prepared.id] = 2
        return [Accepted(id=prepared.id, prompt_tokens=1, cached_tokens=0)]

    def cancel(self, request_id: int) -> Sequence[Said]:
        self.asked.append(f"cancel {request_id}")
        if self.left.pop(request_id, None) is not None:
            self._settled.release()
        return []

    def set_limits(self, limits: SetLimits) -> None:
        self.asked.append(f"limits {limits.max_running}")
        self._settled.release()

    def has_work(self) -> bool:
        return bool(self.left)

    def expected_s(self) -> float:
        return self.step_s

    def step(self) -> Sequence[Said]:
        deltas = [Delta(id=key, choice=0, text="x", tokens=1) for key in self.left]
        for key in list(self.left):
            self.left[key] -= 1
            if not self.left[key]:
                del self.left[key]
                self._settled.release()
        return [Step(deltas=deltas)]

    def rest(self) -> None:
        self.asked.append("rest")

    def hibernate(self) -> None: ...

    def stats(self) -> EngineStats:
        return EngineStats(running=len(self.left))


def run(*messages: DaemonMessage, expected: int | None = None) -> tuple[FakeChannel, ScriptedEngine]:
    """Until EOF, which comes when all requests are settled."""
    engine = ScriptedEngine(expected=len(messages) if expected is None else expected)
    return _run_on(engine, *messages), engine


def _run_on(engine: ScriptedEngine, *messages: DaemonMessage) -> FakeChannel:
    fake = FakeChannel(messages, engine)
    channel = cast(Channel[DaemonMessage], fake)
    listener = Listener(channel, exit_now=lambda _: pytest.fail("the loop did not end by itself"))
    listener.start()
    Loop(engine=engine, channel=channel, listener=listener, heartbeat_s=60.0).run()
    return fake


def ask(number: int, text: str = "x") -> Generate:
    return Generate(id=number, prompt=TextPrompt(text=text))


def test_a_request_is_accepted_stepped_and_ended() -> None:
    channel, _ = run(ask(1))
    assert [message.id for message in channel.of(Accepted)] == [1]
    assert len(channel.of(Step)) == 2


def test_a_step_with_many_requests_is_one_frame() -> None:
    channel, _ = run(*(ask(number) for number in range(20)))
    assert sorted(delta.id for step in channel.of(Step) for delta in step.deltas) == sorted([*range(20)] * 2)


def test_what_needs_no_step_is_answered_by_the_preparer() -> None:
    channel, _ = run(Tokenize(id=7, text="x"))
    assert channel.of(Result) == [Result(id=7, tokens=[1])]
    assert channel.of(Step) == []


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (ask(1, "long"), "ContextLengthExceeded"),
        (ask(1, "os"), "EngineFault"),
        (Detokenize(id=1, tokens=[]), "EngineFault"),
    ],
)
def test_a_request_that_can_not_be_prepared_is_refused_and_the_next_one_runs(
    request_: DaemonMessage, name: str
) -> None:
    channel, _ = run(request_, ask(2))
    assert [(message.id, message.error.name) for message in channel.of(Refused)] == [(1, name)]
    assert [message.id for message in channel.of(Accepted)] == [2]


def test_a_cancel_that_overtakes_its_request_is_kept_until_that_is_submitted() -> None:
    channel, engine = run(ask(1), Cancel(id=1), expected=1)
    refused = [message.error.name for message in channel.of(Refused)]  # it was cancelled before it was begun
    assert "cancel 1" in engine.asked or refused == ["ClientGone"]
    assert len(channel.of(Step)) <= 2


def test_a_cancel_ends_a_preparation_and_the_next_request_runs() -> None:
    channel, _ = run(ask(1, "endless"), Cancel(id=1), ask(2), expected=2)
    assert [(message.id, message.error.name) for message in channel.of(Refused)] == [(1, "ClientGone")]
    assert [message.id for message in channel.of(Accepted)] == [2]


def test_a_long_text_keeps_no_short_one_waiting() -> None:
    channel, _ = run(ask(1, "endless" + " " * LONG_CHARS), ask(2), Cancel(id=1), expected=2)
    assert [message.id for message in channel.of(Accepted)] == [2]


def test_a_step_that_will_be_long_is_announced() -> None:
    engine = ScriptedEngine(expected=1)
    engine.step_s = 90.0
    channel = _run_on(engine, ask(1))
    assert [beat.quiet_s for beat in channel.of(Heartbeat)][-1] >= 90.0


def test_limits_reach_the_engine() -> None:
    _, engine = run(SetLimits(max_running=3))
    assert engine.asked == ["limits 3"]


def test_the_first_heartbeat_comes_at_once() -> None:
    channel, _ = run(ask(1))
    assert channel.of(Heartbeat)
