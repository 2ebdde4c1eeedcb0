"""The requests a runner has, and its end."""

from __future__ import annotations

import pytest

from appliance.errors import RunnerDied
from appliance.supervisor import open_requests
from appliance.supervisor.idle_frames import IdleFrames
from appliance.supervisor.mailbox import Mailbox
from appliance.supervisor.open_requests import OpenRequests
from appliance.wire.channel import ProtocolError
from appliance.wire.messages import Generate, TextPrompt

DIED = RunnerDied(model="m", cause="SIGSEGV")


def mailbox(number: int) -> Mailbox:
    return Mailbox(Generate(id=number, prompt=TextPrompt(text="hi")), n_ctx_seq=8)


def test_what_has_entered_is_found_until_it_leaves() -> None:
    requests, one = OpenRequests(), mailbox(1)
    assert requests.enter(one)
    assert requests.get(1) is one
    assert (one in requests, len(requests), requests.listed()) == (True, 1, [one])
    requests.leave(one)
    requests.leave(one)
    assert (one in requests, len(requests), requests.listed()) == (False, 0, [])
    with pytest.raises(ProtocolError, match="news of the unknown request 1"):
        requests.get(1)


def test_the_end_fails_those_that_are_there_and_those_that_come() -> None:
    requests, one = OpenRequests(), mailbox(1)
    requests.enter(one)
    requests.fail(DIED)
    with pytest.raises(RunnerDied):
        one.take(0.0)
    with pytest.raises(RunnerDied) as caught:
        requests.enter(mailbox(2))
    assert caught.value is not DIED, "each thread gets a copy of its own"


def test_a_runner_that_ends_nothing_is_told_from_a_busy_one() -> None:
    requests = OpenRequests()
    assert all(requests.enter(mailbox(number)) for number in range(open_requests.MOST_OPEN))
    assert not requests.enter(mailbox(open_requests.MOST_OPEN))


def test_empty_frames_are_bounded_in_any_second() -> None:
    frames = IdleFrames()
    for second in range(3):
        for _ in range(500):
            frames.count(second * 1.1)
    with pytest.raises(ProtocolError, match="a flood of more than 500 empty frames in a second"):
        frames.count(2.3)
