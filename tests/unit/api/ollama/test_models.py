"""The Ollama routes about models, over a fake store and a fake Inference."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from appliance.api.ollama.blobs import paced
from appliance.api.ollama.show import model_shown, parameters_text
from appliance.errors import DigestMismatch, InvalidRequest, OutboundRefused
from appliance.health.report import RunnerHealth
from appliance.store.digest import digest_of, hex_of
from tests.fakes.fake_health import READY, report_with
from tests.fakes.fake_inference import MODEL, FakeInference
from tests.fakes.fake_store_verbs import TINY, WEIGHTS, FakeStoreVerbs, shown
from tests.unit.api.door import Door
from tests.unit.api.ollama.asked import chat, lines_of, refusal, warning

DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "135M",
    "quantization_level": "Q4_1",
}
BLOB = digest_of(b"gguf")


@pytest.fixture
def store() -> FakeStoreVerbs:
    return FakeStoreVerbs()


@pytest.fixture
def door(store: FakeStoreVerbs) -> Door:
    return Door(store=store)


# ── tags ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_tags_list_what_can_be_asked_newest_first(door: Door) -> None:
    configured, stored = door.get("/api/tags").json["models"]
    assert stored == {
        "name": "tiny:latest",
        "model": "tiny:latest",
        "modified_at": "1970-01-12T13:46:40.000000+00:00",
        "size": 2_000_000_000,
        "digest": hex_of(TINY.digest),
        "details": DETAILS,
    }
    assert (configured["name"], configured["model"], configured["digest"]) == (MODEL, MODEL, "")


def test_what_is_broken_is_not_offered(store: FakeStoreVerbs) -> None:
    store.models = [replace(TINY, broken="a blob is missing")]
    names = [one["name"] for one in Door(store=store).get("/api/tags").json["models"]]
    assert names == [MODEL]


def test_tags_need_no_store() -> None:
    assert [one["name"] for one in Door().get("/api/tags").json["models"]] == [MODEL]


@pytest.mark.parametrize("path", ["/", "/api/version", "/api/tags"])
def test_heads_are_answered_without_a_body(door: Door, path: str) -> None:
    answer = door.client.simulate_head(path, host="localhost")
    assert (answer.status_code, answer.text) == (200, "")


# ── ps ─────────────────────────────────────────────────────────────────────────────────────────────────────


def running(*runners: RunnerHealth, store: FakeStoreVerbs | None = None) -> list[dict[str, Any]]:
    door = Door(FakeInference(), store=store, report=lambda: report_with(*runners))
    models: list[dict[str, Any]] = door.get("/api/ps").json["models"]
    return models


def test_ps_lists_what_is_in_memory_with_what_it_takes(store: FakeStoreVerbs) -> None:
    on_gpu = replace(
        READY, model="tiny", rss_bytes=1000, device="CUDA0", n_gpu_layers=15, n_layers=30, expires_in_s=300.0
    )
    (told,) = running(on_gpu, replace(READY, model="cold", state="stopped"), store=store)
    assert (told["name"], told["model"], told["size"], told["size_vram"]) == (
        "tiny:latest",
        "tiny:latest",
        1000,
        500,
    )
    assert (told["digest"], told["details"], told["context_length"]) == (hex_of(TINY.digest), DETAILS, 2048)
    left_s = (datetime.fromisoformat(told["expires_at"]) - datetime.now().astimezone()).total_seconds()
    assert 290 < left_s <= 300


def test_what_stays_expires_in_centuries_and_what_goes_has_expired() -> None:
    stays, goes = running(replace(READY, model="a"), replace(READY, model="b", state="draining"))
    assert datetime.fromisoformat(stays["expires_at"]).year > 2300
    assert datetime.fromisoformat(goes["expires_at"]) <= datetime.now().astimezone()
    assert stays["size_vram"] == 0


# ── show ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_show_has_every_field_of_ollama(door: Door) -> None:
    for name in ("name", "model"):
        told = door.post("/api/show", {name: "tiny"}).json
        assert told["details"] == DETAILS
        assert told["model_info"]["general.architecture"] == "llama"
        assert told["model_info"]["general.parameter_count"] == 576 * 49152
        assert told["capabilities"] == ["completion", "tools"]
        assert told["license"].startswith("Apache")
        assert told["messages"] == [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello"},
        ]
        assert (told["system"], told["template"]) == ("You are kind.", "{{ messages }}")
        assert told["modelfile"].startswith("FROM tiny")
        assert datetime.fromisoformat(told["modified_at"]).year == 1970
        assert "tensors" not in told


def test_parameters_are_lines_of_a_padded_name_and_a_value() -> None:
    told = parameters_text({"temperature": 0.5, "stop": ["<end>", 'a"b'], "num_ctx": 4096, "use_mmap": True})
    assert told == (
        "temperature                    0.5\n"
        'stop                           "<end>"\n'
        'stop                           "a\\"b"\n'
        "num_ctx                        4096\n"
        "use_mmap                       true"
    )


def test_tensors_and_long_arrays_are_told_on_wish() -> None:
    facts = {
        "general.name": "x",
        "tokenizer.ggml.tokens": "[49152 items]",
        "a": (1, 2, 3, 4, 5, 6),
        "b": (1,),
    }
    model = replace(shown(), metadata=facts)
    short = model_shown(model, verbose=False)
    assert short["model_info"] == {
        "tokenizer.ggml.tokens": [],
        "a": [],
        "b": [1],
        "general.parameter_count": 576 * 49152,
    }
    verbose = model_shown(model, verbose=True)
    assert verbose["model_info"]["tokenizer.ggml.tokens"] == "[49152 items]"
    assert verbose["model_info"]["a"] == [1, 2, 3, 4, 5, 6]
    assert verbose["tensors"] == [{"name": "token_embd.weight", "type": "Q4_1", "shape": [576, 49152]}]


def test_a_model_of_the_configuration_is_shown_as_far_as_it_is_known(door: Door) -> None:
    told = door.post("/api/show", {"model": MODEL}).json
    assert (told["capabilities"], told["model_info"]) == (["completion"], {"general.parameter_count": 1})


def test_what_is_not_there_is_not_shown(door: Door) -> None:
    assert refusal(door.post("/api/show", {"model": "nope"})) == (404, "model 'nope' not found")
    assert refusal(door.post("/api/show", {"verbose": True})) == (400, "model is required")
    assert "'system' is ignored" in warning(door.post("/api/show", {"model": "tiny", "system": "x"}))


# ── thinking ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_that_does_not_think_is_not_told_to(store: FakeStoreVerbs) -> None:
    store.models = [replace(TINY, name=MODEL)]
    door = Door(store=store)
    assert refusal(chat(door, think=True)) == (400, f'"{MODEL}" does not support thinking')
    assert refusal(chat(door, think="high"))[0] == 400
    assert chat(door, think=False).status_code == 200


# ── copy, delete ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_copy_is_answered_with_nothing(door: Door, store: FakeStoreVerbs) -> None:
    answer = door.post("/api/copy", {"source": "tiny", "destination": "b"})
    assert (answer.status_code, answer.text) == (200, "")
    assert store.calls[-1] == ("copy", "b", "tiny")
    assert refusal(door.post("/api/copy", {"source": "no", "destination": "b"})) == (
        404,
        "model 'no' not found",
    )
    assert refusal(door.post("/api/copy", {"source": "tiny"})) == (400, "destination is required")


@pytest.mark.parametrize("field", ["name", "model"])
def test_a_model_is_deleted_by_a_body(door: Door, store: FakeStoreVerbs, field: str) -> None:
    def delete() -> Any:
        return door.client.simulate_delete("/api/delete", json={field: "tiny"}, host="localhost")

    assert (delete().status_code, store.models) == (200, [])
    assert refusal(delete()) == (404, "model 'tiny' not found")


# ── pull, push ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pull_tells_its_progress_as_ollama_does(door: Door) -> None:
    lines = lines_of(door.post("/api/pull", {"name": "other"}))
    assert lines[0] == {"status": "pulling manifest"}
    assert {"status": "pulling aaaaaaaaaaaa", "digest": WEIGHTS, "total": 1000, "completed": 1000} in lines
    assert lines[-2:] == [{"status": "writing manifest"}, {"status": "success"}]


def test_without_a_stream_only_the_end_is_told(door: Door, store: FakeStoreVerbs) -> None:
    assert door.post("/api/pull", {"model": "other", "stream": False}).json == {"status": "success"}
    store.fault = DigestMismatch(what="blob", expected="a", actual="b")
    status, text = refusal(door.post("/api/pull", {"model": "other", "stream": False}))
    assert (status, "not what its digest says" in text) == (400, True)


def test_a_fault_has_its_status_before_the_first_line_and_is_the_last_line_after(
    door: Door, store: FakeStoreVerbs
) -> None:
    store.fault = OutboundRefused(host="r.example")
    lines = lines_of(door.post("/api/pull", {"model": "r.example/a/b"}))
    assert set(lines[-1]) == {"error"}
    store.script = ()
    status, text = refusal(door.post("/api/pull", {"model": "r.example/a/b"}))
    assert (status, "r.example" in text) == (403, True)


def test_how_hosts_are_called_is_not_the_callers_to_say(door: Door) -> None:
    body = {"model": "other", "insecure": True, "username": "a", "password": "b"}
    told = warning(door.post("/api/pull", body))
    assert "'insecure' is ignored" in told
    assert "'username' and 'password' are ignored" in told


def test_a_push_goes_where_the_name_says(door: Door, store: FakeStoreVerbs) -> None:
    assert lines_of(door.post("/api/push", {"model": "tiny"}))[-1] == {"status": "success"}
    assert store.calls[-1] == ("push", "tiny", None)
    assert refusal(door.post("/api/push", {})) == (400, "model is required")


# ── create ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_body_becomes_the_modelfile_that_says_the_same(door: Door, store: FakeStoreVerbs) -> None:
    answer = door.post(
        "/api/create",
        {
            "model": "new",
            "from": "tiny",
            "adapters": {"a.gguf": BLOB},
            "template": "{{ .Prompt }}",
            "system": "Be kind.",
            "parameters": {"temperature": 0.5, "stop": ["a", "b"], "num_keep": 4},
            "license": ["L1", "L2"],
            "messages": [{"role": "user", "content": "hi"}],
            "quantize": "q4_K_M",
            "info": {"a": 1},
        },
    )
    assert lines_of(answer)[-1] == {"status": "success"}
    verb, name, modelfile, base_dir, quantize = store.calls[-1]
    assert (verb, name, base_dir, quantize) == ("create", "new", None, "q4_K_M")
    assert modelfile == (
        f"FROM tiny\nADAPTER {BLOB}\nTEMPLATE {{{{ .Prompt }}}}\nSYSTEM Be kind.\n"
        "PARAMETER temperature 0.5\nPARAMETER stop a\nPARAMETER stop b\nMESSAGE user hi\n"
        "LICENSE L1\nLICENSE L2\n"
    )
    assert "'num_keep' has no effect" in warning(answer)
    assert "'info' is ignored" in warning(answer)


def test_files_are_named_by_their_digests_in_the_order_of_their_names(
    door: Door, store: FakeStoreVerbs
) -> None:
    other = digest_of(b"2")
    files = {"m-00002-of-00002.gguf": other, "m-00001-of-00002.gguf": BLOB.replace(":", "-")}
    door.post("/api/create", {"name": "new", "files": files, "stream": False})
    assert store.calls[-1][2] == f"FROM {BLOB}\nFROM {other}\n"


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({}, 400, "neither 'from' or 'files' was specified"),
        ({"from": "/etc/passwd"}, 403, "'from' names a model"),
        ({"files": {"a.gguf": "sha256:5"}}, 400, "files.a.gguf: a digest is"),
        ({"files": {"model.safetensors": BLOB}}, 400, "model.safetensors is not supported"),
        ({"from": "tiny", "parameters": {"nope": 1}}, 400, "parameters: unknown parameter 'nope'"),
        ({"from": "tiny", "parameters": {"top_k": "x"}}, 400, "parameters: parameter 'top_k'"),
        ({"from": "tiny", "remote_host": "https://x"}, 400, "'remote_host' is not supported"),
        ({"from": "tiny", "draft_quantize": "q8_0"}, 400, "'draft_quantize' is not supported"),
        ({"from": "tiny", "messages": [{"role": "tool", "content": "x"}]}, 400, "a stored message of tools"),
        ({"from": "tiny", "template": 'a"""\nb'}, 400, "a Modelfile cannot hold this text"),
        ({"from": "a\nSYSTEM b"}, 400, "(line 1): FROM takes one line"),
        ({"from": "tiny", "parser": "qwen3\nSYSTEM b"}, 400, "one of the texts cannot be said"),
        ({"from": "tiny", "renderer": "nope"}, 400, None),
        ({"from": "tiny", "requires": "99.0.0"}, 400, None),
    ],
)
def test_what_cannot_be_made_is_refused(
    door: Door, store: FakeStoreVerbs, fields: dict[str, Any], status: int, text: str | None
) -> None:
    answer = door.post("/api/create", {"model": "new", **fields})
    told = refusal(answer)
    assert told[0] == status
    assert text is None or told[1].startswith(text)
    assert not any(call[0] == "create" for call in store.calls)


