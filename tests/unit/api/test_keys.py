"""The admin API of keys and the claim, over a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from appliance.access.claims import Claims
from appliance.access.key_changes import KeyChange
from appliance.access.key_store import KeyStore, MadeKey
from appliance.access.keys import key_id_of
from appliance.access.scopes import Scope
from appliance.errors import AuditUnwritable
from tests.unit.access.stores import Clock, made, opened
from tests.unit.api.door import HERE, Door, refusal

KEYS = "/outpost/v1/keys"
CLAIM = "/outpost/v1/claim"


class Administered:
    """A door over a store with one key that may change keys."""

    def __init__(self, store: KeyStore, clock: Clock, directory: Path, **settings: Any) -> None:
        self.store, self.clock = store, clock
        self.claims = Claims(store, directory)
        self.refused: list[str] = []
        self.door = Door(key_store=store, claims=self.claims, guard=self, **settings)
        self.admin: MadeKey | None = None

    def note(self, address: str) -> None:
        self.refused.append(address)

    def ask(
        self, method: str, path: str, body: object = None, *, key: str | None = None, **headers: str
    ) -> falcon.testing.Result:
        text = key or (self.admin.text if self.admin else None)
        told = {"Authorization": f"Bearer {text}"} if text else {}
        return self.door.client.simulate_request(
            method, path, json=body, headers={**told, **headers}, host="localhost", remote_addr=HERE
        )


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Administered]:
    clock = Clock()
    with opened(tmp_path, clock=clock) as store:
        yield Administered(store, clock, tmp_path)


@pytest.fixture
def box(empty: Administered) -> Administered:
    empty.admin = made(empty.store, Scope.KEYS_ADMIN)
    return empty


def test_a_key_is_made_shown_once_and_listed_without_its_secret(box: Administered) -> None:
    body = {"name": "laptop", "scopes": ["infer"], "models": ["fake*"], "expires_in_s": 60, "concurrency": 2}
    answer = box.ask("POST", KEYS, body)
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    text, told = answer.json["key"], {k: v for k, v in answer.json.items() if k != "key"}
    assert key_id_of(text) == told["id"]
    assert told == {
        "id": told["id"],
        "object": "key",
        "name": "laptop",
        "note": "",
        "state": "active",
        "source": "store",
        "scopes": ["infer"],
        "models": ["fake*"],
        "requests_per_min": None,
        "tokens_per_min": None,
        "tokens_per_day": None,
        "concurrency": 2,
        "max_context": None,
        "background_only": False,
        "created_s": box.clock.now_s,
        "expires_s": box.clock.now_s + 60,
        "revoked_s": None,
        "last_used_s": None,
        "previous_until_s": None,
    }
    assert box.ask("GET", f"{KEYS}/{told['id']}").json == told
    listed = box.ask("GET", KEYS)
    assert told in listed.json["data"]
    secret = text.split("_", 2)[2]
    assert secret not in listed.text
    assert box.ask("GET", "/v1/models", key=text).status_code == 200


def test_a_revoked_key_is_refused_in_the_same_second(box: Administered) -> None:
    key = box.ask("POST", KEYS, {}).json
    assert box.ask("GET", "/v1/models", key=key["key"]).status_code == 200
    revoked = box.ask("DELETE", f"{KEYS}/{key['id']}")
    assert (revoked.status_code, revoked.json["state"]) == (200, "revoked")
    assert refusal(box.ask("GET", "/v1/models", key=key["key"]))[0] == 401
    assert box.ask("DELETE", f"{KEYS}/{key['id']}").status_code == 403


def test_a_key_that_expires_is_refused_then(box: Administered) -> None:
    key = box.ask("POST", KEYS, {"expires_in_s": 60}).json
    box.clock.now_s += 60
    answer = box.ask("GET", "/v1/models", key=key["key"])
    assert refusal(answer)[0] == 401
    assert "expired" in answer.json["error"]["message"]


def test_a_change_holds_for_the_next_request(box: Administered) -> None:
    key = box.ask("POST", KEYS, {}).json
    assert box.ask("PATCH", f"{KEYS}/{key['id']}", {"scopes": ["metrics"]}).json["scopes"] == ["metrics"]
    assert refusal(box.ask("GET", "/v1/models", key=key["key"])) == (403, None, "insufficient_scope")


def test_a_rotation_answers_with_the_new_key_and_lets_the_old_one_go(box: Administered) -> None:
    key = box.ask("POST", KEYS, {}).json
    turned = box.ask("POST", f"{KEYS}/{key['id']}/rotate", {}).json
    assert (turned["id"], turned["key"] == key["key"]) == (key["id"], False)
    assert box.ask("GET", "/v1/models", key=turned["key"]).status_code == 200
    assert box.ask("GET", "/v1/models", key=key["key"]).status_code == 401
    again = box.ask("POST", f"{KEYS}/{key['id']}/rotate", {"grace_s": 10}).json
    assert box.ask("GET", "/v1/models", key=turned["key"]).status_code == 200
    box.clock.now_s += 10
    assert box.ask("GET", "/v1/models", key=turned["key"]).status_code == 401
    assert box.ask("GET", "/v1/models", key=again["key"]).status_code == 200


@pytest.mark.parametrize(("method", "body"), [("DELETE", None), ("PATCH", {"scopes": ["infer"]})])
def test_the_last_administrator_is_not_lost_by_accident(
    method: str, body: dict[str, Any] | None, box: Administered
) -> None:
    assert box.admin is not None
    at = f"{KEYS}/{box.admin.shown.key_id}"
    assert refusal(box.ask(method, at, body)) == (409, None, "last_admin_key")
    forced = (
        box.ask("DELETE", f"{at}?force=1") if body is None else box.ask(method, at, {**body, "force": True})
    )
    assert forced.status_code == 200
    assert refusal(box.ask("GET", KEYS))[0] in {401, 403}


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", KEYS, {"scopes": ["root"]}, (400, "scopes[0]", "invalid_value")),
        ("POST", KEYS, {"key": "mine"}, (400, None, "invalid_value")),
        ("POST", KEYS, [], (400, None, "invalid_value")),
        ("GET", f"{KEYS}/nobody00", None, (404, None, "key_not_found")),
        ("GET", f"{KEYS}/{'x' * 500}", None, (404, None, "key_not_found")),
        ("DELETE", f"{KEYS}/nobody00?force=perhaps", None, (400, "force", "invalid_value")),
        ("POST", f"{KEYS}/nobody00/rotate", {"grace_s": -1}, (400, "grace_s", "invalid_value")),
        ("POST", CLAIM, {}, (400, None, "invalid_value")),
    ],
)
def test_what_is_wrong_is_refused_by_name(
    method: str, path: str, body: object, expected: tuple[int, str | None, str], box: Administered
) -> None:
    assert refusal(box.ask(method, path, body)) == expected


def test_the_first_key_is_made_without_one_on_this_machine_and_shuts_the_door(empty: Administered) -> None:
    assert empty.ask("GET", "/v1/models").status_code == 200
    answer = empty.ask("POST", KEYS, {"scopes": ["keys:admin"]})
    assert answer.status_code == 201
    assert "x-outpost-warning" not in answer.headers
    assert empty.ask("GET", "/v1/models").status_code == 401
    assert empty.ask("GET", KEYS, key=answer.json["key"]).status_code == 200


def test_a_first_key_that_leaves_nobody_to_change_keys_has_to_be_meant(empty: Administered) -> None:
    refused = empty.ask("POST", KEYS, {"name": "laptop"})
    assert refusal(refused) == (409, None, "first_key_needs_admin")
    assert "outpost keys create --name admin --scope keys:admin" in refused.json["error"]["message"]
    assert empty.ask("GET", "/v1/models").status_code == 200
    forced = empty.ask("POST", KEYS, {"name": "laptop", "force": True})
    assert (forced.status_code, forced.json["scopes"]) == (201, ["infer"])
    assert empty.ask("GET", "/v1/models").status_code == 401


class Unwritable:
    """A `ChangeLog` on a disk that is full."""

    def intend(self, change: KeyChange) -> None:
        event = f"key_{change.verb}d"
        raise AuditUnwritable(event=event, reason="No space left", free_bytes=12, needed_bytes=8192)

    def failed(self, change: KeyChange) -> None: ...

    def done(self, _change: KeyChange) -> bool:
        return False


def test_what_the_audit_log_cannot_take_is_refused_and_a_revocation_is_not(box: Administered) -> None:
    key = box.ask("POST", KEYS, {}).json
    at = f"{KEYS}/{key['id']}"
    box.store.log_to(Unwritable())
    for method, path, body in (
        ("POST", KEYS, {}),
        ("PATCH", at, {"note": "n"}),
        ("POST", f"{at}/rotate", {}),
    ):
        refused = box.ask(method, path, body)
        assert refusal(refused) == (507, None, "audit_unwritable")
        assert "12 bytes are free, and an entry takes up to 8192" in refused.json["error"]["message"]
    assert box.ask("GET", at).json["note"] == ""
    revoked = box.ask("DELETE", at)
    assert (revoked.status_code, revoked.json["state"]) == (200, "revoked")
    assert "audit log could not take it" in revoked.headers["x-outpost-warning"]
    assert box.ask("GET", "/v1/models", key=key["key"]).status_code == 401


def test_the_first_key_is_not_handed_out_through_a_proxy_or_to_a_page(empty: Administered) -> None:
    through = empty.ask("POST", KEYS, {}, **{"X-Forwarded-For": "127.0.0.1"})
    assert refusal(through) == (403, None, "not_allowed")
    page = empty.ask("POST", KEYS, {}, Origin="http://evil.example")
    assert refusal(page) == (403, None, "not_allowed")
    rebound = empty.door.client.simulate_post(KEYS, json={}, host="evil.local", remote_addr=HERE)
    assert refusal(rebound) == (403, None, "not_allowed")
    assert not empty.store.is_needed()


def test_a_wrong_key_is_told_to_the_guard_with_its_caller(box: Administered) -> None:
    for key in ("wrong", made(box.store).text[:-1] + "_"):
        box.ask("GET", "/v1/models", key=key)
    assert box.admin is not None
    box.ask("GET", "/v1/models", **{"X-Api-Key": "another"})
    assert box.refused == [HERE] * 3
    box.ask("GET", "/v1/models")
    assert len(box.refused) == 3


# ── the claim ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def unclaimed(tmp_path: Path) -> Iterator[Administered]:
    clock = Clock()
    with opened(tmp_path, clock=clock, is_always_needed=True) as store:
        yield Administered(store, clock, tmp_path)


def test_before_it_is_claimed_only_health_and_the_claim_answer(unclaimed: Administered) -> None:
    text = unclaimed.claims.offer()
    for path in ("/v1/models", KEYS, "/v1/queue", "/v2/"):
        answer = unclaimed.ask("GET", path)
        assert answer.status_code == 401
        assert "outpost keys claim" in answer.text
    health = unclaimed.ask("GET", "/healthz")
    assert health.status_code == 200
    assert str(text) not in health.text
    taken = unclaimed.ask("POST", CLAIM, {"claim": text, "name": "me"})
    assert (taken.status_code, taken.json["name"]) == (201, "me")
    assert taken.json["scopes"] == sorted(Scope)
    assert unclaimed.ask("GET", KEYS, key=taken.json["key"]).status_code == 200
    assert refusal(unclaimed.ask("POST", CLAIM, {"claim": text})) == (403, None, "claim_refused")


def test_a_page_cannot_claim(unclaimed: Administered) -> None:
    text = unclaimed.claims.offer()
    answer = unclaimed.ask("POST", CLAIM, {"claim": text}, Origin="null")
    assert refusal(answer) == (403, None, "not_allowed")
    assert unclaimed.claims.is_pending


def test_who_guesses_the_claim_is_sent_away_with_a_time(unclaimed: Administered) -> None:
    unclaimed.claims.offer()
    answers = [unclaimed.ask("POST", CLAIM, {"claim": "x"}) for _ in range(8)]
    assert {answer.status_code for answer in answers} == {403, 429}
    assert refusal(answers[-1]) == (429, None, "too_many_attempts")
    assert int(answers[-1].headers["retry-after"]) >= 1
