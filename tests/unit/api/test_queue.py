"""GET /v1/queue."""

from __future__ import annotations

from appliance.access.keys import KeyRing, NewKey, StoredKey, generate
from appliance.access.scopes import Scope
from appliance.supervisor.turn import Priority, Standing, Waiting
from tests.fakes.fake_inference import FakeInference
from tests.unit.api.door import Door


def waiting(owner: str, position: int, *, eta_s: float | None = 12.34567) -> Waiting:
    return Waiting(
        request_id=f"req-{owner}",
        model="m",
        owner=owner,
        priority=Priority.BACKGROUND,
        has_aged=True,
        waited_s=61.00004,
        deadline_in_s=None,
        standing=Standing(position=position, eta_s=eta_s),
    )


def with_keys(*scopes: Scope) -> tuple[Door, NewKey]:
    """Whose line holds one request of the key and one of another."""
    key = generate()
    inference = FakeInference(line=[waiting("other", 1), waiting(key.key_id, 2)])
    stored = StoredKey(sha256=key.sha256, scopes=frozenset(scopes))
    return Door(inference, keys=KeyRing({key.key_id: stored})), key


def owners(door: Door, key: NewKey) -> list[str]:
    answer = door.get("/v1/queue", {"Authorization": f"Bearer {key.text}"})
    assert answer.status_code == 200
    return [item["owner"] for item in answer.json["data"]]


def test_each_item_has_its_place_and_time() -> None:
    answer = Door(FakeInference(line=[waiting("a", 2)])).get("/v1/queue")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json == {
        "object": "list",
        "data": [
            {
                "id": "req-a",
                "object": "queue.item",
                "model": "m",
                "owner": "a",
                "priority": "background",
                "aged": True,
                "position": 2,
                "eta_s": 12.346,
                "waited_s": 61.0,
                "deadline_in_s": None,
            }
        ],
    }


def test_what_nobody_can_tell_is_null() -> None:
    answer = Door(FakeInference(line=[waiting("a", 1, eta_s=None)])).get("/v1/queue")
    assert answer.json["data"][0]["eta_s"] is None


def test_a_key_sees_its_own_requests() -> None:
    door, key = with_keys(Scope.INFER)
    assert owners(door, key) == [key.key_id]


def test_the_scope_admin_sees_all() -> None:
    door, key = with_keys(Scope.SYSTEM)
    assert owners(door, key) == ["other", key.key_id]


def test_without_keys_this_machine_sees_all() -> None:
    door = Door(FakeInference(line=[waiting("a", 1), waiting("b", 2)]))
    assert len(door.get("/v1/queue").json["data"]) == 2
