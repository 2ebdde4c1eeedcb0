"""The real `ollama` client against the real server: what it asks for by itself, and what it makes of our
answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ollama
import pytest

from appliance.access.keys import KeyRing, StoredKey, generate
from appliance.errors import EngineFault, Overloaded
from appliance.store.digest import digest_of
from appliance.wire.messages import ChatPrompt, Delta, FinishReason, ToolCallDelta, Usage
from tests.fakes.fake_inference import MODEL, FakeInference, Line, Silence, text_of
from tests.fakes.fake_store_verbs import FakeStoreVerbs
from tests.integration.api_door import Door, opened, wait_for

pytestmark = pytest.mark.integration
USAGE = Usage(prompt_tokens=4, cached_tokens=1, completion_tokens=2)
USER = {"role": "user", "content": "hi"}


@pytest.fixture
def store() -> FakeStoreVerbs:
    return FakeStoreVerbs()


@pytest.fixture
def door(store: FakeStoreVerbs) -> Iterator[Door]:
    with opened(store=store) as door:
        yield door


@pytest.fixture
def client(door: Door) -> Iterator[ollama.Client]:
    with ollama.Client(host=door.url) as client:
        yield client


def script(door: Door, *lines: Line) -> None:
    door.inference.script = lambda _: lines


def test_a_whole_answer_and_a_stream(client: ollama.Client) -> None:
    whole = client.chat(MODEL, [USER])
    assert (whole.message.content, whole.done_reason, whole.eval_count) == ("Hello", "stop", 2)
    chunks = list(client.chat(MODEL, [USER], stream=True))
    assert "".join(chunk.message.content or "" for chunk in chunks) == "Hello"
    assert (chunks[-1].done, chunks[-1].prompt_eval_duration) == (True, 250_000_000)
    assert client.generate(MODEL, "hi").response == "Hello"
    assert "".join(chunk.response or "" for chunk in client.generate(MODEL, "hi", stream=True)) == "Hello"


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
      a: one
      b: the other
    """
    return a + b


def test_a_function_is_a_tool_and_its_call_has_an_object(door: Door, client: ollama.Client) -> None:
    call = ToolCallDelta(0, "call_1", "add", '{"a": 1, "b": 2}')
    script(
        door,
        Delta(id=1, choice=0, text="", tokens=1, tool_calls=[call]),
        Delta(id=1, choice=0, text="", tokens=0, finish_reason=FinishReason.TOOL_CALLS, usage=USAGE),
    )
    answer = client.chat(MODEL, [USER], tools=[add])
    assert answer.message.tool_calls is not None
    (called,) = answer.message.tool_calls
    assert add(**called.function.arguments) == 3
    asked = door.inference.requests[-1].prompt
    assert isinstance(asked, ChatPrompt)
    assert asked.tools[0]["function"]["parameters"]["required"] == ["a", "b"]
    script(door, *text_of("3"))
    result = {"role": "tool", "content": "3", "tool_name": "add"}
    assert client.chat(MODEL, [USER, answer.message, result], tools=[add]).message.content == "3"
    after = door.inference.requests[-1].prompt
    assert isinstance(after, ChatPrompt)
    assert after.messages[-1]["tool_call_id"] == after.messages[-2]["tool_calls"][0]["id"]


def test_a_schema_thinking_and_options_are_asked_for(door: Door, client: ollama.Client) -> None:
    script(door, Delta(id=1, choice=0, text="", tokens=1, reasoning="hm"), *text_of("{}"))
    schema = {"type": "object", "properties": {}}
    answer = client.chat(
        MODEL,
        [USER],
        format=schema,
        think="high",
        options={"temperature": 0, "num_ctx": 512},
        keep_alive="5m",
    )
    assert (answer.message.thinking, answer.message.content) == ("hm", "{}")
    asked = door.inference.requests[-1]
    assert asked.constraint is not None
    assert (asked.constraint.schema, asked.sampling.temperature) == (schema, 0.0)
    assert door.inference.keep_alives == [300.0]


