"""Ollama's own Python library against daemons with the starter model: every way in which people use it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import pytest

from tests.daemon import STARTER, Daemon
from tests.e2e.asking import wait_until
from tests.e2e.store_commands import outpost
from tests.fakes.model_files import generator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

NAME = "smollm2"
GREEDY = {"temperature": 0, "num_predict": 16}
HELLO = [{"role": "user", "content": "Say hello."}]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("ollama"), models={}) as running:
        outpost(running, "import", str(STARTER), NAME)
        outpost(running, "import", str(generator()), "tiny")
        yield running


@pytest.fixture
def client(daemon: Daemon) -> Iterator[ollama.Client]:
    with ollama.Client(host=daemon.url, timeout=60.0) as client:
        yield client


def text_of(stream: Iterator[ollama.ChatResponse]) -> str:
    return "".join(chunk.message.content or "" for chunk in stream)


def test_a_stream_says_what_a_whole_answer_says(client: ollama.Client) -> None:
    whole = client.chat(NAME, HELLO, options=GREEDY)
    assert whole.message.content
    assert text_of(client.chat(NAME, HELLO, options=GREEDY, stream=True)) == whole.message.content
    assert (whole.done, whole.done_reason in {"stop", "length"}) == (True, True)
    assert whole.eval_count is not None
    assert 0 < whole.eval_count <= 16
    assert min(whole.eval_duration or 0, whole.total_duration or 0, whole.prompt_eval_count or 0) > 0


def test_generate_goes_on_with_its_context_and_raw_has_none(client: ollama.Client) -> None:
    first = client.generate(NAME, "My name is Ada. Say hello.", options=GREEDY)
    assert first.context
    second = client.generate(NAME, "What is my name?", context=first.context, options=GREEDY)
    conversation: list[dict[str, Any]] = [
        {"role": "user", "content": "My name is Ada. Say hello."},
        {"role": "assistant", "content": first.response or ""},
        {"role": "user", "content": "What is my name?"},
    ]
    assert client.chat(NAME, conversation, options=GREEDY).message.content == second.response
    raw = client.generate(NAME, "Once upon a time", raw=True, options=GREEDY)
    assert (bool(raw.response), raw.context) == (True, None)


def test_a_template_of_ones_own_shows_the_prompt_instead_of_the_models(client: ollama.Client) -> None:
    start = "Once upon a time"
    raw = client.generate(NAME, start, raw=True, options=GREEDY)
    shown = client.generate(NAME, start, template="{{ .Prompt }}", options=GREEDY)
    usual = client.generate(NAME, start, options=GREEDY)
    assert (shown.response, shown.prompt_eval_count) == (raw.response, raw.prompt_eval_count)
    assert (usual.prompt_eval_count or 0) > (shown.prompt_eval_count or 0)
    with pytest.raises(ollama.ResponseError, match="template"):
        client.generate(NAME, start, template="{{ .Prompt", options=GREEDY)


def test_a_schema_binds_the_answer(client: ollama.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}, "size": {"enum": ["big", "small"]}},
        "required": ["city", "size"],
    }
    options = {"temperature": 0, "num_predict": 48}
    answer = client.chat(
        NAME, [{"role": "user", "content": "A city as JSON."}], format=schema, options=options
    )
    told = json.loads(answer.message.content or "")
    assert told["size"] in {"big", "small"}
    free = client.generate(NAME, "A JSON object:", format="json", options=options)
    assert (free.response or "").lstrip().startswith("{")


def test_tools_are_offered_and_results_are_read(client: ollama.Client) -> None:
    def weather(city: str) -> str:
        """Tell the weather.

        Args:
          city: which city
        """
        return f"{city}: sunny"

    question = [{"role": "user", "content": "What is the weather in Paris?"}]
    answer = client.chat(NAME, question, tools=[weather], options={"temperature": 0, "num_predict": 24})
    for call in answer.message.tool_calls or ():  # so small a model may just talk
        assert isinstance(call.function.arguments, dict)
    conversation: list[dict[str, Any]] = [
        *question,
        {
            "role": "assistant",
            "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Paris"}}}],
        },
        {"role": "tool", "tool_name": "weather", "content": weather("Paris")},
    ]
    assert client.chat(NAME, conversation, tools=[weather], options=GREEDY).message.content


def test_logprobs_come_with_the_tokens(client: ollama.Client) -> None:
    answer = client.chat(NAME, HELLO, logprobs=True, top_logprobs=2, options={**GREEDY, "num_predict": 3})
    assert answer.logprobs is not None
    assert len(answer.logprobs) == 3
    assert all(one.top_logprobs and one.top_logprobs[0].logprob >= one.logprob for one in answer.logprobs)


def test_a_stream_that_is_closed_frees_the_model(daemon: Daemon, client: ollama.Client) -> None:
    stream = client.chat(NAME, HELLO, stream=True, options={"num_predict": 2000, "stop": []})
    next(stream)
    next(stream)
    stream.close()  # type: ignore[attr-defined]  # the client says Iterator, and returns a generator

    def is_idle() -> bool:
        runners = httpx.get(f"{daemon.url}/healthz", trust_env=False).json()["runners"]
        return all(one["running"] == 0 for one in runners)

    wait_until(is_idle, within_s=5, what="the model is free")


def test_models_are_listed_shown_loaded_and_put_out(client: ollama.Client) -> None:
    (row,) = [one for one in client.list().models if one.model == f"{NAME}:latest"]
    assert row.details is not None
    assert (row.details.family, row.details.quantization_level) == ("llama", "Q4_1")
    shown = client.show(NAME)
    assert "completion" in (shown.capabilities or [])
    assert shown.modelinfo is not None
    assert shown.modelinfo["llama.context_length"] == 8192
    assert client.generate(NAME, keep_alive="10m").done_reason == "load"
    (running,) = client.ps().models
    assert (running.digest, running.size_vram) == (row.digest, 0)
    assert running.expires_at is not None
    assert 500 < running.expires_at.timestamp() - time.time() <= 600
    assert client.generate(NAME, keep_alive=0).done_reason == "unload"
    wait_until(lambda: not client.ps().models, within_s=10, what="nothing is in memory")


def test_a_model_is_made_of_another_copied_and_deleted(client: ollama.Client) -> None:
    lines = list(
        client.create("brief", from_=NAME, system="Be brief.", parameters={"num_predict": 3}, stream=True)
    )
    assert lines[-1].status == "success"
    answer = client.chat("brief", HELLO)
    assert answer.eval_count is not None
    assert answer.eval_count <= 3
    client.copy("brief", "Short")
    assert {"brief:latest", "Short:latest"} <= {one.model for one in client.list().models}
    assert "SYSTEM Be brief." in (client.show("short").modelfile or "")
    for name in ("BRIEF", "short"):
        client.delete(name)
    with pytest.raises(ollama.ResponseError) as gone:
        client.chat("brief", HELLO)
    assert (gone.value.status_code, gone.value.error) == (404, "model 'brief' not found")


def test_another_outpost_is_a_registry_to_pull_from(
    daemon: Daemon, client: ollama.Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    host, port = daemon.address
    config = f'[store.hosts]\n"{host}:{port}" = {{ insecure = true }}\n'
    (original,) = [one for one in client.list().models if one.model == "tiny:latest"]
    with (
        Daemon(tmp_path_factory.mktemp("second"), models={}, config=config) as second,
        ollama.Client(host=second.url, timeout=60.0) as there,
    ):
        lines = list(there.pull(f"{host}:{port}/library/tiny", insecure=True, stream=True))
        assert [lines[0].status, lines[-1].status] == ["pulling manifest", "success"]
        assert any(line.digest and line.total and line.completed == line.total for line in lines)
        (row,) = there.list().models
        assert row.digest == original.digest
        assert there.chat(row.model or "", HELLO, options=GREEDY).message.content
        with pytest.raises(ollama.ResponseError, match=r"r\.example"):
            there.pull("r.example/a/b")