# ── blobs ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_blob_is_taken_once_and_then_known(door: Door, store: FakeStoreVerbs) -> None:
    path = f"/api/blobs/{BLOB}"
    assert door.client.simulate_head(path, host="localhost").status_code == 404
    assert door.post_bytes(path, b"gguf").status_code == 201
    assert door.client.simulate_head(path, host="localhost").status_code == 200
    assert door.post_bytes(path, b"gguf").status_code == 200
    assert store.blobs == {BLOB: b"gguf"}


def test_a_blob_that_is_not_what_its_digest_says_is_refused(door: Door, store: FakeStoreVerbs) -> None:
    assert refusal(door.post_bytes(f"/api/blobs/{BLOB}", b"other"))[0] == 400
    assert store.blobs == {}


@pytest.mark.parametrize("digest", ["x", "sha256:5", "sha512:" + "a" * 64, "..%2fetc", "sha256:" + "A" * 64])
def test_a_digest_that_is_none_is_refused(door: Door, digest: str) -> None:
    no_digest = {404} if "%2f" in digest else {400}
    assert refusal(door.post_bytes(f"/api/blobs/{digest}", b"x"))[0] in no_digest
    assert door.client.simulate_head(f"/api/blobs/{digest}", host="localhost").status_code in no_digest


def test_a_body_that_trickles_is_given_up() -> None:
    now_s = iter([0.0, 30.0, 60.0, 61.0, 63.0])
    chunks = paced(lambda: b"x" * 8192, clock=lambda: next(now_s))
    assert sum(len(next(chunks)) for _ in range(3)) == 3 * 8192
    with pytest.raises(InvalidRequest, match="less than 16384 bytes per second"):
        next(chunks)


def test_a_body_that_flows_is_taken_to_its_end() -> None:
    parts = iter([b"a", b"b", b""])
    assert list(paced(lambda: next(parts))) == [b"a", b"b"]
