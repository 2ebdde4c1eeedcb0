"""What no client sends, to every route with a body: refused in Ollama's form, and nothing else happens."""

from __future__ import annotations

import json
from typing import Any

import falcon.testing
import pytest

from tests.fakes.fake_inference import MODEL
from tests.fakes.fake_store_verbs import FakeStoreVerbs
from tests.fakes.hostile_names import HOSTILE_NAMES
from tests.unit.api.door import Door
from tests.unit.api.ollama.asked import USER, refusal

ROUTES: dict[str, dict[str, Any]] = {
    "/api/generate": {"model": MODEL, "prompt": "hi"},
    "/api/chat": {"model": MODEL, "messages": [USER]},
    "/api/embed": {"model": MODEL, "input": "hi"},
    "/api/embeddings": {"model": MODEL, "prompt": "hi"},
    "/api/show": {"model": "tiny"},
    "/api/create": {"model": "new", "from": "tiny"},
    "/api/copy": {"source": "tiny", "destination": "b"},
    "/api/delete": {"model": "tiny"},
    "/api/pull": {"model": "tiny"},
    "/api/push": {"model": "tiny"},
}
HOSTILE = [
    b"",
    b"null",
    b"[]",
    b"{",
    b'"model"',
    b"\xff\xfe",
    b'{"model": NaN}',
    b'{"model": 1e999}',
    b'{"model": "a", "model": "b"}',
    b'{"model": "\\ud800"}',
    b'{"model": ' + b"[" * 100 + b"]" * 100 + b"}",
    b'{"options": ' + b'{"a":' * 70 + b"1" + b"}" * 70 + b"}",
]
WRONG: list[dict[str, Any]] = [
    {"model": 5, "source": 5},
    {"model": ["a"], "source": ["a"]},
    {"model": {"a": 1}, "source": {"a": 1}},
    {"model": "x" * 5000, "source": "x" * 5000},
]


def ask(door: Door, route: str, body: bytes) -> falcon.testing.Result:
    method = "DELETE" if route == "/api/delete" else "POST"
    return door.client.simulate_request(
        method, route, body=body, headers={"Content-Type": "application/json"}, host="localhost"
    )


@pytest.fixture
def store() -> FakeStoreVerbs:
    return FakeStoreVerbs()


@pytest.fixture
def door(store: FakeStoreVerbs) -> Door:
    return Door(store=store)


@pytest.mark.parametrize("body", HOSTILE, ids=lambda body: ascii(body[:24]))
@pytest.mark.parametrize("route", ROUTES)
def test_a_body_that_is_no_honest_object_is_refused(
    door: Door, store: FakeStoreVerbs, route: str, body: bytes
) -> None:
    status, _ = refusal(ask(door, route, body))
    assert status == 400
    assert (door.inference.requests, door.inference.calls, door.inference.unloaded) == ([], [], 0)
    assert [call for call in store.calls if call[0] != "list"] == []


@pytest.mark.parametrize("fields", WRONG, ids=lambda fields: ascii(str(fields)[:24]))
@pytest.mark.parametrize("route", ROUTES)
def test_a_name_that_is_no_text_is_refused(door: Door, route: str, fields: dict[str, Any]) -> None:
    assert refusal(ask(door, route, json.dumps({**ROUTES[route], **fields}).encode()))[0] == 400


@pytest.mark.parametrize("name", HOSTILE_NAMES[::7], ids=ascii)
@pytest.mark.parametrize("route", ["/api/create", "/api/copy", "/api/delete", "/api/pull", "/api/push"])
def test_a_hostile_name_changes_nothing(door: Door, store: FakeStoreVerbs, route: str, name: str) -> None:
    field = "source" if route == "/api/copy" else "model"
    body = {**ROUTES[route], field: name, "stream": False}
    status, _ = refusal(ask(door, route, json.dumps(body).encode("utf-8", "surrogatepass")))
    assert status in {400, 404}
    assert [call for call in store.calls if call[0] != "list"] == []


@pytest.mark.parametrize(
    ("route", "fields"),
    [
        ("/api/chat", {"messages": "hi"}),
        ("/api/chat", {"messages": [5]}),
        ("/api/chat", {"messages": [{"content": "x"}]}),
        ("/api/chat", {"messages": [{"role": "root", "content": "x"}]}),
        ("/api/chat", {"messages": [{"role": "user", "content": ["x"]}]}),
        ("/api/chat", {"messages": [{"role": "user", "tool_calls": [{"function": {"name": "a"}}]}]}),
        ("/api/chat", {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": {}}}]}]}),
        (
            "/api/chat",
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": "{}"}}]}
                ]
            },
        ),
        ("/api/chat", {"messages": [USER] * 4097}),
        ("/api/chat", {"tools": [{"type": "function", "function": {"name": "a b"}}]}),
        ("/api/chat", {"tools": [{"function": {"name": "a"}}, {"function": {"name": "a"}}]}),
        ("/api/chat", {"tools": [{"function": {"name": "a", "parameters": {"$ref": "http://x"}}}]}),
        ("/api/chat", {"format": {"$ref": "file:///etc/passwd"}}),
        ("/api/chat", {"format": 5}),
        ("/api/chat", {"stream": "yes"}),
        ("/api/chat", {"options": []}),
        ("/api/chat", {"logprobs": True, "top_logprobs": 21}),
        ("/api/chat", {"keep_alive": "soon"}),
        ("/api/chat", {"keep_alive": []}),
        ("/api/generate", {"prompt": 5}),
        ("/api/generate", {"context": ["a"]}),
        ("/api/generate", {"context": [0] * 100_000}),
        ("/api/generate", {"options": {"seed": 1 << 63}}),
        ("/api/embed", {"dimensions": -1}),
        ("/api/create", {"files": {f"{at}.gguf": "x" for at in range(65)}}),
        ("/api/create", {"license": [5]}),
    ],
    ids=lambda value: ascii(str(value)[:40]),
)
def test_a_field_that_is_wrong_is_refused(door: Door, route: str, fields: dict[str, Any]) -> None:
    status, text = refusal(ask(door, route, json.dumps({**ROUTES[route], **fields}).encode()))
    assert (status, len(text) < 1000) == (400, True)
    assert door.inference.requests == []


def test_a_page_of_another_origin_may_not_ask(door: Door) -> None:
    answer = door.post("/api/chat", ROUTES["/api/chat"], {"Origin": "https://evil.example"})
    assert refusal(answer)[0] == 403


def test_a_name_that_a_hostile_resolver_may_have_made_is_refused(door: Door) -> None:
    answer = door.client.simulate_get("/api/tags", host="evil.example")
    assert refusal(answer)[0] == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/chat", 405), ("POST", "/api/tags", 405), ("GET", "/api/nope", 404), ("POST", "/", 405)],
)
def test_what_is_no_route_is_told_in_the_same_form(door: Door, method: str, path: str, status: int) -> None:
    assert refusal(door.client.simulate_request(method, path, host="localhost"))[0] == status


@pytest.mark.parametrize("route", ["/api/generate", "/api/chat", "/api/embed"])
def test_an_option_whose_name_no_header_can_hold_is_warned_of_in_visible_ascii(
    door: Door, route: str
) -> None:
    body = {**ROUTES[route], "options": {"a\r\nSet-Cookie: b\x7f\u0080\u20ac\U0001f600": 1}}
    answer = ask(door, route, json.dumps(body).encode())
    assert answer.status_code == 200
    warning = answer.headers["x-outpost-warning"]
    assert "Set-Cookie" in warning
    assert warning.isascii() and warning.isprintable()
    assert "set-cookie" not in answer.headers
