"""The daemon with its store: what comes in is served by its name at once, and what goes is not."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.daemon import Daemon
from tests.fakes import tiny_gguf
from tests.fakes.damaged_gguf import with_integer_weight, with_nan_weights
from tests.fakes.model_files import adapter, generator
from tests.integration.daemon_asking import ask, chat, health, operate, served, succeeds
from tests.integration.supervisor.conftest import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path / "one", models={}) as running:
        yield running


def test_a_model_is_served_from_its_import_to_its_removal(daemon: Daemon) -> None:
    assert not served(daemon)
    assert not health(daemon)["ready"]
    succeeds(daemon, "import", path=str(generator()), name="tiny")
    assert served(daemon) == {"tiny:latest"}
    assert chat(daemon, "tiny", max_tokens=4).status_code == 200
    assert chat(daemon, "TINY:latest", max_tokens=4).status_code == 200
    succeeds(daemon, "copy", source="tiny", destination="alice/other:v1")
    assert chat(daemon, "alice/other:v1", max_tokens=4).status_code == 200
    succeeds(daemon, "remove", name="tiny")
    assert served(daemon) == {"alice/other:v1"}
    assert chat(daemon, "tiny", max_tokens=4).status_code == 404


def test_what_a_modelfile_says_counts_where_a_request_says_nothing(daemon: Daemon) -> None:
    succeeds(daemon, "import", path=str(generator()), name="tiny")
    recipe = f"FROM tiny\nADAPTER {adapter()}\nPARAMETER num_predict 3\nPARAMETER temperature 0\nSYSTEM hi"
    succeeds(daemon, "create", name="tuned", modelfile=recipe, base_dir="/")
    answer = chat(daemon, "tuned").json()
    assert answer["usage"]["completion_tokens"] == 3
    assert (
        answer["usage"]["prompt_tokens"] > chat(daemon, "tiny", max_tokens=1).json()["usage"]["prompt_tokens"]
    )
    assert chat(daemon, "tuned", max_tokens=2).json()["usage"]["completion_tokens"] == 2


def test_the_store_outlives_the_daemon_and_its_sudden_death(daemon: Daemon) -> None:
    succeeds(daemon, "import", path=str(generator()), name="tiny")
    daemon.stop()
    daemon.start()
    assert chat(daemon, "tiny", max_tokens=2).status_code == 200
    daemon.kill()
    daemon.start()
    deadline = time.monotonic() + 20
    while chat(daemon, "tiny", max_tokens=2).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_model_of_the_configuration_wins_over_one_of_the_store(tmp_path: Path) -> None:
    with Daemon(tmp_path / "one", models={}) as first:
        succeeds(first, "import", path=str(generator()), name="tiny")
        succeeds(first, "copy", source="tiny", destination="other")
    with Daemon(tmp_path / "one", models={"Tiny": generator(seed=2)}) as second:
        assert served(second) == {"Tiny", "other:latest"}


def test_one_outpost_pulls_from_another_and_only_from_those_it_may(tmp_path: Path) -> None:
    with Daemon(tmp_path / "one", models={}) as first:
        succeeds(first, "import", path=str(generator()), name="tiny")
        host = first.url.removeprefix("http://")
        config = f'[store.hosts]\n"{host}" = {{ insecure = true }}\n'
        with Daemon(tmp_path / "two", models={}, config=config) as second:
            succeeds(second, "pull", name=f"{host}/library/tiny", as_name="mine")
            assert chat(second, "mine", max_tokens=2).status_code == 200
            assert (
                ask(second, "POST", "/outpost/v1/operations", verb="pull", name="elsewhere").status_code
                == 403
            )
            digests = {
                row["digest"]
                for daemon in (first, second)
                for row in ask(daemon, "GET", "/outpost/v1/models").json()["models"]
            }
            assert len(digests) == 1


def quarantined(daemon: Daemon) -> dict[str, str]:
    """Reasons by digest."""
    notes = [json.loads(path.read_bytes()) for path in (daemon.data / "store/quarantine").glob("*.json")]
    return {note["digest"]: note["reason"] for note in notes}


def digest_of_file(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def refusal(daemon: Daemon, path: Path) -> str:
    """Of an import; the daemon lives and lists nothing."""
    last = operate(daemon, "import", path=str(path), name="bad")
    assert last["error"]["code"] == "model_invalid", last
    assert not served(daemon)
    assert not ask(daemon, "GET", "/outpost/v1/models").json()["models"]
    assert health(daemon)["live"]
    return str(last["error"]["message"])


def test_a_model_that_would_kill_a_runner_gets_no_name(daemon: Daemon, tmp_path: Path) -> None:
    """Its weights are integers: llama.cpp calls a null pointer at the first token. It is not taken in."""
    path = with_integer_weight(generator(), tmp_path / "kills.gguf")
    assert "has type I32, which llama.cpp cannot compute with" in refusal(daemon, path)
    assert "probe_failed" not in daemon.log()
    assert not quarantined(daemon)
    assert not list((daemon.data / "store/blobs/sha256").iterdir())


def test_a_model_that_answers_no_numbers_gets_no_name_and_is_in_quarantine(
    daemon: Daemon, tmp_path: Path
) -> None:
    path = with_nan_weights(generator(), tmp_path / "nan.gguf")
    assert "logits that are not finite" in refusal(daemon, path)
    (reason,) = quarantined(daemon).values()
    assert quarantined(daemon).keys() == {digest_of_file(path)}
    assert "not finite" in reason


def test_a_bad_adapter_is_in_quarantine_and_the_weights_beside_it_are_not(
    daemon: Daemon, tmp_path: Path
) -> None:
    bad = with_nan_weights(adapter(), tmp_path / "adapter.gguf")
    recipe = f"FROM {generator()}\nADAPTER {bad}\n"
    last = operate(daemon, "create", name="bad", modelfile=recipe, base_dir="/")
    assert last["error"]["code"] == "model_invalid", last
    assert quarantined(daemon).keys() == {digest_of_file(bad)}
    succeeds(daemon, "create", name="good", modelfile=f"FROM {digest_of_file(generator())}\n")


def test_a_template_that_never_ends_lets_a_model_in_that_does_not_chat(
    daemon: Daemon, tmp_path: Path
) -> None:
    path = tmp_path / "loops.gguf"
    tiny_gguf.write_generator(path, chat_template="{% for x in range(10**9) %}{% endfor %}")
    succeeds(daemon, "import", path=str(path), name="loops")
    refused = chat(daemon, "loops", max_tokens=2)
    assert refused.status_code == 400
    assert "template" in refused.json()["error"]["message"]
    assert complete(daemon, "loops", "hi").status_code == 200


def complete(daemon: Daemon, model: str, prompt: str) -> httpx.Response:
    return ask(daemon, "POST", "/v1/completions", model=model, prompt=prompt, max_tokens=2)


@pytest.mark.parametrize("num_batch", [1, 1 << 16])
@pytest.mark.parametrize(("num_ctx", "prompt"), [(4, "hi"), (100, "x" * 90), (1 << 24, "x" * 1500)])
def test_a_model_is_served_at_the_extremes_of_its_placement(
    tmp_path: Path, num_ctx: int, num_batch: int, prompt: str
) -> None:
    config = "[engine]\nn_seq_max = 1\n"  # the smallest batch that llama.cpp makes of it
    with Daemon(tmp_path, models={}, config=config) as daemon:
        recipe = f"FROM {generator()}\nPARAMETER num_ctx {num_ctx}\nPARAMETER num_batch {num_batch}\n"
        succeeds(daemon, "create", name="extreme", modelfile=recipe, base_dir="/")
        assert complete(daemon, "extreme", prompt).status_code == 200
        assert complete(daemon, "extreme", "x" * 5000).json()["error"]["code"] == "context_length_exceeded"
        assert "runner_failed" not in daemon.log()


def test_a_configured_model_of_a_context_of_three_tokens_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tiny_gguf.write_generator(tmp_path / "three.gguf", shape=tiny_gguf.Shape(n_ctx_train=3))
    with Daemon(tmp_path, models={"three": path}) as daemon:
        answer = complete(daemon, "three", "hi")
        assert "it was made for a context of 3 tokens; 8 are the least" in answer.json()["error"]["message"]
        assert "SIGABRT" not in daemon.log()
        assert health(daemon)["live"]


def test_a_broken_model_is_told_refused_and_repaired(daemon: Daemon) -> None:
    succeeds(daemon, "import", path=str(generator()), name="tiny")
    blobs = daemon.data / "store/blobs/sha256"
    largest = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
    content = largest.read_bytes()
    largest.unlink()
    largest.write_bytes(bytes(len(content)))
    operate(daemon, "verify")
    (broken,) = health(daemon)["store"]["broken"]
    assert broken["name"] == "tiny:latest"
    assert chat(daemon, "tiny", max_tokens=2).status_code >= 400
    succeeds(daemon, "import", path=str(generator()), name="tiny")
    assert not health(daemon)["store"]["broken"]
    assert chat(daemon, "tiny", max_tokens=2).status_code == 200


def test_bytes_of_a_model_that_was_removed_while_it_answered_go_soon_after_its_answer(daemon: Daemon) -> None:
    """The round that the removal brings finds them in use; the next regular one is a day away."""
    succeeds(daemon, "import", path=str(generator()), name="tiny")
    blobs = daemon.data / "store/blobs/sha256"
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "max_tokens": 200,
        "ignore_eos": True,
    }
    with httpx.stream(
        "POST", f"{daemon.url}/v1/chat/completions", json=body, timeout=60, trust_env=False
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
        runner = daemon.runners()[0]
        runner.suspend()
        succeeds(daemon, "remove", name="tiny")
        weights = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
        eventually(lambda: [path.name for path in blobs.iterdir()] == [weights.name])
        runner.resume()
        assert list(lines)[-2] == "data: [DONE]"
    eventually(lambda: not any(blobs.iterdir()))


def test_removed_bytes_are_gone_soon(daemon: Daemon) -> None:
    succeeds(daemon, "import", path=str(generator()), name="tiny")
    succeeds(daemon, "remove", name="tiny")
    blobs = daemon.data / "store/blobs/sha256"
    deadline = time.monotonic() + 10
    while any(blobs.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
