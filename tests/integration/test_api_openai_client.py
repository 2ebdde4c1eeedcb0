"""The real `openai` client against the real server: what it asks for by itself, and what it makes of our
answers.
"""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI

from appliance import errors
from appliance.access import keys as access_keys
from appliance.access.keys import KeyRing, StoredKey
from appliance.wire.messages import (
    ChatPrompt,
    ConstraintKind,
    Delta,
    FinishReason,
    Generate,
    Progress,
    TokenAlternative,
    TokenLogprob,
    ToolCallDelta,
    ToolChoice,
    Usage,
)
from tests.fakes.fake_inference import MODEL, FakeInference, Line, Silence, text_of
from tests.integration.api_door import Door, opened

pytestmark = pytest.mark.integration
USAGE = Usage(prompt_tokens=4, cached_tokens=1, completion_tokens=2)


@pytest.fixture
def door() -> Iterator[Door]:
    with opened() as door:
        yield door


@pytest.fixture
def client(door: Door) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{door.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def script(door: Door, *lines: Line) -> None:
    door.inference.script = lambda _: lines


def test_a_whole_answer(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content == "Hello"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 3
    assert answer._request_id is not None
    assert answer._request_id.startswith("req_")


def test_a_stream_with_usage_and_comments_in_between(door: Door, client: OpenAI) -> None:
    script(door, Progress(1, 512, 8192), Silence(2.2), *text_of("Hel", "lo"))
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 9


def test_tools_are_asked_for_and_called(door: Door, client: OpenAI) -> None:
    script(
        door,
        Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, "call_1", "weather", "")]),
        Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, None, None, '{"city":')]),
        Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, None, None, '"Bonn"}')]),
        Delta(id=1, choice=0, text="", tokens=0, finish_reason=FinishReason.TOOL_CALLS, usage=USAGE),
    )
    with client.chat.completions.stream(
        model=MODEL,
        messages=[{"role": "user", "content": "weather?"}],
        tools=[{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
        tool_choice="required",
    ) as stream:
        final = stream.get_final_completion()
    message = final.choices[0].message
    assert message.tool_calls is not None
    assert message.tool_calls[0].function.arguments == '{"city":"Bonn"}'
    assert final.choices[0].finish_reason == "tool_calls"
    prompt = door.inference.requests[0].prompt
    assert isinstance(prompt, ChatPrompt)
    assert prompt.tool_choice is ToolChoice.REQUIRED
    followed = client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "user", "content": "weather?"},
            message.model_dump(),  # type: ignore[list-item]  # what the documentation tells people to do
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        ],
    )
    assert followed.choices[0].finish_reason == "tool_calls"


def test_logprobs_and_two_choices(door: Door, client: OpenAI) -> None:
    piece = TokenLogprob(5, b"hi", -0.5, [TokenAlternative(6, b"ho", -1.5)])
    script(
        door,
        Delta(id=1, choice=1, text="ho", tokens=1, logprobs=[piece]),
        Delta(id=1, choice=0, text="hi", tokens=1, logprobs=[piece], finish_reason=FinishReason.STOP),
        Delta(id=1, choice=1, text="", tokens=0, finish_reason=FinishReason.LENGTH, usage=USAGE),
    )
    answer = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "hi"}], n=2, logprobs=True, top_logprobs=1
    )
    assert [choice.message.content for choice in answer.choices] == ["hi", "ho"]
    assert [choice.finish_reason for choice in answer.choices] == ["stop", "length"]
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert logprobs.content[0].bytes == [104, 105]
    assert logprobs.content[0].top_logprobs[0].token == "ho"


def test_a_json_schema_goes_through_as_it_is(door: Door, client: OpenAI) -> None:
    schema: dict[str, object] = {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
    }
    client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "hi"}],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "x", "strict": True, "schema": schema},
        },
    )
    constraint = door.inference.requests[0].constraint
    assert constraint is not None
    assert constraint.kind is ConstraintKind.JSON_SCHEMA
    assert constraint.schema == schema


def test_llama_servers_fields_go_through_extra_body(door: Door, client: OpenAI) -> None:
    client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "hi"}], extra_body={"min_p": 0.1, "top_k": 5}
    )
    assert door.inference.requests[0].sampling.min_p == 0.1


def test_embeddings_are_base64_unless_told_otherwise(client: OpenAI) -> None:
    packed = client.embeddings.create(model=MODEL, input=["a", "b"])
    plain = client.embeddings.create(model=MODEL, input=["a", "b"], encoding_format="float")
    assert packed.data[1].embedding == plain.data[1].embedding == [1.0, 0.5, -0.25, 1.0]


def test_completions_of_several_prompts(client: OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt=["a", "b"])
    assert [choice.text for choice in answer.choices] == ["Hello", "Hello"]


def test_models_are_listed_and_found(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.InvalidRequest(reason="x", param="temperature"), openai.BadRequestError),
        (errors.ContextLengthExceeded(prompt_tokens=2, limit_tokens=1), openai.BadRequestError),
        (errors.ModelInvalid(model="m", reason="x"), openai.UnprocessableEntityError),
        (errors.NotAllowed(reason="x"), openai.PermissionDeniedError),
        (errors.Overloaded(waiting=1, limit=1, retry_after_s=1), openai.InternalServerError),
        (errors.RunnerDied(model="m", cause="x"), openai.InternalServerError),
    ],
)
def test_each_error_is_the_clients_own_exception(
    door: Door, client: OpenAI, error: errors.OutpostError, kind: type[openai.APIStatusError]
) -> None:
    door.inference.refuse = error
    with pytest.raises(kind) as raised:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])
    assert raised.value.message
    assert raised.value.param == error.param
    assert raised.value.request_id


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="nope", messages=[{"role": "user", "content": "hi"}])
    assert raised.value.code == "model_not_found"


def test_a_fault_in_mid_stream_raises_after_the_text_that_came(door: Door, client: OpenAI) -> None:
    script(door, *text_of("Hel")[:1], errors.RunnerDied(model="m", cause="SIGKILL"))
    stream = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "hi"}], stream=True
    )
    text = ""
    with pytest.raises(openai.APIError, match="SIGKILL"):  # noqa: PT012 - the loop is what raises
        for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    assert text == "Hel"


def test_a_key_is_asked_for_and_taken() -> None:
    key = access_keys.generate()
    with opened(keys=KeyRing({key.key_id: StoredKey(sha256=key.sha256)})) as door:
        url = f"{door.url}/v1"
        with (
            OpenAI(base_url=url, api_key="x", max_retries=0) as client,
            pytest.raises(openai.AuthenticationError),
        ):
            client.models.list()
        with OpenAI(base_url=url, api_key=key.text) as client:
            assert client.models.list().data


def test_the_client_retries_what_passes_by_itself() -> None:
    refusals = [errors.Overloaded(waiting=1, limit=1, retry_after_s=0.1)]

    class Once(FakeInference):
        def generate(self, model: str, request: Generate, **told: object) -> object:  # type: ignore[override]
            if refusals:
                raise refusals.pop()
            return super().generate(model, request, **told)  # type: ignore[arg-type]

    with opened(Once()) as door, OpenAI(base_url=f"{door.url}/v1", api_key="none", max_retries=1) as client:
        answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content == "Hello"
