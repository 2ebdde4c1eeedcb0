"""`/outpost/v1` over a fake store, without a socket."""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.parse import quote

import falcon.testing
import pytest

from appliance.access.keys import KeyRing, StoredKey, generate
from appliance.access.scopes import Scope
from appliance.api.store_changes import MAX_OPERATIONS
from appliance.errors import DigestMismatch, InsufficientSpace, OutboundRefused
from appliance.store.verbs import CalibrateWish, OptimizeWish
from tests.fakes.fake_store_verbs import TINY, WEIGHTS, FakeStoreVerbs
from tests.fakes.hostile_names import HOSTILE_NAMES
from tests.unit.api.door import Door, refusal

OPERATIONS = "/outpost/v1/operations"


@pytest.fixture
def store() -> FakeStoreVerbs:
    return FakeStoreVerbs()


@pytest.fixture
def door(store: FakeStoreVerbs) -> Door:
    return Door(store=store)


def lines_of(result: falcon.testing.Result) -> list[dict[str, Any]]:
    assert result.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in result.text.splitlines()]


def test_the_list_has_all_facts(door: Door, store: FakeStoreVerbs) -> None:
    (model,) = door.get("/outpost/v1/models?prefix=ti").json["models"]
    assert model == {
        "id": TINY.id,
        "name": "tiny:latest",
        "digest": TINY.digest,
        "size_bytes": 2_000_000_000,
        "unique_bytes": 1_000,
        "modified_s": 1_000_000.0,
        "architecture": "llama",
        "parameters": "135M",
        "quantization": "Q4_1",
        "broken": None,
        "optimized": None,
        "hint": None,
    }
    assert store.calls == [("list", "ti")]


def test_a_model_is_optimized_as_it_is_wished_and_the_record_is_the_answer(
    door: Door, store: FakeStoreVerbs
) -> None:
    body = {"verb": "optimize", "name": "tiny", "max_kl": 0.02, "candidates": ["q8_0"], "dry_run": True}
    last = lines_of(door.post(OPERATIONS, body))[-1]
    assert store.calls == [("optimize", "tiny", OptimizeWish(max_kl=0.02, dry_run=True, kinds=("q8_0",)))]
    assert (last["status"], last["name"], last["dry_run"]) == ("success", "tiny:latest", True)
    assert last["optimization"]["kept"] == "Q8_0"
    assert last["optimization"]["tried"][0]["candidate"]["decode_per_s"] == {"1": 15.0, "8": 64.0}
    assert last["optimization"]["sentence"] == "Q8_0 variant of Q4_1 (2.1x prefill, 1.5x decode, KL 0.0062)"


def test_an_optimisation_is_undone(door: Door, store: FakeStoreVerbs) -> None:
    last = lines_of(door.post(OPERATIONS, {"verb": "optimize", "name": "tiny", "undo": True}))[-1]
    assert last == {"status": "success", "name": "tiny", "undone": True}
    assert store.calls == [("unoptimize", "tiny:latest")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_kl": -1},
        {"max_kl": "0.1"},
        {"candidates": ["q8_0"] * 9},
        {"candidates": [""]},
        {"candidates": "q8_0"},
        {"undo": 1},
        {"force": True},
    ],
)
def test_a_wrong_wish_is_refused_before_any_work(
    door: Door, store: FakeStoreVerbs, wrong: dict[str, object]
) -> None:
    refused = door.post(OPERATIONS, {"verb": "optimize", "name": "tiny", **wrong})
    assert refusal(refused)[0] == 400
    assert store.calls == []


def test_a_model_is_calibrated_as_it_is_wished_and_the_record_is_the_answer(
    door: Door, store: FakeStoreVerbs
) -> None:
    body = {"verb": "calibrate", "name": "tiny", "limit_s": 30, "power_modes": True}
    last = lines_of(door.post(OPERATIONS, body))[-1]
    assert store.calls == [("calibrate", "tiny", CalibrateWish(limit_s=30, power_modes=True))]
    assert (last["status"], last["name"], last["dry_run"]) == ("success", "tiny:latest", False)
    assert last["sentence"] == "calibrated 2026-11-29: threads 2"
    assert last["calibration"]["findings"]["choice"]["n_threads"] == 2
    assert last["calibration"]["findings"]["axes"][0]["rows"][0]["per_s"]["decode"] == 12.5


