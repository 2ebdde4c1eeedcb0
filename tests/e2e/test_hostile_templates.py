"""A model whose chat template is hostile: its chats are refused in time, all else of it works."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from openai import BadRequestError

from tests.daemon import Daemon
from tests.e2e.asking import chat
from tests.e2e.conftest import openai_client
from tests.fakes import tiny_gguf

DECIDED_WITHIN_S = 2.5
"""2 s, and what a busy test machine adds."""
_LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
_TEMPLATES = {
    "endless": _LOOP,
    "endless-later": "{% if messages | length > 3 %}" + _LOOP + "{% endif %}{{ messages[0].content }}",
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("hostile")
    models = {
        name: tiny_gguf.write_generator(directory / f"{name}.gguf", chat_template=template)
        for name, template in _TEMPLATES.items()
    }
    with Daemon(directory, models=models, config="[engine]\nn_ctx_seq = 256\nn_seq_max = 2\n") as running:
        yield running


@pytest.mark.parametrize("model", _TEMPLATES)
def test_a_chat_is_refused_in_time_and_the_runner_lives(hostile: Daemon, model: str) -> None:
    with openai_client(hostile) as client:
        client.completions.create(model=model, prompt="Hello", max_tokens=1)
        before = {runner.pid for runner in hostile.runners()}
        for _ in range(2):
            began_s = time.monotonic()
            with pytest.raises(BadRequestError) as caught:
                chat(client, "Hello", model=model, messages=[{"role": "user", "content": "Hello"}] * 4)
            assert time.monotonic() - began_s < DECIDED_WITHIN_S
            assert caught.value.param == "messages"
        client.completions.create(model=model, prompt="Hello", max_tokens=1)
    assert before <= {runner.pid for runner in hostile.runners()}
