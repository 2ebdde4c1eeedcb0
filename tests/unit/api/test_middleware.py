"""Ids, hosts, origins and keys: who may ask, and how it is told."""

from __future__ import annotations

import json
import socket
from collections.abc import MutableMapping
from typing import Any

import pytest

from appliance.access import keys as access_keys
from appliance.access.keys import KeyRing, StoredKey
from appliance.api.hosts import host_of
from appliance.api.middleware import HostMiddleware
from tests.fakes.fake_inference import FakeInference
from tests.unit.api.door import HELLO, Door, refusal

KEY = access_keys.generate()
RING = KeyRing({KEY.key_id: StoredKey(sha256=KEY.sha256)})
ROUTES = ["/v1/models", "/v1/models/x", "/metrics", "/v1/nope", "/nope"]


def asked(door: Door, method: str = "GET", path: str = "/v1/models", **kwargs: Any) -> Any:
    return door.client.simulate_request(method, path, **{"host": "localhost", **kwargs})


# ── ids
# ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_clients_id_comes_back_on_answers_and_errors() -> None:
    door = Door()
    assert door.get("/v1/models", {"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert door.get("/nope", {"X-Request-Id": "mine-2"}).headers["x-request-id"] == "mine-2"


@pytest.mark.parametrize("told", ["", "a b", "x" * 129, "é", "a;b", '"'])
def test_an_id_that_could_do_harm_is_replaced(told: str) -> None:
    assert Door().get("/v1/models", {"X-Request-Id": told}).headers["x-request-id"].startswith("req_")


# ── hosts
# ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:11434",
        "127.0.0.1:1",
        "[::1]:80",
        "192.168.1.5",
        "outpost.local",
        "LOCALHOST",
        "box.lan.",
    ],
)
def test_a_host_that_cannot_be_rebound_is_let_in(host: str) -> None:
    middleware = HostMiddleware(["box.lan"])
    name = host_of(host)
    assert name is not None
    assert middleware.allows(name)


@pytest.mark.parametrize("host", ["evil.com", "localhost.evil.com", "127.0.0.1.evil.com", "local", "xlocal"])
def test_a_foreign_host_name_is_403_and_learns_nothing(host: str) -> None:
    answer = asked(Door(), host=host)
    assert refusal(answer) == (403, None, "not_allowed")


@pytest.mark.parametrize("host", ["localhost, evil.com", "localhost/x", "u@localhost", "", "[::1", "a b"])
def test_what_is_not_one_host_is_400(host: str) -> None:
    assert refusal(Door().get("/v1/models", {"Host": host})) == (400, None, "invalid_value")


# ── origins
# ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_page_of_another_origin_may_not_post() -> None:
    answer = Door().chat(headers={"Origin": "https://evil.com"})
    assert refusal(answer) == (403, None, "not_allowed")
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_of_another_origin_cannot_read() -> None:
    assert (
        "access-control-allow-origin" not in Door().get("/v1/models", {"Origin": "https://evil.com"}).headers
    )


def test_our_own_page_may_post() -> None:
    assert Door().chat(headers={"Origin": "http://localhost"}).status_code == 200


def test_a_listed_origin_may_post_and_read_and_ask_before() -> None:
    door = Door(allowed_origins=["https://chat.lan"], keys=RING)
    before = asked(door, "OPTIONS", "/v1/chat/completions", headers={"Origin": "https://chat.lan"})
    assert before.status_code == 204
    assert before.headers["access-control-allow-origin"] == "https://chat.lan"
    assert "authorization" in before.headers["access-control-allow-headers"]
    headers = {"Origin": "https://chat.lan", "Authorization": f"Bearer {KEY.text}"}
    assert door.chat(headers=headers).headers["access-control-allow-origin"] == "https://chat.lan"


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "PUT"])
@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "localhost",
        "http://localhost:1",
        "http://localhost.evil.com",
        "http://evil.com/localhost",
        "http://evil.com#@localhost",
        "file://",
        "https://chat.lan.evil.com",
        "http://chat.lan",
        "https://chat.lan:444",
        "*",
    ],
)
def test_an_origin_that_is_not_ours_to_the_letter_changes_nothing(method: str, origin: str) -> None:
    door = Door(allowed_origins=["https://chat.lan"], keys=RING)
    headers = {"Origin": origin, "Authorization": f"Bearer {KEY.text}"}
    answer = asked(door, method, "/v1/chat/completions", headers=headers, body="{}")
    assert refusal(answer) == (403, None, "not_allowed")
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_without_an_origin_is_not_ours_where_no_host_is_told_either() -> None:
    answer = Door().client.simulate_post("/tokenize", json={}, http_version="1.0", headers={"Origin": "null"})
    assert answer.status_code in {400, 403}


@pytest.mark.parametrize("origin", ["https://evil.com", "null", "*"])
def test_a_page_that_is_not_listed_is_told_nothing_before_it_asks(origin: str) -> None:
    wishes = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for door in (Door(), Door(keys=RING), Door(allowed_origins=["https://chat.lan"])):
        answer = asked(door, "OPTIONS", "/v1/chat/completions", headers={"Origin": origin, **wishes})
        assert not any(name.startswith("access-control") for name in answer.headers)


def test_a_listed_page_is_told_which_methods_it_has_and_that_answers_differ_by_origin() -> None:
    door = Door(allowed_origins=["https://chat.lan"], keys=RING)
    answer = asked(door, "OPTIONS", "/outpost/v1/keys", headers={"Origin": "https://chat.lan"})
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD, POST, PATCH, DELETE, OPTIONS"
    assert answer.headers["vary"] == "Origin"
    assert answer.headers["access-control-allow-origin"] == "https://chat.lan"
    assert "access-control-allow-credentials" not in answer.headers


