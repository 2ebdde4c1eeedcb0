"""Requests and models that are refused: the right exception of the SDK, the field's name, and a daemon
unharmed.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from openai import APIStatusError, BadRequestError, NotFoundError, OpenAI

from tests.daemon import STARTER_NAME, Daemon
from tests.e2e.asking import chat, text_of
from tests.e2e.conftest import N_CTX_SEQ


def test_an_over_long_prompt_is_refused_with_both_counts(client: OpenAI) -> None:
    words = 3 * N_CTX_SEQ
    with pytest.raises(BadRequestError) as caught:
        chat(client, "word " * words)
    assert caught.value.code == "context_length_exceeded"
    assert str(N_CTX_SEQ) in caught.value.message
    counts = [int(word) for word in caught.value.message.split() if word.isdigit()]
    assert max(counts) >= words


def test_an_over_long_completion_prompt_is_refused_too(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.completions.create(model=STARTER_NAME, prompt="word " * 3 * N_CTX_SEQ)
    assert caught.value.code == "context_length_exceeded"


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(NotFoundError) as caught:
        chat(client, "Hello", model="nobody")
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", "hot"),
        ("max_tokens", -5),
        ("top_p", 2),
        ("n", 0),
        ("seed", (1 << 64) - 1),
        ("seed", 1 << 70),
        ("messages", []),
    ],
)
def test_a_wrong_value_is_refused_with_the_fields_name(client: OpenAI, field: str, value: object) -> None:
    with pytest.raises(BadRequestError) as caught:
        chat(client, "Hello", **{field: value})
    assert field in str(caught.value.param)


def test_an_unknown_field_is_refused_or_named_in_a_warning(daemon: Daemon) -> None:
    body = {
        "model": STARTER_NAME,
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 1,
        "teapot": 1,
    }
    request = urllib.request.Request(
        f"{daemon.url}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            told = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
    except urllib.error.HTTPError as error:
        told = error.read().decode()
    assert "teapot" in told


def test_embeddings_of_a_model_that_has_none_are_refused(client: OpenAI) -> None:
    with pytest.raises(BadRequestError):
        client.embeddings.create(model=STARTER_NAME, input="hello")


def test_chat_with_an_embedding_model_is_refused(client: OpenAI) -> None:
    with pytest.raises(BadRequestError):
        chat(client, "Hello", model="tiny-embed")


@pytest.mark.parametrize("model", ["truncated", "garbage"])
def test_a_file_that_is_no_model_is_a_clear_error_and_harms_nobody(client: OpenAI, model: str) -> None:
    with pytest.raises(APIStatusError) as caught:
        chat(client, "Hello", model=model)
    assert caught.value.code == "model_invalid"
    assert caught.value.status_code == 422
    assert model in caught.value.message
    assert text_of(chat(client, "Hello", max_tokens=4))