def test_a_calibration_is_shown_and_forgotten_without_measuring(door: Door, store: FakeStoreVerbs) -> None:
    shown = lines_of(door.post(OPERATIONS, {"verb": "calibrate", "name": "tiny", "show": True}))[-1]
    assert shown["stale"] == "it was measured on another board (pi4)"
    gone = lines_of(door.post(OPERATIONS, {"verb": "calibrate", "name": "tiny", "forget": True}))[-1]
    assert gone == {"status": "success", "name": "tiny", "forgotten": True}
    assert store.calls == [("calibration", "tiny:latest"), ("forget_calibration", "tiny:latest")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit_s": 4},
        {"limit_s": 3601},
        {"limit_s": "60"},
        {"limit_s": None, "name": None},
        {"power_modes": 1},
        {"show": "yes"},
        {"threads": 4},
    ],
)
def test_a_wrong_wish_to_calibrate_is_refused_before_any_work(
    door: Door, store: FakeStoreVerbs, wrong: dict[str, object]
) -> None:
    refused = door.post(OPERATIONS, {"verb": "calibrate", "name": "tiny", **wrong})
    assert refusal(refused)[0] == 400
    assert store.calls == []


def test_a_model_is_shown_by_its_name(door: Door) -> None:
    told = door.get("/outpost/v1/models/tiny%3Alatest").json
    assert (told["name"], told["parameter_count"]) == ("tiny:latest", "135M")
    assert told["parameters"] == {"temperature": 0.5, "stop": ["<end>", "</s>"]}
    assert told["tensors"] == [{"name": "token_embd.weight", "type": "Q4_1", "shape": [576, 49152]}]
    assert refusal(door.get("/outpost/v1/models/none")) == (404, "model", "model_not_found")


def test_a_pull_tells_its_progress_and_then_its_outcome(door: Door) -> None:
    lines = lines_of(door.post(OPERATIONS, {"verb": "pull", "name": "other"}))
    assert lines[0] == {"status": "pulling manifest"}
    assert {"status": "writing manifest"} in lines
    layer = next(line for line in lines if line.get("digest") == WEIGHTS)
    assert layer == {
        "status": "pulling aaaaaaaaaaaa",
        "digest": WEIGHTS,
        "total": 1000,
        "completed": 1000,
    }
    assert lines[-1] == {"status": "success", "name": "other:latest"}


COLLECTED = {
    "blobs": 2,
    "size_bytes": 3_000_000,
    "grace_s": 3600.0,
    "young": {"blobs": 0, "size_bytes": 0, "first_in_s": None, "last_in_s": None},
    "at_work": {"blobs": 0, "size_bytes": 0},
    "arrivals": {"blobs": 0, "size_bytes": 0},
    "cut_off": {"blobs": 0, "size_bytes": 0},
    "withheld": [],
}


