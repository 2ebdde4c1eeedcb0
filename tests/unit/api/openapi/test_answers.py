"""What the handlers write has the shape that the document tells, and no field beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest

from appliance.api import answers
from appliance.api.openai import answers as openai_answers
from appliance.daemon.snapshots import Snapshots
from appliance.hardware.report import HardwareReport, sample
from tests.fakes.fake_board import FakeBoard, load
from tests.fakes.fake_inference import MODEL
from tests.fakes.fake_layout import FakeLayout
from tests.fakes.fake_store_verbs import FakeStoreVerbs
from tests.unit.api.door import Door, events_of


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
        ("/healthz", answers.HealthAnswer),
        ("/readyz", answers.ReadinessAnswer),
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


def test_errors_in_both_forms(door: Door) -> None:
    holds(answers.ErrorAnswer, door.chat(model="nope").json)
    holds(answers.ErrorAnswer, door.get("/nope").json)
    holds(answers.RegistryErrorAnswer, door.get("/v2/nope/tags/list").json)


def test_the_device(tmp_path: Path) -> None:
    board = FakeBoard(tmp_path / "board", load("pi-4"))
    door = Door(board=lambda: sample(board.root), snapshots=Snapshots(tmp_path))
    pydantic.TypeAdapter(HardwareReport).validate_python(door.get("/outpost/v1/hardware").json)
    holds(answers.HibernationAnswer, door.get("/outpost/v1/hibernation").json)
    cleared = door.client.simulate_delete("/outpost/v1/hibernation", host="localhost")
    assert cleared.json == {"snapshots": 0, "size_bytes": 0, "models": 0}
