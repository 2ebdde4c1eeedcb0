"""The corpus of hostile GGUF files: the static check refuses or admits; what it admits kills no process."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import pytest
from gguf import PoolingType

from appliance.errors import ModelInvalid
from appliance.gguf.architectures import ARCHITECTURES
from appliance.gguf.values import ValueType
from appliance.store.admission import GgufKind, check
from tests.fakes import tiny_gguf
from tests.fakes.gguf_corpus.kinds import KINDS
from tests.fakes.gguf_corpus.mutations import byte_mutation, field_mutation, projector_mutation
from tests.fakes.gguf_corpus.seeds import SEEDS, generator

pytestmark = [pytest.mark.alone, pytest.mark.integration, pytest.mark.timeout(120)]

FIELD_MUTATIONS = int(os.environ.get("OUTPOST_FIELD_MUTATIONS", "1000"))
BYTE_MUTATIONS = int(os.environ.get("OUTPOST_BYTE_MUTATIONS", "200"))
PROJECTOR_MUTATIONS = int(os.environ.get("OUTPOST_PROJECTOR_MUTATIONS", "200"))
"""CI's numbers; a night can afford fifty times as many."""
CHECK_S = 2.0
CHECK_BYTES = 200 * 1024 * 1024


class Loader:
    """The fork server: each file is loaded in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._base = folder / "base.gguf"
        self._base.write_bytes(generator().render())
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.gguf_corpus.fork_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "GGML_NO_BACKTRACE": "1", "OPENBLAS_NUM_THREADS": "1"},
        )

    def load(self, path: Path, kind: GgufKind) -> tuple[str, str]:
        """Outcome and detail."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        case = {"path": str(path), "kind": str(kind), "base": str(self._base)}
        self._process.stdin.write(json.dumps(case) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["outcome"], answer["detail"]

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loader]:
    made = Loader(tmp_path_factory.mktemp("base"))
    yield made
    made.close()


def admitted(path: Path, name: str) -> GgufKind | None:
    """None: refused. Any other exception fails the test, and so does a slow or greedy check."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        return check([path], model=name).kind
    except ModelInvalid:
        return None
    finally:
        assert time.monotonic() - began < CHECK_S, name
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown * 1024 < CHECK_BYTES, name


def run(cases: Iterable[tuple[str, bytes]], folder: Path, loader: Loader) -> Counter[str]:
    """Check each case and load the admitted ones; fails with the names of those that died."""
    outcomes: Counter[str] = Counter()
    dead: list[str] = []
    path = folder / "case.gguf"
    for name, content in cases:
        path.write_bytes(content)
        kind = admitted(path, name)
        if kind is None:
            outcomes["not admitted"] += 1
            continue
        outcome, detail = loader.load(path, kind)
        outcomes[outcome] += 1
        if outcome == "died":
            dead.append(f"{name}: {detail}")
    assert not dead, dead
    return outcomes


def test_hand_made_files_are_judged_as_written_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "case.gguf"
    wrong = []
    for kind in KINDS:
        path.write_bytes(kind.render())
        if (admitted(path, kind.name) is not None) != kind.admitted:
            wrong.append(kind.name)
    assert not wrong
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 94


def test_admitted_hand_made_files_kill_no_process(tmp_path: Path, loader: Loader) -> None:
    outcomes = run(((kind.name, kind.render()) for kind in KINDS if kind.admitted), tmp_path, loader)
    assert outcomes["loaded"] >= 5


def test_admitted_random_files_kill_no_process(tmp_path: Path, loader: Loader) -> None:
    mutations = chain(map(field_mutation, range(FIELD_MUTATIONS)), map(byte_mutation, range(BYTE_MUTATIONS)))
    outcomes = run(((one.name, one.content) for one in mutations), tmp_path, loader)
    # Neither everything nor nothing passes: the corpus is worth its name.
    total = FIELD_MUTATIONS + BYTE_MUTATIONS
    assert outcomes["not admitted"] > total // 2
    assert outcomes["loaded"] > total // 20


def test_random_projectors_are_judged_and_kill_no_process(tmp_path: Path, loader: Loader) -> None:
    """Nothing of ours loads one as what it is: a manifest can only give it to the loader of models."""
    mutations = map(projector_mutation, range(PROJECTOR_MUTATIONS))
    outcomes = run(((one.name, one.content) for one in mutations), tmp_path, loader)
    assert outcomes["not admitted"] > PROJECTOR_MUTATIONS // 2
    assert outcomes["loaded"] == 0


def as_architecture(name: str) -> bytes:
    """The seed's file under another name, keys and all: not what that architecture expects."""
    raw = generator()
    old = raw.pair("general.architecture").value[8:]
    for pair in raw.pairs:
        pair.key.text = pair.key.text.replace(old + b".", name.encode() + b".")
    return raw.set("general.architecture", ValueType.STRING, name).render()


def test_no_architecture_lets_a_wrong_model_kill_a_process(tmp_path: Path, loader: Loader) -> None:
    cases = ((f"seed as {name}", as_architecture(name)) for name in sorted(ARCHITECTURES))
    outcomes = run(cases, tmp_path, loader)
    assert outcomes["loaded"] > 10


@pytest.mark.parametrize("name", SEEDS)
def test_seeds_are_admitted_and_load(name: str, tmp_path: Path, loader: Loader) -> None:
    path = tmp_path / "seed.gguf"
    path.write_bytes(SEEDS[name]().render())
    assert loader.load(path, check([path], model=name).kind) == ("loaded", "")


def test_the_tiny_models_of_the_tests_are_admitted(tmp_path: Path) -> None:
    tiny_gguf.write_generator(tmp_path / "generator.gguf")
    tiny_gguf.write_generator(tmp_path / "bare.gguf", chat_template=None)
    tiny_gguf.write_adapter(tmp_path / "adapter.gguf")
    for pooling in (PoolingType.LAST, PoolingType.MEAN):
        tiny_gguf.write_embedder(tmp_path / f"embedder-{pooling.name}.gguf", pooling=pooling)
    for pooling in (PoolingType.MEAN, PoolingType.CLS, PoolingType.RANK):
        tiny_gguf.write_encoder(tmp_path / f"encoder-{pooling.name}.gguf", pooling=pooling)
    kinds = Counter(check([path], model=path.stem).kind for path in tmp_path.iterdir())
    assert kinds == {GgufKind.MODEL: 7, GgufKind.ADAPTER: 1}


def test_the_starter_model_is_admitted_within_a_quarter_of_a_second() -> None:
    path = Path.home() / ".cache" / "outpost" / "models" / "SmolLM2-135M-Instruct-Q4_1.gguf"
    if not path.exists():
        pytest.fail("the starter model is missing; `make` brings it")
    seconds = min(timed(path) for _ in range(5))
    facts = check([path], model="starter")
    assert (facts.architecture, facts.quantization, facts.parameters) == ("llama", "Q4_1", 134_515_008)
    assert seconds < 0.25


def timed(path: Path) -> float:
    began = time.process_time()
    check([path], model="starter")
    return time.process_time() - began
