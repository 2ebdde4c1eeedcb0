"""What the handlers write has the shape that the document tells, and no field beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydantic
import pytest

from appliance.api import answers, key_answers
from appliance.api.anthropic import answers as anthropic_answers
from appliance.api.ollama import answers as ollama_answers
from appliance.api.openai import answers as openai_answers
from appliance.api.openai.responses import answers as response_answers
from appliance.daemon.snapshots import Snapshots
from appliance.hardware.report import HardwareReport, sample
from tests.fakes.fake_board import FakeBoard, load
from tests.fakes.fake_inference import MODEL
from tests.fakes.fake_layout import FakeLayout
from tests.fakes.fake_store_verbs import FakeStoreVerbs
from tests.unit.api.door import HERE, Door, events_of
from tests.unit.api.doors import Doors
from tests.unit.api.openai.responses.asked import ask, typed_events_of
from tests.unit.api.test_running import Asked

HELLO = {"role": "user", "content": "hi"}


def holds(shape: Any, value: object) -> None:
    """Unknown fields are faults here, though clients must bear them."""
    pydantic.TypeAdapter(shape).validate_json(pydantic.TypeAdapter(Any).dump_json(value), extra="forbid")


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(store=FakeStoreVerbs(), layout=FakeLayout(tmp_path))


def test_chats(door: Door) -> None:
    holds(openai_answers.ChatAnswer, door.chat().json)
    holds(openai_answers.ChatAnswer, door.chat(logprobs=True, top_logprobs=2, n=2).json)
    events = events_of(door.chat(stream=True, stream_options={"include_usage": True}))
    assert events.pop() == "[DONE]"
    for event in events:
        holds(openai_answers.ChatChunk, event)


def test_completions(door: Door) -> None:
    holds(openai_answers.CompletionAnswer, door.complete(logprobs=1).json)
    for event in events_of(door.complete(stream=True))[:-1]:
        holds(openai_answers.CompletionAnswer, event)


@pytest.mark.parametrize(
    ("path", "body", "shape"),
    [
        ("/v1/embeddings", {"input": ["a", "b"]}, openai_answers.EmbeddingAnswer),
        ("/v1/embeddings", {"input": "a", "encoding_format": "base64"}, openai_answers.EmbeddingAnswer),
        ("/rerank", {"query": "q", "texts": ["a"], "return_text": True}, list[openai_answers.ScoredItem]),
        ("/infill", {"input_prefix": "a", "input_suffix": "b"}, openai_answers.InfillAnswer),
        ("/v1/responses", {"input": "hi"}, response_answers.ResponseObject),
        ("/v1/messages", {"messages": [HELLO], "max_tokens": 9}, anthropic_answers.MessageAnswer),
        ("/v1/messages/count_tokens", {"messages": [HELLO]}, anthropic_answers.TokensAnswer),
        ("/api/embed", {"input": ["a"]}, ollama_answers.EmbedAnswer),
        ("/api/embeddings", {"prompt": "a"}, ollama_answers.EmbeddingsAnswer),
        ("/api/chat", {"messages": [HELLO], "stream": False}, ollama_answers.ChatAnswer),
        ("/api/chat", {}, ollama_answers.ChatAnswer),
        ("/api/chat", {"messages": [HELLO], "_debug_render_only": True}, ollama_answers.ChatAnswer),
        ("/api/generate", {"prompt": "hi", "stream": False}, ollama_answers.GenerateAnswer),
        ("/api/show", {}, ollama_answers.ShowAnswer),
        ("/api/pull", {"stream": False}, ollama_answers.Done),
        (
            "/v1/rerank",
            {"query": "q", "documents": ["a"], "return_documents": True},
            openai_answers.RerankAnswer,
        ),
        ("/tokenize", {"content": "a b"}, openai_answers.TokenizeAnswer),
        ("/tokenize", {"content": "a b", "with_pieces": True}, openai_answers.TokenizeAnswer),
        ("/detokenize", {"tokens": [1]}, openai_answers.DetokenizeAnswer),
        ("/outpost/v1/load", {}, answers.ResidencyAnswer),
        ("/outpost/v1/fit", {}, answers.FitAnswer),
        ("/outpost/v1/unload", {}, answers.ResidencyAnswer),
    ],
)
def test_what_is_asked_with_a_body(door: Door, path: str, body: dict[str, Any], shape: type) -> None:
    answer = door.post(path, {"model": MODEL, **body})
    assert answer.status_code == 200
    holds(shape, answer.json)


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/models", openai_answers.ModelsAnswer),
        (f"/v1/models/{MODEL}", openai_answers.ModelObject),
        ("/v1/queue", answers.QueueAnswer),
        ("/outpost/v1/requests", answers.RequestsAnswer),
        ("/healthz", answers.HealthAnswer),
        ("/readyz", answers.ReadinessAnswer),
        ("/api/version", ollama_answers.VersionAnswer),
        ("/api/status", ollama_answers.StatusAnswer),
        ("/api/tags", ollama_answers.TagsAnswer),
        ("/api/ps", ollama_answers.RunningAnswer),
        ("/outpost/v1/models", answers.StoredModelsAnswer),
        ("/outpost/v1/models/tiny", answers.StoredModelAnswer),
    ],
)
def test_what_is_asked_without(door: Door, path: str, shape: type) -> None:
    answer = door.get(path)
    assert answer.status_code == 200
    holds(shape, answer.json)


def test_the_lines_of_an_operation(door: Door) -> None:
    lines = door.post("/outpost/v1/operations", {"verb": "pull", "name": "tiny"}).text.splitlines()
    assert len(lines) > 1
    for line in lines:
        answers.OperationLine.model_validate_json(line)


def test_the_lines_of_ollama(door: Door) -> None:
    for path, body, shape in (
        ("/api/chat", {"messages": [HELLO], "logprobs": True}, ollama_answers.ChatLine),
        ("/api/generate", {"prompt": "hi"}, ollama_answers.GenerateLine),
        ("/api/pull", {}, ollama_answers.ProgressLine),
    ):
        lines = door.post(path, {"model": MODEL, **body}).text.splitlines()
        assert len(lines) > 1
        for line in lines:
            holds(shape, json.loads(line))


def test_events_of_a_response_and_what_is_kept_of_it(door: Door) -> None:
    streamed = door.post("/v1/responses", {"model": MODEL, "input": "hi", "stream": True})
    events = typed_events_of(streamed.text)
    for event in events:
        response_answers.ResponseEvent.model_validate_json(json.dumps(event))
    holds(response_answers.ResponseObject, events[-1]["response"])
    kept = ask(door, "GET", events[-1]["response"]["id"])
    holds(response_answers.ResponseObject, kept.json)
    holds(response_answers.InputItemsAnswer, ask(door, "GET", f"{kept.json['id']}/input_items").json)
    holds(response_answers.DeletedResponse, ask(door, "DELETE", kept.json["id"]).json)


def test_events_of_an_infill(door: Door) -> None:
    body = {"model": MODEL, "input_prefix": "a", "input_suffix": "b", "stream": True}
    events = events_of(door.post("/infill", body))
    for event in events[:-1]:
        holds(openai_answers.InfillEvent, event)
    holds(openai_answers.InfillAnswer, events[-1])


def test_a_model_taken_out_of_the_store(door: Door) -> None:
    told = door.client.simulate_delete("/v1/models/tiny", host="localhost", remote_addr=HERE)
    holds(openai_answers.DeletedModel, told.json)


def test_keys(doors: Doors) -> None:
    door = doors.opened(keys=False)
    holds(key_answers.MadeKeyAnswer, door.post("/outpost/v1/keys", {"name": "laptop", "force": True}).json)
    holds(key_answers.KeysAnswer, door.get("/outpost/v1/keys").json)
    path = f"/outpost/v1/keys/{doors.made_key()}"
    holds(key_answers.KeyAnswer, door.get(path).json)
    holds(key_answers.MadeKeyAnswer, door.post(f"{path}/rotate", {"grace_s": 60}).json)


def test_a_request_that_waits_and_its_end() -> None:
    asked = Asked()
    with asked.waiting():
        holds(list[answers.RunningRequest], asked.listing())
        holds(answers.CancelledAnswer, asked.cancel().json)


def test_the_events_of_a_message(door: Door) -> None:
    body = {"model": MODEL, "messages": [HELLO], "max_tokens": 9, "stream": True}
    events = typed_events_of(door.post("/v1/messages", body).text)
    assert len(events) > 4
    for event in events:
        anthropic_answers.MessageEvent.model_validate_json(json.dumps(event))


def test_health_for_everybody(doors: Doors) -> None:
    door = doors.opened()
    holds(answers.HealthOutline, door.get("/healthz").json)
    holds(answers.ReadinessOutline, door.get("/readyz").json)


def test_errors_in_all_forms(door: Door) -> None:
    holds(answers.ErrorAnswer, door.chat(model="nope").json)
    holds(answers.ErrorAnswer, door.get("/nope").json)
    holds(answers.RegistryErrorAnswer, door.get("/v2/nope/tags/list").json)
    holds(anthropic_answers.ErrorAnswer, door.post("/v1/messages", {"model": "nope"}).json)
    holds(ollama_answers.ErrorAnswer, door.post("/api/chat", {"model": "nope"}).json)


def test_the_device(tmp_path: Path) -> None:
    board = FakeBoard(tmp_path / "board", load("pi-4"))
    door = Door(board=lambda: sample(board.root), snapshots=Snapshots(tmp_path))
    pydantic.TypeAdapter(HardwareReport).validate_python(door.get("/outpost/v1/hardware").json)
    holds(answers.HibernationAnswer, door.get("/outpost/v1/hibernation").json)
    cleared = door.client.simulate_delete("/outpost/v1/hibernation", host="localhost")
    assert cleared.json == {"snapshots": 0, "size_bytes": 0, "models": 0}