@pytest.mark.parametrize(
    ("body", "call", "outcome"),
    [
        ({"verb": "push", "name": "tiny", "target": "r.example/a/b"}, "push", {"name": "tiny:latest"}),
        ({"verb": "create", "name": "b", "modelfile": "FROM tiny"}, "create", {"name": "b:latest"}),
        ({"verb": "import", "path": "/a/b.gguf"}, "import", {"names": ["b:latest"]}),
        ({"verb": "export", "name": "tiny", "path": "/a/b.tar"}, "export", {"path": "/a/b.tar"}),
        ({"verb": "copy", "source": "tiny", "destination": "b"}, "copy", {}),
        ({"verb": "verify"}, "verify", {"blobs": 3, "size_bytes": 2_000_000_000, "broken": []}),
        (
            {"verb": "verify", "rebuild_index": True},
            "verify",
            {"rebuilt": None, "blobs": 3, "size_bytes": 2_000_000_000, "broken": []},
        ),
        ({"verb": "gc", "dry_run": True, "grace_s": 0}, "gc", {**COLLECTED, "dry_run": True}),
        ({"verb": "gc", "arrivals": True}, "gc", {**COLLECTED, "dry_run": False}),
    ],
)
def test_every_verb_ends_with_success_and_its_outcome(
    door: Door, store: FakeStoreVerbs, body: dict[str, Any], call: str, outcome: dict[str, Any]
) -> None:
    assert lines_of(door.post(OPERATIONS, body))[-1] == {"status": "success", **outcome}
    assert store.calls[-1][0] == call


def test_a_removed_model_is_gone(door: Door, store: FakeStoreVerbs) -> None:
    assert lines_of(door.post(OPERATIONS, {"verb": "remove", "name": "tiny"})) == [{"status": "success"}]
    assert store.models == []


def test_a_fault_before_the_first_line_has_its_status(door: Door, store: FakeStoreVerbs) -> None:
    store.script, store.fault = (), OutboundRefused(host="r.example")
    result = door.post(OPERATIONS, {"verb": "pull", "name": "r.example/a/b"})
    assert refusal(result) == (403, None, "outbound_refused")
    result = door.post(OPERATIONS, {"verb": "copy", "source": "none", "destination": "b"})
    assert refusal(result) == (404, "model", "model_not_found")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (DigestMismatch(what="blob", expected="a", actual="b"), "digest_mismatch"),
        (
            InsufficientSpace(needed_bytes=2, available_bytes=1, floor_bytes=0, directory="d"),
            "insufficient_space",
        ),
        (RuntimeError("secret"), "internal_error"),
    ],
)
def test_a_fault_in_mid_work_is_the_last_line(
    door: Door, store: FakeStoreVerbs, fault: Exception, code: str
) -> None:
    store.fault = fault
    result = door.post(OPERATIONS, {"verb": "pull", "name": "other"})
    error = lines_of(result)[-1]["error"]
    assert (result.status_code, error["code"], set(error)) == (
        200,
        code,
        {"message", "type", "param", "code"},
    )
    assert "secret" not in result.text


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, None, "invalid_value"),
        ({"verb": "dance"}, "verb", "invalid_value"),
        ({"verb": "pull"}, None, "invalid_value"),
        ({"verb": "pull", "name": 5}, "name", "invalid_value"),
        ({"verb": "pull", "name": "a", "insecure": True}, None, "invalid_value"),
        ({"verb": "gc", "grace_s": 3601}, "grace_s", "invalid_value"),
        ({"verb": "gc", "grace_s": -1}, "grace_s", "invalid_value"),
        ({"verb": "import", "path": "a.gguf"}, "path", "invalid_value"),
        ({"verb": "import", "path": "/a\0b"}, "path", "invalid_value"),
        ({"verb": "create", "name": "a", "modelfile": "", "base_dir": "x"}, "base_dir", "invalid_value"),
        ({"verb": "gc", "dry_run": "yes"}, "dry_run", "invalid_value"),
    ],
)
def test_a_wrong_body_is_refused_by_name(
    door: Door, body: dict[str, Any], param: str | None, code: str
) -> None:
    assert refusal(door.post(OPERATIONS, body)) == (400, param, code)


@pytest.mark.parametrize(
    "body",
    [
        {"verb": "import", "path": "/a/b.gguf"},
        {"verb": "export", "name": "tiny", "path": "/a"},
        {"verb": "create", "name": "b", "modelfile": "FROM tiny", "base_dir": "/a"},
    ],
)
def test_files_are_named_only_by_callers_on_this_machine(
    door: Door, store: FakeStoreVerbs, body: dict[str, Any]
) -> None:
    result = door.client.simulate_post(OPERATIONS, json=body, host="localhost", remote_addr="192.168.1.7")
    assert refusal(result) == (403, None, "not_allowed")
    assert store.calls == []


