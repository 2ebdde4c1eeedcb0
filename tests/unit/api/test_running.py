"""What runs, who sees it, and what a cancel by id does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import falcon.testing
import pytest

from appliance.access.keys import KeyRing, NewKey, StoredKey, generate
from appliance.access.scopes import Scope
from appliance.api.exchange import Exchange
from appliance.api.running import Running
from appliance.errors import Cancelled, ClientGone, InvalidRequest
from appliance.wire.messages import Delta
from tests.fakes.fake_inference import MODEL, Act, text_of
from tests.unit.api.door import Door, events_of, refusal

REQUESTS = "/outpost/v1/requests"


def exchange(request_id: str, owner: str = "a", *, is_gone: bool = False) -> Exchange:
    made = Exchange(request_id=request_id, method="POST", gone=lambda: is_gone, observer=None)
    made.owner = owner
    return made


def test_a_cancel_takes_all_of_one_owner_with_the_id() -> None:
    running = Running()
    mine, again, other, theirs = exchange("x"), exchange("x"), exchange("y"), exchange("x", "b")
    for one in (mine, again, other, theirs):
        running.enter(one)
    assert running.cancel("x", "a", reason="r") == 2
    assert [one.gone() for one in (mine, again, other, theirs)] == [True, True, False, False]
    assert running.cancel("x", None, reason="r") == 3
    running.leave(mine)
    running.leave(mine)
    assert running.listed("a") == [again, other]


def test_who_was_cancelled_hears_so_and_who_left_does_not() -> None:
    one = exchange("x", is_gone=True)
    assert isinstance(one.told(ClientGone()), ClientGone)
    one.cancelled = "by its id"
    assert isinstance(one.told(ClientGone()), Cancelled)
    assert isinstance(one.told(InvalidRequest(reason="x")), InvalidRequest)
    assert one.finish_reason == "cancelled"


class Asked:
    """A door with so many keys, of which the first asks."""

    def __init__(self, *, keys: int = 0, scopes: frozenset[Scope] = frozenset({Scope.INFER})) -> None:
        self.keys: list[NewKey] = [generate() for _ in range(keys)]
        stored = {key.key_id: StoredKey(sha256=key.sha256, scopes=scopes) for key in self.keys}
        self.heard: list[falcon.testing.Result] = []
        self.door = Door(keys=KeyRing(stored))

    def bearer(self, number: int = 0) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[number].text}"} if self.keys else {}

    def cancel(self, request_id: str = "mine", *, number: int = 0) -> falcon.testing.Result:
        return self.door.client.simulate_post(
            f"{REQUESTS}/{request_id}/cancel", host="localhost", headers=self.bearer(number)
        )

    def listing(self, number: int = 0) -> list[dict[str, Any]]:
        answer = self.door.get(REQUESTS, self.bearer(number))
        assert answer.status_code == 200
        told: list[dict[str, Any]] = answer.json["data"]
        return told

    @contextmanager
    def waiting(self, path: str = "/v1/chat/completions", **fields: Any) -> Iterator[None]:
        """One request of the first key waits in the queue; its answer is in `heard` afterwards."""
        inference = self.door.inference
        inference.queue.clear()
        body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], **fields}
        headers = {"X-Request-Id": "mine", **self.bearer()}
        thread = threading.Thread(
            target=lambda: self.heard.append(self.door.post(path, body, headers)), name="asking"
        )
        thread.start()
        try:
            while [item["state"] for item in self.listing()] != ["running"]:
                assert thread.is_alive()
            yield
        finally:
            inference.queue.set()
            thread.join(5)


def test_who_waits_is_listed_and_gone_afterwards() -> None:
    asked = Asked(keys=1)
    with asked.waiting(stream=True):
        (item,) = asked.listing()
        assert item.pop("age_s") >= 0
        assert item == {
            "id": "mine",
            "object": "request",
            "route": "/v1/chat/completions",
            "model": MODEL,
            "owner": asked.keys[0].key_id,
            "state": "running",  # the fake one has told that its turn has come
            "stream": False,
            "priority": "realtime",
            "prompt_tokens": None,
            "output_tokens": 0,
        }
    assert asked.listing() == []


@pytest.mark.parametrize("stream", [True, False])
def test_who_waits_in_the_queue_is_cancelled(stream: bool) -> None:
    asked = Asked()
    with asked.waiting(stream=stream):
        assert asked.cancel().json == {"object": "request.cancelled", "id": "mine", "cancelled": 1}
        asked.door.inference.queue.wait(0.2)
    (answer,) = asked.heard
    assert refusal(answer) == (499, None, "cancelled")
    assert asked.door.inference.gone == 1


@pytest.mark.parametrize("stream", [True, False])
def test_who_is_answered_is_cancelled(stream: bool) -> None:
    asked = Asked()
    first, *others = text_of("Hel", "lo")
    asked.door.inference.script = lambda _: [first, Act(asked.cancel), *others]
    answer = asked.door.chat({"X-Request-Id": "mine"}, stream=stream)
    assert asked.door.inference.generations[0].is_closed
    assert asked.listing() == []
    if not stream:
        assert refusal(answer) == (499, None, "cancelled")
        return
    told = events_of(answer)
    assert told[1]["choices"][0]["delta"] == {"content": "Hel"}
    assert [told[2]["error"]["code"]] == ["cancelled"]
    assert len(told) == 3


def test_the_log_says_that_it_was_cancelled(journal: list[dict[str, Any]]) -> None:
    asked = Asked()
    with asked.waiting():
        asked.cancel()
        asked.door.inference.queue.wait(0.2)
    line = next(line for line in journal if line["event"] == "request" and line["request_id"] == "mine")
    assert (line["error"], line["finish_reason"]) == ("cancelled", "cancelled")
    assert "client_gone" not in line


def test_what_is_not_there_is_not_found() -> None:
    asked = Asked()
    answer = asked.cancel("nope")
    assert refusal(answer) == (404, None, "request_not_found")
    assert "'nope'" in answer.json["error"]["message"]


def test_another_key_neither_sees_nor_cancels() -> None:
    asked = Asked(keys=2)
    with asked.waiting():
        assert asked.listing(1) == []
        assert refusal(asked.cancel(number=1)) == (404, None, "request_not_found")
        assert asked.listing()[0]["state"] == "running"
    assert asked.heard[0].status_code == 200


def test_the_scope_system_sees_and_cancels_all() -> None:
    asked = Asked(keys=2, scopes=frozenset({Scope.INFER, Scope.SYSTEM}))
    with asked.waiting():
        assert [item["owner"] for item in asked.listing(1)] == [asked.keys[0].key_id]
        assert asked.cancel(number=1).json["cancelled"] == 1
        asked.door.inference.queue.wait(0.2)
    assert asked.heard[0].status_code == 499


def test_only_requests_to_models_are_listed() -> None:
    asked = Asked()
    asked.door.get("/v1/models")
    listed = asked.door.get(REQUESTS, {"X-Request-Id": "listing"}).json["data"]
    assert listed == []
    assert refusal(asked.cancel("listing")) == (404, None, "request_not_found")


@pytest.mark.parametrize("request_id", ["x" * 5000, "%0d%0aSet-Cookie:%20a", "..%2f..", "%ff", "%22%3e"])
def test_a_hostile_id_is_not_found_and_told_plainly(request_id: str) -> None:
    answer = Asked().cancel(request_id)
    assert answer.status_code == 404
    assert len(answer.text) < 600
    assert answer.text.isascii()
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"all": true}', b'{"' + b"a" * 2000 + b'": 1}'])
def test_a_cancel_takes_no_body_but_an_empty_one(body: bytes) -> None:
    asked = Asked()
    with asked.waiting():
        answer = asked.door.post_bytes(f"{REQUESTS}/mine/cancel", body)
        assert answer.status_code in {400, 413}
        assert asked.door.post(f"{REQUESTS}/mine/cancel", {}).status_code == 200


def test_a_delta_counts_its_tokens() -> None:
    one = exchange("x")
    one.mark_token(tokens=3)
    one.mark_token(tokens=Delta(id=1, choice=0, text="a", tokens=2).tokens)
    assert one.output_tokens == 5