def test_a_listed_page_still_needs_the_key() -> None:
    door = Door(allowed_origins=["https://chat.lan"], keys=RING)
    assert refusal(door.chat(headers={"Origin": "https://chat.lan"}))[0] == 401


@pytest.mark.parametrize("path", ["/v1/models", "/healthz", "/outpost/v1/claim", "/v1/nope"])
def test_a_foreign_host_is_refused_everywhere_also_with_the_right_key(path: str) -> None:
    for door in (Door(), Door(keys=RING), Door(trusted_subnets=["127.0.0.0/8"], keys=RING)):
        answer = asked(door, path=path, host="evil.com", headers={"Authorization": f"Bearer {KEY.text}"})
        assert refusal(answer) == (403, None, "not_allowed")


OWN = socket.gethostname().lower().partition(".")[0]


@pytest.mark.parametrize(
    ("host", "known"),
    [
        (f"{OWN}.local", True),
        (f"{OWN}-2.local:11434", True),
        ("named.local", True),
        ("localhost", True),
        ("127.0.0.1", True),
        ("evil.local", False),
        (f"{OWN}-2x.local", False),
        (f"evil.{OWN}.local", False),
    ],
)
def test_without_a_key_only_our_own_name_on_the_network_is_believed(host: str, known: bool) -> None:
    """Whoever is on the network may claim a name below .local, and lead a browser to us by it."""
    names = ["named.local"]
    trusting = Door(keys=RING, trusted_subnets=["127.0.0.0/8"], host_names=names)
    for door in (Door(host_names=names), trusting):
        answer = asked(door, host=host, remote_addr="127.0.0.1")
        assert answer.status_code == (200 if known else 403)
    with_key = asked(trusting, host=host, headers={"Authorization": f"Bearer {KEY.text}"})
    assert with_key.status_code == 200


# ── keys
# ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ROUTES)
def test_every_route_asks_for_the_key_before_it_says_whether_it_exists(path: str) -> None:
    answer = Door(keys=RING).get(path)
    assert refusal(answer) == (401, None, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_public(path: str) -> None:
    assert Door(keys=RING).get(path).status_code == 200


@pytest.mark.parametrize(
    "told",
    ["Bearer wrong", "Bearer ", "Basic x", pytest.param(f"Bearer {KEY.text}x", id="longer"), "Bearer \xe9"],
)
def test_a_wrong_key_is_401(told: str) -> None:
    assert refusal(Door(keys=RING).get("/v1/models", {"Authorization": told}))[0] == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY.text}"},
        {"Authorization": f"bearer {KEY.text}"},
        {"X-Api-Key": KEY.text},
    ],
)
def test_the_right_key_opens(headers: dict[str, str]) -> None:
    assert Door(keys=RING).get("/v1/models", headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": f"Bearer {KEY.text}", "X-Api-Key": KEY.text}, 200),
        ({"Authorization": f"Bearer {KEY.text}", "X-Api-Key": "ek_other"}, 401),
        ({"Authorization": "Bearer ek_other", "X-Api-Key": KEY.text}, 401),
        ({"Authorization": "Basic cHJveHk6c2VjcmV0", "X-Api-Key": KEY.text}, 200),
        ({"Authorization": f"Bearer {KEY.text}", "X-Api-Key": ""}, 200),
        ({"X-Api-Key": ""}, 401),
    ],
)
def test_of_two_keys_that_differ_none_counts(headers: dict[str, str], status: int) -> None:
    assert Door(keys=RING).get("/v1/models", headers).status_code == status


def test_the_key_is_the_owner_and_scopes_the_prefixes() -> None:
    door = Door(keys=RING)
    door.post("/v1/chat/completions", HELLO, {"Authorization": f"Bearer {KEY.text}"})
    assert door.inference.owners == [KEY.key_id]
    assert door.inference.requests[0].scope == access_keys.scope_of(KEY.key_id)


def test_without_keys_the_owner_is_the_address_and_prefixes_are_shared() -> None:
    door = Door()
    body = json.dumps(HELLO)
    headers = {"Content-Type": "application/json"}
    asked(
        door, "POST", "/v1/chat/completions", body=body, headers=headers, extras={"REMOTE_ADDR": "127.0.0.1"}
    )
    assert door.inference.owners == ["127.0.0.1"]
    assert door.inference.requests[0].scope == ""


# ── the one line in the journal ──────────────────────────────────────────────────────────────────────


def test_every_request_has_one_line_and_it_holds_no_prompt(journal: list[MutableMapping[str, Any]]) -> None:
    door = Door()
    door.chat(messages=[{"role": "user", "content": "my secret"}])
    door.chat(messages=[{"role": "user", "content": "my secret"}], stream=True)
    door.chat(messages=[{"role": "user", "content": "my secret", "my secret": 1}])
    door.get("/my-secret")
    assert [(line["event"], line["route"], line["status"]) for line in journal] == [
        ("request", "/v1/chat/completions", 200),
        ("request", "/v1/chat/completions", 200),
        ("request", "/v1/chat/completions", 400),
        ("request", "unmatched", 404),
    ]
    assert "secret" not in str(journal)
    assert journal[0]["output_tokens"] == 2
    assert journal[1]["stream"] is True
    assert journal[1]["finish_reason"] == "stop"
    assert journal[2]["error"] == "unsupported_parameter"


def test_a_bug_is_in_the_journal_with_its_request(journal: list[MutableMapping[str, Any]]) -> None:
    answer = Door(FakeInference(refuse=RuntimeError("secret of the house"))).chat()
    assert journal[0]["event"] == "request_failed"
    assert journal[0]["request_id"] == answer.headers["x-request-id"]
    assert isinstance(journal[0]["exc_info"], RuntimeError)
