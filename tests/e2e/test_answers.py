"""What the SDK gets when all is well."""

from __future__ import annotations

import math

import pytest
from openai import OpenAI

from provision.bootstrap.kernels import lacking_here
from tests.daemon import STARTER_NAME
from tests.e2e.asking import chat, stream_chat, streamed_text, text_of

LACKING = lacking_here()
_RIVERS = "Name three rivers."
_REPEAT = "Repeat the following text exactly.\n\nalpha beta gamma delta epsilon zeta"


def test_models_are_listed_with_their_names(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert STARTER_NAME in names
    assert client.models.retrieve(STARTER_NAME).object == "model"


@pytest.mark.skipif(LACKING is not None, reason=f"no kernels for this processor: {LACKING}")
def test_a_boxed_in_runner_computes_with_our_kernels(client: OpenAI) -> None:
    chat(client, _RIVERS, max_tokens=1)
    told = client.models.retrieve(STARTER_NAME).model_dump()
    assert told["meta"]["kernels"] in ("avx512-vnni", "avx2")


def test_a_chat_answers_the_question(client: OpenAI) -> None:
    answer = chat(client, _RIVERS, max_tokens=200)
    assert "river" in text_of(answer).lower()
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_says_the_same_as_a_whole_answer(client: OpenAI) -> None:
    whole = chat(client, _RIVERS, max_tokens=40)
    chunks = stream_chat(client, _RIVERS, max_tokens=40, stream_options={"include_usage": True})
    assert streamed_text(chunks) == text_of(whole)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [one.finish_reason for chunk in chunks for one in chunk.choices if one.finish_reason] == [
        whole.choices[0].finish_reason
    ]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None and whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_a_stream_arrives_token_by_token(client: OpenAI) -> None:
    fields = {"max_tokens": 20, "extra_body": {"ignore_eos": True, "speculation": False}}
    chunks = stream_chat(client, "Tell me a story about a fox.", **fields)
    with_text = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(with_text) >= 18  # a token of half a character has no text of its own


def test_max_tokens_ends_an_answer_for_its_length(client: OpenAI) -> None:
    answer = chat(client, "Tell me a long story.", max_tokens=7)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 7


def test_a_completion_continues_its_prompt(client: OpenAI) -> None:
    prompt = "The capital of France is"
    answer = client.completions.create(model=STARTER_NAME, prompt=prompt, temperature=0, max_tokens=6)
    assert "Paris" in answer.choices[0].text


def test_a_completion_echoes_its_prompt_when_asked(client: OpenAI) -> None:
    prompt = "One, two, three,"
    fields = {"model": STARTER_NAME, "prompt": prompt, "temperature": 0, "max_tokens": 4}
    plain = client.completions.create(**fields)  # type: ignore[call-overload]  # a dict hides the literal types
    echoed = client.completions.create(**fields, echo=True)  # type: ignore[call-overload]
    assert echoed.choices[0].text == prompt + plain.choices[0].text


def test_several_prompts_are_answered_in_order(client: OpenAI) -> None:
    prompts = ["The capital of France is", "The capital of Italy is"]
    answer = client.completions.create(model=STARTER_NAME, prompt=prompts, temperature=0, max_tokens=6)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert "Paris" in answer.choices[0].text
    assert "Rome" in answer.choices[1].text


def test_n_choices_differ_from_each_other(client: OpenAI) -> None:
    answer = chat(client, "Invent a name for a ship.", n=2, temperature=1.5, seed=11, max_tokens=24)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert text_of(answer, 0) != text_of(answer, 1)
    assert all(text_of(answer, index) for index in (0, 1))


def test_n_choices_stream_side_by_side(client: OpenAI) -> None:
    chunks = stream_chat(client, "Invent a name for a ship.", n=2, temperature=1.5, seed=11, max_tokens=12)
    ended = sorted(one.index for chunk in chunks for one in chunk.choices if one.finish_reason)
    assert ended == [0, 1]
    assert streamed_text(chunks, 0) != streamed_text(chunks, 1)


def test_the_same_seed_gives_the_same_text(client: OpenAI) -> None:
    fields = {"temperature": 1.2, "max_tokens": 32}
    first = chat(client, "Write a poem about rain.", seed=7, **fields)
    again = chat(client, "Write a poem about rain.", seed=7, **fields)
    other = chat(client, "Write a poem about rain.", seed=8, **fields)
    assert text_of(first) == text_of(again)
    assert text_of(first) != text_of(other)


def test_a_stop_string_over_token_boundaries_ends_the_answer_and_is_not_told(client: OpenAI) -> None:
    whole = text_of(chat(client, _REPEAT, max_tokens=40))
    assert "Gamma Delta" in whole
    stopped = chat(client, _REPEAT, max_tokens=40, stop=["mma Del"])
    assert text_of(stopped) == whole.split("mma Del")[0]
    assert stopped.choices[0].finish_reason == "stop"


def test_a_stop_string_is_not_told_in_a_stream_either(client: OpenAI) -> None:
    streamed = streamed_text(stream_chat(client, _REPEAT, max_tokens=40, stop=["mma Del"]))
    assert streamed.endswith("Ga")


def test_logprobs_are_those_of_a_distribution(client: OpenAI) -> None:
    answer = chat(client, _RIVERS, logprobs=True, top_logprobs=20, max_tokens=6)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.content
    assert "".join(token.token for token in logprobs.content).startswith(text_of(answer))
    for token in logprobs.content:
        top = [other.logprob for other in token.top_logprobs]
        assert len(top) == 20
        assert top == sorted(top, reverse=True)
        assert 0.3 < sum(math.exp(logprob) for logprob in top) <= 1.0001
        assert token.logprob == pytest.approx(top[0])  # greedy takes the most likely


def test_a_system_prompt_computed_once_is_reused(client: OpenAI) -> None:
    system = {
        "role": "system",
        "content": "You are a careful clerk. " + "Always check the figures twice. " * 40,
    }
    counts = []
    for question in ("What is seven plus five?", "What is nine plus two?"):
        messages = [system, {"role": "user", "content": question}]
        usage = chat(client, "", messages=messages, max_tokens=4).usage
        assert usage is not None and usage.prompt_tokens_details is not None
        counts.append((usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens or 0))
    (prompt_tokens, _), (_, cached_tokens) = counts
    assert prompt_tokens > 240
    assert cached_tokens > prompt_tokens - 30


def test_random_bytes_of_a_tiny_model_never_break_the_stream(client: OpenAI) -> None:
    fields = {
        "model": "tiny",
        "max_tokens": 200,
        "extra_body": {"ignore_eos": True},
        "seed": 3,
        "temperature": 2,
    }
    chunks = stream_chat(client, "Hello", **fields)
    assert chunks[-1].choices[0].finish_reason == "length"


def test_embeddings_are_normalised_vectors(client: OpenAI) -> None:
    answer = client.embeddings.create(model="tiny-embed", input=["hello world", "the end", "hello world"])
    first, second, third = (item.embedding for item in answer.data)
    assert len(first) == 64
    assert sum(value * value for value in first) == pytest.approx(1.0, abs=1e-4)
    assert first == pytest.approx(third, abs=1e-5)
    assert first != pytest.approx(second, abs=1e-2)


def test_embeddings_are_the_same_in_both_encodings(client: OpenAI) -> None:
    plain = client.embeddings.create(model="tiny-embed", input="hello", encoding_format="float")
    packed = client.embeddings.create(model="tiny-embed", input="hello")  # the SDK asks for base64
    assert plain.data[0].embedding == pytest.approx(packed.data[0].embedding, abs=1e-6)
