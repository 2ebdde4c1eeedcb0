"""The header that makes a stream resumable, and the route that takes it up again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import falcon.testing
import pytest

from appliance.access.keys import KeyRing, StoredKey, generate
from appliance.api.resuming.kept_streams import KeptStreams, ResumeLimits
from tests.fakes.fake_inference import FakeInference, text_of
from tests.unit.api.anthropic.asked import post
from tests.unit.api.door import HELLO, Door, refusal
from tests.unit.api.resuming.kept import eventually

RESUMABLE = {"X-Outpost-Resumable": "1"}
MINE = {"X-Request-Id": "mine", **RESUMABLE}


@contextmanager
def opened(limits: ResumeLimits = ResumeLimits(), **settings: Any) -> Iterator[Door]:  # noqa: B008 - frozen
    streams = KeptStreams(limits)
    try:
        yield Door(streams=streams, **settings)
    finally:
        streams.close()


def taken_up(
    door: Door, last: str | None = None, request_id: str = "mine", headers: dict[str, str] | None = None
) -> falcon.testing.Result:
    told = {**(headers or {}), **({"Last-Event-ID": last} if last is not None else {})}
    return door.get(f"/outpost/v1/streams/{request_id}", told)


def ids(text: str) -> list[int]:
    return [int(found) for found in re.findall(r"^id: (\d+)$", text, re.MULTILINE)]


def test_a_resumable_stream_has_numbers_and_its_place() -> None:
    with opened() as door:
        answer = door.chat(MINE, stream=True)
        assert answer.headers["x-outpost-stream"] == "/outpost/v1/streams/mine"
        assert ids(answer.text) == [1, 2, 3, 4, 5]
        assert answer.text.endswith("id: 5\ndata: [DONE]\n\n")


def test_without_the_header_nothing_is_numbered_nor_kept() -> None:
    with opened() as door:
        plain = door.chat({"X-Request-Id": "mine"}, stream=True)
        off = door.chat({"X-Request-Id": "mine", "X-Outpost-Resumable": "0"}, stream=True)
        for answer in (plain, off):
            assert "id:" not in answer.text.replace('"id":', "")
            assert "x-outpost-stream" not in answer.headers
        assert refusal(taken_up(door)) == (404, None, "request_not_found")


def test_what_it_says_is_the_same_but_for_the_numbers() -> None:
    with opened() as door:
        plain = door.chat(stream=True).text
        numbered = door.chat(MINE, stream=True).text
    unnumbered = re.sub(r"^id: \d+\n", "", numbered, flags=re.MULTILINE)

    def anonymous(text: str) -> str:
        return re.sub(r'"(id|created)":("[^"]*"|\d+)', "", text)

    assert anonymous(unnumbered) == anonymous(plain)


def test_every_kind_of_stream_can_be_resumed() -> None:
    with opened() as door:
        completion = {"model": HELLO["model"], "prompt": "once", "stream": True}
        assert ids(door.post("/v1/completions", completion, {**RESUMABLE, "X-Request-Id": "c"}).text)
        assert ids(taken_up(door, "1", "c").text) == [2, 3, 4]
        message = post(door, {**RESUMABLE, "X-Request-Id": "m"}, stream=True)
        assert message.text.startswith("id: 1\nevent: message_start\ndata: ")
        rest = taken_up(door, "3", "m").text
        assert ids(rest) == ids(message.text)[3:]
        assert rest.endswith("event: message_stop\n" + 'data: {"type":"message_stop"}\n\n')


def test_it_is_taken_up_behind_the_last_event() -> None:
    with opened() as door:
        whole = door.chat(MINE, stream=True).text
        events = [f"{part}\n\n" for part in whole.split("\n\n") if part]
        for last in range(6):
            answer = taken_up(door, str(last))
            if last == 5:
                assert (answer.status_code, answer.text) == (204, "")
                continue
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.text == ": resumed\n\n" + "".join(events[last:])
        assert taken_up(door).text == taken_up(door, "0").text == taken_up(door, "").text


@pytest.mark.parametrize("last", ["-1", "1.5", "abc", "6", "9" * 400, "\xb2", "1 2", "0x1", "NaN"])
def test_a_wrong_last_event_is_refused(last: str) -> None:
    with opened() as door:
        door.chat(MINE, stream=True)
        assert refusal(taken_up(door, last)) == (400, "Last-Event-ID", "invalid_value")


@pytest.mark.parametrize("told", ["2", "true", "", "1, 1", "yes" * 100])
def test_a_wrong_wish_is_refused(told: str) -> None:
    with opened() as door:
        answer = door.chat({"X-Outpost-Resumable": told}, stream=True)
        assert refusal(answer) == (400, "X-Outpost-Resumable", "invalid_value")


def test_where_it_means_nothing_it_is_told() -> None:
    with opened() as door:
        whole = door.chat(MINE)
        assert "'X-Outpost-Resumable' is ignored" in whole.headers["x-outpost-warning"]
        listed = door.get("/v1/models", RESUMABLE)
        assert "'X-Outpost-Resumable' is ignored" in listed.headers["x-outpost-warning"]
    with opened(ResumeLimits(keep_s=0)) as door:
        answer = door.chat(MINE, stream=True)
        assert "no stream can be resumed here" in answer.headers["x-outpost-warning"]
        assert "id: 1" not in answer.text


def test_an_id_that_is_kept_is_refused_before_anything_is_computed() -> None:
    with opened() as door:
        door.chat(MINE, stream=True)
        assert refusal(door.chat(MINE, stream=True)) == (409, None, "request_id_in_use")
        assert len(door.inference.requests) == 1
        assert door.chat({"X-Request-Id": "mine"}, stream=True).status_code == 200


def test_beyond_the_bound_a_stream_is_plain_and_says_so() -> None:
    with opened(ResumeLimits(streams_per_owner=1)) as door:
        done = {"X-Request-Id": "a", **RESUMABLE}
        door.chat(done, stream=True)
        eventually(lambda: door.inference.running == 0)
        assert "x-outpost-stream" in door.chat(MINE, stream=True).headers  # the finished one gave way
        assert taken_up(door, request_id="a").status_code == 404


def test_another_key_does_not_find_it() -> None:
    keys = [generate(), generate()]
    ring = KeyRing({key.key_id: StoredKey(sha256=key.sha256) for key in keys})
    mine, other = ({"Authorization": f"Bearer {key.text}"} for key in keys)
    with opened(keys=ring) as door:
        door.chat({**MINE, **mine}, stream=True)
        assert refusal(taken_up(door, headers=other)) == (404, None, "request_not_found")
        assert refusal(taken_up(door))[0] == 401
        assert ids(taken_up(door, headers=mine).text) == [1, 2, 3, 4, 5]


def test_events_that_are_not_kept_any_more_are_gone() -> None:
    inference = FakeInference(script=lambda _: text_of(*["x" * 2000] * 100))
    with opened(ResumeLimits(bytes_per_stream=64 * 1024), inference=inference) as door:
        assert len(ids(door.chat(MINE, stream=True).text)) == 103
        assert refusal(taken_up(door, "1")) == (410, None, "events_lost")


def test_the_log_has_one_line_for_the_answer_and_one_for_each_time_it_is_taken_up(
    journal: list[dict[str, Any]],
) -> None:
    with opened() as door:
        door.chat(MINE, stream=True)
        taken_up(door, "2")
    lines = [line for line in journal if line["event"] == "request"]
    assert [line["route"] for line in lines] == [
        "/v1/chat/completions",
        "/outpost/v1/streams/{request_id}",
    ]
    assert (lines[0]["output_tokens"], lines[0]["finish_reason"]) == (2, "stop")
    assert lines[0].get("client_gone") is None


@pytest.mark.parametrize("request_id", ["%00", "a%2fb", "x" * 4000, "..", "%E2%80%AE"])
def test_a_hostile_id_is_not_found(request_id: str) -> None:
    with opened() as door:
        answer = taken_up(door, request_id=request_id)
        assert answer.status_code == 404
        assert len(answer.text) < 600