@pytest.mark.parametrize(
    "header",
    ["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-Ip", "Via"],
)
def test_what_a_proxy_of_this_machine_forwards_names_no_files(
    door: Door, store: FakeStoreVerbs, header: str
) -> None:
    body = {"verb": "export", "name": "tiny", "path": "/a"}
    assert refusal(door.post(OPERATIONS, body, {header: "127.0.0.1"})) == (403, None, "not_allowed")
    assert store.calls == []


def test_a_key_is_needed_when_there_are_keys(store: FakeStoreVerbs) -> None:
    key = generate()
    stored = StoredKey(sha256=key.sha256, scopes=frozenset({Scope.MODELS_WRITE}))
    door = Door(store=store, keys=KeyRing({key.key_id: stored}))
    assert door.get("/outpost/v1/models").status_code == 401
    assert door.post(OPERATIONS, {"verb": "gc"}).status_code == 401
    told = {"Authorization": f"Bearer {key.text}"}
    assert door.post(OPERATIONS, {"verb": "gc"}, told).status_code == 200


def test_without_a_store_there_are_no_routes() -> None:
    door = Door()
    assert door.get("/outpost/v1/models").status_code == 404
    assert door.get("/v2/").status_code == 404


def test_more_verbs_than_places_are_refused_and_give_their_places_back(
    door: Door, store: FakeStoreVerbs
) -> None:
    store.hold = threading.Event()
    threads = [
        threading.Thread(
            target=door.post, args=(OPERATIONS, {"verb": "pull", "name": "a"}), name=f"client-{n}"
        )
        for n in range(MAX_OPERATIONS)
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert store.begun.acquire(timeout=5)
    refused = door.post(OPERATIONS, {"verb": "gc"})
    store.hold.set()
    for thread in threads:
        thread.join(5)
    assert refusal(refused) == (503, None, "overloaded")
    assert refused.headers["retry-after"] == "5"
    assert door.post(OPERATIONS, {"verb": "gc"}).status_code == 200


@pytest.mark.parametrize("hostile", HOSTILE_NAMES[::9], ids=ascii)  # all of them: integration
def test_hostile_names_are_refused_by_every_verb(door: Door, hostile: str) -> None:
    for body in (
        {"verb": "pull", "name": hostile},
        {"verb": "push", "name": hostile},
        {"verb": "create", "name": hostile, "modelfile": "FROM tiny"},
        {"verb": "import", "path": "/a/b.gguf", "name": hostile},
        {"verb": "export", "name": hostile, "path": "/a"},
        {"verb": "copy", "source": hostile, "destination": "b"},
        {"verb": "copy", "source": "tiny", "destination": hostile},
        {"verb": "remove", "name": hostile},
        {"verb": "verify", "name": hostile},
    ):
        result = door.post(OPERATIONS, body)
        assert result.status_code == 400, (body, result.text)


# ── OpenAI's way to delete
# ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def delete(door: Door, name: str) -> falcon.testing.Result:
    return door.client.simulate_delete(f"/v1/models/{name}", host="localhost")


@pytest.mark.parametrize("name", ["tiny:latest", "tiny%3Alatest"])
def test_a_model_is_deleted_as_openais_clients_do_it(door: Door, store: FakeStoreVerbs, name: str) -> None:
    assert delete(door, name).json == {"id": "tiny:latest", "object": "model", "deleted": True}
    assert store.models == []
    assert refusal(delete(door, name)) == (404, "model", "model_not_found")


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_deletes_nothing(door: Door, store: FakeStoreVerbs, name: str) -> None:
    assert delete(door, quote(name, safe="", errors="surrogatepass")).status_code in {400, 404}
    assert store.models == [TINY]


def test_without_a_store_nothing_can_be_deleted() -> None:
    assert refusal(delete(Door(), "tiny")) == (400, None, "unsupported_parameter")
