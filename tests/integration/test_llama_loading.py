"""Files that are no models, and what opening and closing leaves behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from appliance.daemon.accelerators import llama_libraries
from tests.fakes.tiny_gguf import Shape, write_generator
from tests.integration.llama_desk import Desk

pytestmark = pytest.mark.integration

CHILD = """
import sys
from pathlib import Path
from appliance.errors import ModelInvalid
from tests.integration.llama_desk import Desk
for path in sys.argv[1:]:
    try:
        with Desk(Path(path)) as desk:
            print("loaded", desk.engine.facts.n_vocab)
    except ModelInvalid as error:
        print("invalid", error)
"""
"""llama.cpp may abort on a hostile file: that must not take the tests along."""

ROOT = Path(__file__).parents[2]


def said_of(*paths: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths)
    return lines


def test_a_file_cut_anywhere_is_invalid(tiny_model: Path, tmp_path: Path) -> None:
    whole = tiny_model.read_bytes()
    paths = []
    for size in (0, 3, 4, 8, 24, 100, 2000, len(whole) // 4, len(whole) // 2, len(whole) - 1):
        paths.append(tmp_path / f"{size}.gguf")
        paths[-1].write_bytes(whole[:size])
    for line in said_of(*paths):
        assert line.startswith("invalid") and "does not load: " in line


def test_zeros_noise_and_text_are_invalid(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    contents = [
        b"\0" * 100_000,
        b"GGUF" + b"\0" * 100_000,
        b"GGUF" + b"\xff" * 100_000,
        rng.bytes(100_000),
        b"GGUF\x03\0\0\0" + rng.bytes(100_000),
        b"<html>not found</html>",
    ]
    paths = [tmp_path / f"{number}.gguf" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    for line in said_of(*paths):
        assert line.startswith("invalid")


def test_a_model_whose_weights_are_zero_bytes_or_nan_is_named(tiny_model: Path, tmp_path: Path) -> None:
    """Zeros are finite and load; NaN is found at warm-up."""
    reader = gguf.GGUFReader(tiny_model)
    start = min(int(tensor.data_offset) for tensor in reader.tensors)
    whole = tiny_model.read_bytes()
    zeroed, poisoned = tmp_path / "zeroed.gguf", tmp_path / "nan.gguf"
    zeroed.write_bytes(whole[:start] + b"\0" * (len(whole) - start))
    poisoned.write_bytes(whole[:start] + np.full((len(whole) - start) // 4, np.nan, np.float32).tobytes())
    first, second = said_of(zeroed, poisoned)
    assert first.startswith("loaded")
    assert second.startswith("invalid") and "not finite" in second


def test_a_missing_file_is_invalid(tmp_path: Path) -> None:
    assert said_of(tmp_path / "none.gguf")[0].startswith("invalid")


@pytest.mark.parametrize("position", [0.02, 0.1, 0.2])
def test_a_flipped_header_never_ends_the_process_without_a_word(
    tiny_model: Path, tmp_path: Path, position: float
) -> None:
    """It loads, is invalid, or the child dies: but a dead child is what a runner is for. Here none dies."""
    whole = bytearray(tiny_model.read_bytes())
    at = int(position * 20_000)
    whole[at] ^= 0x40
    path = tmp_path / "flipped.gguf"
    path.write_bytes(whole)
    assert said_of(path)[0].split()[0] in {"loaded", "invalid"}


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def grown_by(action: Callable[[], None], *, times: int) -> float:
    """Bytes that each repetition leaves behind: a leak grows in every series, a heap that finds its size in
    the first ones only.
    """
    series = []
    for _ in range(4):
        before = rss_bytes()
        for _ in range(times):
            action()
        series.append((rss_bytes() - before) / times)
    return min(series[1:])


def test_opening_and_closing_leaves_nothing_behind(tmp_path: Path) -> None:
    path = write_generator(tmp_path / "m.gguf", shape=Shape(n_layer=4, n_embd=128))

    def open_and_close() -> None:
        with Desk(path, n_ctx_seq=512, n_seq_max=4) as desk:
            desk.generate("left in the middle")
            desk.step()

    assert grown_by(open_and_close, times=15) < 150_000, "a model of megabytes stays"


def test_a_load_that_fails_leaves_nothing_behind(tmp_path: Path, tiny_model: Path) -> None:
    garbage = tmp_path / "garbage.gguf"
    garbage.write_bytes(b"GGUF" + b"\xff" * 1000)
    model = write_generator(tmp_path / "m.gguf", shape=Shape(n_layer=4, n_embd=128))

    def fail() -> None:
        with pytest.raises(Exception, match="does not load"):
            Desk(model, speculation=True, draft=garbage)

    assert grown_by(fail, times=15) < 150_000


def test_requests_leave_nothing_behind(tiny_model: Path) -> None:
    with Desk(tiny_model, speculation=True) as desk:

        def ask() -> None:
            for _ in range(20):
                desk.generate("Hello world", max_tokens=8)
            desk.finish()
            desk._deltas.clear()

        assert grown_by(ask, times=15) < 100_000
    assert not desk.generator._requests


SMALL = """
import sys
from pathlib import Path
from appliance.errors import OutpostError
from tests.integration.llama_desk import Desk
for text in sys.argv[1:]:
    path, n_ctx_seq, n_tokens, draft = text.split("|")
    try:
        drafts = {"speculation": True, "draft": Path(draft)} if draft else {}
        with Desk(Path(path), n_ctx_seq=int(n_ctx_seq), n_seq_max=1, **drafts) as desk:
            answer = desk.ask([40] * int(n_tokens), max_tokens=None)
            print(desk.engine.facts.n_ctx_seq, len(answer.tokens), *desk.failures.values())
    except OutpostError as error:
        print("invalid", error)
