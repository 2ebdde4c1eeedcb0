"""What the clients' own packages make of keys: a wrong one, one that may not, one that has asked enough.

A real daemon with tiny models, `openai`, `anthropic` and `ollama` as people install them, without retries.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import anthropic
import httpx
import ollama
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from appliance.access import keys as access_keys
from appliance.access.attempts import FREE
from tests.daemon import Daemon
from tests.fakes.model_files import generator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

HI: Final[Any] = [{"role": "user", "content": "hi"}]
PER_MIN: Final = 2
HEADERS: Final = (
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
)


@dataclass(frozen=True)
class Keyed:
    daemon: Daemon
    keys: dict[str, str]

    def openai(self, key: str) -> OpenAI:
        return OpenAI(base_url=f"{self.daemon.url}/v1", api_key=key, max_retries=0, timeout=60)

    def anthropic(self, key: str) -> Anthropic:
        return Anthropic(base_url=self.daemon.url, api_key=key, max_retries=0, timeout=60)

    def ollama(self, key: str) -> ollama.Client:
        return ollama.Client(host=self.daemon.url, headers={"Authorization": f"Bearer {key}"}, timeout=60)


_GRANTS: Final = {
    "user": 'models = ["tiny"]',
    "watcher": 'scopes = ["metrics"]',
    "limited_openai": f"requests_per_min = {PER_MIN}",
    "limited_anthropic": f"requests_per_min = {PER_MIN}",
    "limited_ollama": f"requests_per_min = {PER_MIN}",
    "small": "tokens_per_min = 1",
    "patient": "tokens_per_min = 600",
}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    made = {name: access_keys.generate() for name in _GRANTS}
    lines = [
        f'{made[name].key_id} = {{ sha256 = "{made[name].sha256}", {grant} }}'
        for name, grant in _GRANTS.items()
    ]
    config = "\n".join(["[access.keys]", *lines, ""])
    directory = tmp_path_factory.mktemp("keyed") / "daemon"
    models = {"tiny": generator(), "other": generator()}
    with Daemon(directory, models=models, config=config) as daemon:
        keyed = Keyed(daemon, {name: key.text for name, key in made.items()})
        over_openai(keyed, keyed.keys["user"])  # loads the model: requests of a minute are then of one moment
        yield keyed


# Each way to ask for one token, or for the list of models, over each package.


def over_openai(keyed: Keyed, key: str, model: str = "tiny") -> None:
    with keyed.openai(key) as client:
        client.chat.completions.create(model=model, messages=HI, max_tokens=1)


def over_openai_streamed(keyed: Keyed, key: str, model: str = "tiny") -> None:
    with keyed.openai(key) as client:
        list(client.chat.completions.create(model=model, messages=HI, max_tokens=1, stream=True))


def over_responses(keyed: Keyed, key: str, model: str = "tiny") -> None:
    with keyed.openai(key) as client:
        client.responses.create(model=model, input="hi", max_output_tokens=16)


def over_anthropic(keyed: Keyed, key: str, model: str = "tiny") -> None:
    with keyed.anthropic(key) as client:
        client.messages.create(model=model, messages=HI, max_tokens=1)


def over_anthropic_streamed(keyed: Keyed, key: str, model: str = "tiny") -> None:
    with (
        keyed.anthropic(key) as client,
        client.messages.stream(model=model, messages=HI, max_tokens=1) as stream,
    ):
        stream.until_done()


def over_ollama(keyed: Keyed, key: str, model: str = "tiny") -> None:
    with keyed.ollama(key) as client:
        client.chat(model, HI, options={"num_predict": 1})


def over_ollama_streamed(keyed: Keyed, key: str, model: str = "tiny") -> None:
    with keyed.ollama(key) as client:
        list(client.generate(model, "hi", stream=True, options={"num_predict": 1}))


Way = Callable[..., None]
OPENAI: Final[tuple[Way, ...]] = (over_openai, over_openai_streamed, over_responses)
ANTHROPIC: Final[tuple[Way, ...]] = (over_anthropic, over_anthropic_streamed)
OLLAMA: Final[tuple[Way, ...]] = (over_ollama, over_ollama_streamed)


@pytest.mark.parametrize("way", [*OPENAI, *ANTHROPIC, *OLLAMA])
def test_a_good_key_is_answered(keyed: Keyed, way: Way) -> None:
    way(keyed, keyed.keys["user"])


@pytest.mark.parametrize("way", OPENAI)
@pytest.mark.parametrize(
    ("key", "model", "kind", "code"),
    [
        ("watcher", "tiny", openai.PermissionDeniedError, "insufficient_scope"),
        ("user", "other", openai.NotFoundError, "model_not_found"),
    ],
)
def test_openai_raises_its_own_error(
    keyed: Keyed, way: Way, key: str, model: str, kind: type[openai.APIStatusError], code: str
) -> None:
    with pytest.raises(kind) as refused:
        way(keyed, keyed.keys[key], model)
    assert (type(refused.value), refused.value.code) == (kind, code)
    assert refused.value.request_id


@pytest.mark.parametrize("way", ANTHROPIC)
@pytest.mark.parametrize(
    ("key", "model", "kind", "name"),
    [
        ("watcher", "tiny", anthropic.PermissionDeniedError, "permission_error"),
        ("user", "other", anthropic.NotFoundError, "not_found_error"),
    ],
)
def test_anthropic_raises_its_own_error(
    keyed: Keyed, way: Way, key: str, model: str, kind: type[anthropic.APIStatusError], name: str
) -> None:
    with pytest.raises(kind) as refused:
        way(keyed, keyed.keys[key], model)
    assert (type(refused.value), refused.value.type) == (kind, name)
    assert refused.value.request_id


@pytest.mark.parametrize("way", OLLAMA)
@pytest.mark.parametrize(
    ("key", "model", "status", "words"),
    [
        ("watcher", "tiny", 403, "infer"),
        ("user", "other", 404, "model 'other' not found"),
    ],
)
def test_ollama_raises_its_own_error(
    keyed: Keyed, way: Way, key: str, model: str, status: int, words: str
) -> None:
    with pytest.raises(ollama.ResponseError) as refused:
        way(keyed, keyed.keys[key], model)
    assert refused.value.status_code == status
    assert words in refused.value.error


def test_a_wrong_key_is_each_packages_own_error_and_guessing_is_slowed(keyed: Keyed) -> None:
    """One test, since wrong keys of one address are counted together."""
    nobodys = access_keys.generate().text
    for way, kind in (
        (over_openai, openai.AuthenticationError),
        (over_anthropic_streamed, anthropic.AuthenticationError),
    ):
        with pytest.raises(kind) as unknown:
            way(keyed, nobodys)
        assert type(unknown.value) is kind
    with pytest.raises(ollama.ResponseError, match="key") as refused:
        over_ollama(keyed, nobodys)
    assert refused.value.status_code == 401
    for _ in range(FREE - 3):
        with contextlib.suppress(openai.AuthenticationError):
            over_openai(keyed, nobodys)
    with pytest.raises(openai.RateLimitError) as slowed:
        over_openai(keyed, nobodys)
    assert slowed.value.code == "too_many_attempts"
    assert int(slowed.value.response.headers["retry-after"]) >= 1
    with pytest.raises(anthropic.RateLimitError):
        over_anthropic(keyed, nobodys)
    over_openai(keyed, keyed.keys["user"])


def test_each_lists_what_the_key_may_see_and_no_more(keyed: Keyed) -> None:
    user, watcher = keyed.keys["user"], keyed.keys["watcher"]
    with keyed.openai(user) as client:
        assert [model.id for model in client.models.list()] == ["tiny"]
    with keyed.ollama(user) as asker:
        assert [model.model for model in asker.list().models] == ["tiny:latest"]
    with keyed.openai(watcher) as client, pytest.raises(openai.PermissionDeniedError):
        client.models.list()
    with keyed.ollama(watcher) as asker, pytest.raises(ollama.ResponseError) as refused:
        asker.list()
    assert refused.value.status_code == 403


def _is_told(headers: Mapping[str, str], remaining: int) -> None:
    limit, left, reset = (headers[name] for name in HEADERS)
    assert (limit, left) == (str(PER_MIN), str(remaining))
    assert reset.endswith("s")


def test_openai_reads_the_limits_and_raises_when_they_are_met(keyed: Keyed) -> None:
    with keyed.openai(keyed.keys["limited_openai"]) as client:
        for remaining in reversed(range(PER_MIN)):
            raw = client.chat.completions.with_raw_response.create(model="tiny", messages=HI, max_tokens=1)
            _is_told(raw.headers, remaining)
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(model="tiny", messages=HI, max_tokens=1)
        with pytest.raises(openai.RateLimitError):
            list(client.chat.completions.create(model="tiny", messages=HI, max_tokens=1, stream=True))
    assert refused.value.code == "rate_limit_exceeded"
    _is_told(refused.value.response.headers, 0)
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 30
    assert 0 < int(refused.value.response.headers["retry-after-ms"]) <= 30_000


def test_anthropic_reads_the_limits_and_raises_when_they_are_met(keyed: Keyed) -> None:
    with keyed.anthropic(keyed.keys["limited_anthropic"]) as client:
        for remaining in reversed(range(PER_MIN)):
            raw = client.messages.with_raw_response.create(model="tiny", messages=HI, max_tokens=1)
            _is_told(raw.headers, remaining)
        with pytest.raises(anthropic.RateLimitError) as refused:
            client.messages.create(model="tiny", messages=HI, max_tokens=1)
    assert refused.value.type == "rate_limit_error"
    _is_told(refused.value.response.headers, 0)
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 30


def test_ollama_raises_when_the_limit_is_met(keyed: Keyed) -> None:
    """Its errors carry no headers: those of the answer are looked at on their way in."""
    seen: list[httpx.Response] = []
    key = keyed.keys["limited_ollama"]
    with ollama.Client(
        host=keyed.daemon.url,
        headers={"Authorization": f"Bearer {key}"},
        event_hooks={"response": [seen.append]},
    ) as client:
        for _ in range(PER_MIN):
            client.chat("tiny", HI, options={"num_predict": 1})
        with pytest.raises(ollama.ResponseError) as refused:
            client.chat("tiny", HI, options={"num_predict": 1})
    assert refused.value.status_code == 429
    assert "requests" in refused.value.error
    for remaining, answer in zip((1, 0, 0), seen, strict=True):
        _is_told(answer.headers, remaining)
    assert 1 <= int(seen[-1].headers["retry-after"]) <= 30


def test_a_prompt_that_may_never_pass_is_not_tried_again(keyed: Keyed) -> None:
    """`X-Should-Retry: false`: with retries, the packages give up at once, and do not wait for nothing."""
    asked: list[object] = []
    with (
        openai.DefaultHttpxClient(event_hooks={"request": [asked.append]}) as http,
        OpenAI(
            base_url=f"{keyed.daemon.url}/v1", api_key=keyed.keys["small"], max_retries=3, http_client=http
        ) as client,
        pytest.raises(openai.RateLimitError) as refused,
    ):
        client.chat.completions.create(model="tiny", messages=HI, max_tokens=1)
    assert (refused.value.code, len(asked)) == ("prompt_exceeds_quota", 1)


def test_a_client_with_retries_waits_as_it_is_told_and_is_answered(keyed: Keyed) -> None:
    """The first answer takes more than the minute holds; what is too much is paid off in seconds."""
    asked: list[object] = []
    with (
        openai.DefaultHttpxClient(event_hooks={"request": [asked.append]}) as http,
        OpenAI(
            base_url=f"{keyed.daemon.url}/v1", api_key=keyed.keys["patient"], max_retries=3, http_client=http
        ) as client,
    ):
        long: Any = [{"role": "user", "content": "a" * 540}]
        first = client.chat.completions.create(
            model="tiny", messages=long, max_tokens=64, extra_body={"ignore_eos": True}
        )
        assert first.usage is not None
        assert first.usage.total_tokens > 600
        assert len(asked) == 1
        second = client.chat.completions.create(model="tiny", messages=HI, max_tokens=1)
    assert second.choices
    assert len(asked) > 2
