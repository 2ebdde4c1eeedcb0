"""A verb at work and its lines: what is kept of fast news, what is said in silence, how it is cancelled."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from appliance.api.exchange import Exchange
from appliance.api.operation import Operation
from appliance.errors import ClientGone, ModelNotFound, RemoteUnreachable
from appliance.store.content import Progress, Report
from appliance.store.digest import digest_of
from appliance.store.operations import Outcome

BLOB = digest_of(b"blob")


class Client:
    """Gone when the test says so."""

    def __init__(self) -> None:
        self.is_gone = threading.Event()
        self.exchange = Exchange(request_id="r", method="POST", gone=self.is_gone.is_set, observer=None)


class Gate:
    """A verb that tells one thing, waits, and tells another."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.ended = threading.Event()

    def __call__(self, report: Report) -> Outcome:
        try:
            report(Progress(status="pulling manifest"))
            while not self.open.wait(0.005):
                report(Progress(status="pulling", digest=BLOB, total_bytes=9, completed_bytes=1))
        finally:
            self.ended.set()
        return {"name": "a:latest"}


def operation(work: Any, client: Client | None = None, *, heartbeat_s: float = 10.0) -> Operation:
    made = Operation(work, (client or Client()).exchange, heartbeat_s=heartbeat_s)
    made.start()
    return made


def lines_of(made: Operation) -> Iterator[dict[str, Any]]:
    for part in made:
        yield from (json.loads(line) for line in part.splitlines())


def test_of_fast_news_the_newest_of_each_blob_is_told() -> None:
    def work(report: Report) -> Outcome:
        for done in range(10_000):
            report(Progress(status="pulling", digest=BLOB, total_bytes=10_000, completed_bytes=done + 1))
        return {}

    with closing(operation(work)) as made:
        told = list(lines_of(made))
    assert len(told) < 100
    assert told[-2] == {"status": "pulling", "digest": BLOB, "total": 10_000, "completed": 10_000}
    assert told[-1] == {"status": "success"}


def test_a_fault_before_any_news_is_raised_at_start() -> None:
    def work(_report: Report) -> Outcome:
        raise ModelNotFound(model="m", available=[])

    with pytest.raises(ModelNotFound):
        operation(work)


def test_a_fault_after_news_is_the_last_line() -> None:
    def work(report: Report) -> Outcome:
        report(Progress(status="pulling manifest"))
        raise RemoteUnreachable(host="h", reason="r")

    with closing(operation(work)) as made:
        first, last = lines_of(made)
    assert first == {"status": "pulling manifest"}
    assert last["error"]["code"] == "remote_unreachable"


def test_what_is_said_again_is_told_once_and_still_cancels() -> None:
    client, said, ended = Client(), threading.Event(), threading.Event()

    def work(report: Report) -> Outcome:
        try:
            for number in range(10_000):
                report(Progress(status="validating"))
                if number == 100:
                    said.set()
                time.sleep(0.001)
        finally:
            ended.set()
        return {}

    with closing(operation(work, client)) as made:
        told = lines_of(made)
        assert next(told) == {"status": "validating"}
        assert said.wait(5)
        client.is_gone.set()
        assert not list(told)
    assert ended.is_set()


def test_in_silence_the_last_line_is_said_again() -> None:
    gate = threading.Event()

    def work(report: Report) -> Outcome:
        report(Progress(status="validating"))
        assert gate.wait(5)
        return {}

    with closing(operation(work, heartbeat_s=0.01)) as made:
        told = lines_of(made)
        assert [next(told), next(told)] == [{"status": "validating"}] * 2
        gate.set()
        assert list(told)[-1] == {"status": "success"}


def test_a_client_that_hangs_up_ends_the_verb() -> None:
    client, gate = Client(), Gate()
    with closing(operation(gate, client)) as made:
        told = lines_of(made)
        assert next(told) == {"status": "pulling manifest"}
        client.is_gone.set()
        assert len(list(told)) <= 2
    assert gate.ended.is_set()


def test_closing_ends_the_verb_also_before_the_first_line_was_read() -> None:
    gate = Gate()
    made = operation(gate)
    made.close()
    made.close()
    assert gate.ended.is_set()


def test_a_client_that_is_gone_before_the_first_news_is_no_answer() -> None:
    client, begun = Client(), threading.Event()
    client.is_gone.set()

    def work(report: Report) -> Outcome:
        assert begun.wait(5)
        report(Progress(status="too late"))
        return {}

    made = Operation(work, client.exchange, heartbeat_s=10.0)
    threading.Timer(0.4, begun.set).start()
    with pytest.raises(ClientGone):
        made.start()


def test_who_wants_no_lines_waits_for_the_outcome() -> None:
    gate = Gate()
    made = operation(gate)
    gate.open.set()
    assert made.finish() == {"name": "a:latest"}
    made.close()


def test_who_wants_no_lines_hears_of_the_fault() -> None:
    def failing(report: Report) -> Outcome:
        report(Progress(status="pulling manifest"))
        raise RemoteUnreachable(host="r.example", reason="no route")

    made = operation(failing)
    with pytest.raises(RemoteUnreachable):
        made.finish()


def test_who_wants_no_lines_and_leaves_ends_the_work() -> None:
    gate, client = Gate(), Client()
    made = operation(gate, client)
    client.is_gone.set()
    with pytest.raises(ClientGone):
        made.finish()
    assert gate.ended.is_set()


def test_the_last_line_has_the_form_of_its_door() -> None:
    def failing(report: Report) -> Outcome:
        report(Progress(status="pulling manifest"))
        raise RemoteUnreachable(host="r.example", reason="no route")

    made = Operation(
        failing, Client().exchange, heartbeat_s=10.0, error_object=lambda error: {"error": str(error)}
    )
    made.start()
    assert list(lines_of(made))[-1] == {"error": "r.example does not answer: no route"}