"""
"""Contexts so small that a step hardly fits: `path|n_ctx_seq|tokens of the prompt|draft`."""


def served_in(*cases: tuple[Path, int, int], draft: Path | None = None) -> list[str]:
    """What a process says of each: its context and the tokens of an answer to the end, or its error."""
    argv = [f"{path}|{n_ctx_seq}|{n_tokens}|{draft or ''}" for path, n_ctx_seq, n_tokens in cases]
    command = [sys.executable, "-c", SMALL, *argv]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
    return done.stdout.splitlines()


def test_the_smallest_contexts_are_served_to_their_last_token(tiny_model: Path) -> None:
    """llama.cpp aborts at a batch larger than the context, whatever size of batch was asked for."""
    cases = [(tiny_model, 4, 5), (tiny_model, 8, 7), (tiny_model, 100, 90), (tiny_model, 255, 200)]
    assert served_in(*cases) == ["8 3", "8 1", "100 10", "255 55"]


def test_a_draft_of_the_smallest_context_drafts_what_it_can(tiny_model: Path, tmp_path: Path) -> None:
    draft = write_generator(tmp_path / "draft.gguf", seed=2, shape=Shape(n_ctx_train=32))
    assert served_in((tiny_model, 100, 60), draft=draft) == ["100 40"]


def test_a_model_made_for_less_than_one_step_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    def made_for(n_ctx_train: int) -> Path:
        shape = Shape(n_ctx_train=n_ctx_train)
        return write_generator(tmp_path / f"{n_ctx_train}.gguf", shape=shape)

    few, enough = [made_for(count) for count in (1, 3, 4, 7)], made_for(8)
    for line in served_in(*((path, 512, 2) for path in few)):
        assert line.startswith("invalid") and "8 are the least" in line
    assert served_in((enough, 512, 5)) == ["8 3"]
    (line,) = served_in((tiny_model, 512, 2), draft=few[0])
    assert "(its draft model)" in line and "a context of 1 tokens" in line


def test_the_libraries_of_the_runners_are_found_without_an_import() -> None:
    found = llama_libraries()
    assert found is not None
    assert next(found.glob("libllama.so*"), None) is not None