def test_the_context_of_one_answer_goes_with_the_next_question(door: Door, client: ollama.Client) -> None:
    first = client.generate(MODEL, "one")
    client.generate(MODEL, "two", context=first.context)
    asked = door.inference.requests[-1].prompt
    assert isinstance(asked, ChatPrompt)
    assert [message["content"] for message in asked.messages] == ["one", "Hello", "two"]


def test_a_stream_that_is_closed_ends_the_work(door: Door, client: ollama.Client) -> None:
    script(door, *text_of("Hel", "lo")[:2], Silence(30.0), *text_of("never"))
    stream = client.chat(MODEL, [USER], stream=True)
    assert next(stream).message.content == ""
    assert next(stream).message.content == "Hel"
    stream.close()  # type: ignore[attr-defined]  # the client says Iterator, and returns a generator
    wait_for(lambda: door.inference.running == 0)


def test_faults_are_response_errors_with_their_status(door: Door, client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as missing:
        client.chat("nope", [USER])
    assert (missing.value.status_code, missing.value.error) == (404, "model 'nope' not found")
    script(door, *text_of("Hel")[:1], EngineFault(reason="it broke"))
    with pytest.raises(ollama.ResponseError, match="it broke"):
        list(client.chat(MODEL, [USER], stream=True))
    door.inference.refuse = Overloaded(waiting=1, limit=1, retry_after_s=1.0)
    with pytest.raises(ollama.ResponseError, match="server busy") as busy:
        client.generate(MODEL, "hi", stream=True).__next__()
    assert busy.value.status_code == 503


def test_models_are_listed_shown_and_seen_at_work(client: ollama.Client) -> None:
    assert {one.model for one in client.list().models} == {MODEL, "tiny:latest"}
    told = client.show("tiny")
    assert (told.capabilities, told.details and told.details.family) == (["completion", "tools"], "llama")
    assert told.modelinfo is not None
    assert told.modelinfo["general.architecture"] == "llama"
    (running,) = client.ps().models
    assert (running.model, running.context_length) == (MODEL, 2048)


def test_models_come_change_and_go(client: ollama.Client, store: FakeStoreVerbs, tmp_path: Path) -> None:
    lines = list(client.pull("other", insecure=True, stream=True))
    assert [lines[0].status, lines[-1].status] == ["pulling manifest", "success"]
    assert any(line.total == 1000 == line.completed for line in lines)
    assert client.push("tiny").status == "success"
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" * 500_000)
    digest = client.create_blob(file)
    assert digest == digest_of(file.read_bytes())
    assert client.create("new", files={"model.gguf": digest}, system="Be kind.").status == "success"
    assert store.calls[-1][2] == f"FROM {digest}\nSYSTEM Be kind.\n"
    assert client.copy("tiny", "b").status == "success"
    assert client.delete("tiny").status == "success"
    with pytest.raises(ollama.ResponseError) as gone:
        client.delete("tiny")
    assert gone.value.status_code == 404


def test_vectors_come_for_one_text_and_for_several(client: ollama.Client) -> None:
    assert len(client.embed(MODEL, "a").embeddings) == 1
    assert len(client.embed(MODEL, ["a", "b"], dimensions=2).embeddings[1]) == 2
    assert len(client.embeddings(MODEL, "a").embedding) == 4


def test_a_key_goes_in_a_header() -> None:
    key = generate()
    with opened(FakeInference(), keys=KeyRing({key.key_id: StoredKey(sha256=key.sha256)})) as door:
        headers = {"Authorization": f"Bearer {key.text}"}
        with ollama.Client(host=door.url) as nobody, ollama.Client(host=door.url, headers=headers) as client:
            with pytest.raises(ollama.ResponseError) as refused:
                nobody.list()
            assert refused.value.status_code == 401
            assert client.list().models
