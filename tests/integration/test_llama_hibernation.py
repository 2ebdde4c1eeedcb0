"""KV state of real (tiny) models goes to disk and comes back in another context, bit by bit."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.wire.messages import Hibernation
from tests.fakes.tiny_gguf import Shape, write_generator, write_recurrent, write_windowed
from tests.integration.llama_desk import Answer, Desk

pytestmark = pytest.mark.integration

SYSTEM = [5 + (token * 37) % 250 for token in range(300)]
TURN = [*SYSTEM, 40, 41, 42]
WHOLE_BLOCKS = Shape(n_embd=128)


def rules(directory: Path, *, key: bytes = b"k" * 32, identity: str = "tiny") -> Hibernation:
    directory.mkdir(exist_ok=True)
    return Hibernation(
        directory=str(directory),
        key=key,
        identity=identity,
        limit_bytes=1 << 30,
        floor_bytes=0,
        min_tokens=64,
        write_bytes_per_min=1 << 30,
        stop_s=5.0,
    )


def put_to_sleep(desk: Desk, prompt: list[int]) -> Answer:
    answer = desk.ask(prompt, max_tokens=8)
    desk.engine.hibernate()
    return answer


def wake(desk: Desk) -> None:
    """Until the directory is read in."""
    deadline_s = time.monotonic() + 5.0
    while not desk.engine.stats().snapshots:
        assert time.monotonic() < deadline_s, "no snapshot was found"
        time.sleep(0.01)


def told(answer: Answer) -> list[tuple[int, float]]:
    return [(one.token, one.logprob) for one in answer.logprobs]


def ask_again(desk: Desk, prompt: list[int]) -> tuple[list[tuple[int, float]], int]:
    key = desk.generate(prompt, max_tokens=16)
    desk.finish()
    return told(desk.answer(key)), desk.usage(key).cached_tokens


@pytest.mark.parametrize("n_slots", [1, 2, 4, 33])
@pytest.mark.parametrize("cache_type", ["f16", "q8_0"])
def test_what_comes_back_gives_the_same_logits_as_what_stayed(
    tmp_path: Path, n_slots: int, cache_type: str
) -> None:
    """How many slots the contexts have does not matter: their number follows the free memory."""
    path = write_generator(tmp_path / "tiny.gguf", shape=WHOLE_BLOCKS)
    kept = rules(tmp_path / "kv")
    with Desk(path, n_seq_max=4, cache_type=cache_type, hibernation=kept) as desk:
        put_to_sleep(desk, SYSTEM)
        stayed, reused = ask_again(desk, TURN)
    with Desk(path, n_seq_max=n_slots, cache_type=cache_type, hibernation=kept) as desk:
        wake(desk)
        came_back, restored = ask_again(desk, TURN)
        assert desk.engine.stats().restored_tokens == 300
    assert (reused, restored) == (300, 300)
    assert came_back == stayed


def test_the_rest_of_a_longer_snapshot_is_cut_off(tmp_path: Path) -> None:
    path = write_generator(tmp_path / "tiny.gguf")
    kept = rules(tmp_path / "kv")
    with Desk(path, hibernation=kept) as desk:
        put_to_sleep(desk, [*SYSTEM, *range(100, 150)])
    other = [*SYSTEM, 9, 9, 9]
    with Desk(path) as desk:
        desk.ask(SYSTEM, max_tokens=1)
        stayed, _ = ask_again(desk, other)
    with Desk(path, hibernation=kept) as desk:
        wake(desk)
        assert ask_again(desk, other) == (stayed, 300)


def test_another_slot_while_others_run(tmp_path: Path) -> None:
    path = write_generator(tmp_path / "tiny.gguf")
    kept = rules(tmp_path / "kv")
    with Desk(path, hibernation=kept) as desk:
        put_to_sleep(desk, SYSTEM)
        stayed, _ = ask_again(desk, TURN)
    with Desk(path, hibernation=kept) as desk:
        wake(desk)
        running = desk.generate([7, 8, 9], max_tokens=60)
        desk.step()
        came_back, restored = ask_again(desk, TURN)
        assert restored == 300
        assert [token for token, _ in came_back] == [token for token, _ in stayed]
        assert len(desk.answer(running).tokens) == 60


@pytest.mark.parametrize(
    "changed",
    [
        lambda kept: {"n_ctx_seq": 640, "hibernation": kept},
        lambda kept: {"cache_type": "q8_0", "hibernation": kept},
        lambda kept: {"own_kernels": False, "hibernation": kept},
        lambda kept: {"hibernation": rules(Path(kept.directory), identity="another model")},
        lambda kept: {"hibernation": rules(Path(kept.directory), key=b"another model's key")},
    ],
    ids=["context", "cache type", "kernels", "identity", "key"],
)
def test_another_state_is_never_restored(
    tmp_path: Path, changed: Callable[[Hibernation], dict[str, object]]
) -> None:
    path = write_generator(tmp_path / "tiny.gguf", shape=WHOLE_BLOCKS)
    kept = rules(tmp_path / "kv")
    with Desk(path, hibernation=kept) as desk:
        put_to_sleep(desk, SYSTEM)
    with Desk(path, **changed(kept)) as desk:  # type: ignore[arg-type]
        time.sleep(0.2)
        _, restored = ask_again(desk, TURN)
        assert restored == 0
        assert desk.engine.stats().restored_tokens == 0


def test_a_damaged_snapshot_never_reaches_llama(tmp_path: Path) -> None:
    path = write_generator(tmp_path / "tiny.gguf")
    kept = rules(tmp_path / "kv")
    with Desk(path, hibernation=kept) as desk:
        put_to_sleep(desk, SYSTEM)
    with Desk(path, hibernation=kept) as desk:
        wake(desk)
        (snapshot,) = (tmp_path / "kv").iterdir()
        content = bytearray(snapshot.read_bytes())
        content[len(content) // 2] ^= 4
        snapshot.write_bytes(content)
        _, restored = ask_again(desk, TURN)
        assert restored == 0
        assert desk.engine.stats().snapshots_refused == 1


@pytest.mark.parametrize("write", [lambda path: write_windowed(path, window=64), write_recurrent])
def test_memory_that_cannot_be_cut_comes_back_where_the_prompt_goes_on_from_its_end(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    path = write(tmp_path / "tiny.gguf")
    kept = rules(tmp_path / "kv")
    with Desk(path, n_seq_max=2, hibernation=kept) as desk:
        answer = put_to_sleep(desk, SYSTEM)
        turn = [*SYSTEM, *answer.tokens[:-1], 50, 51]
        stayed, reused = ask_again(desk, turn)
    with Desk(path, n_seq_max=2, hibernation=kept) as desk:
        wake(desk)
        assert ask_again(desk, turn) == (stayed, 307)
        assert desk.engine.stats().restored_tokens == 307
    assert reused == 307


@pytest.mark.parametrize("write", [lambda path: write_windowed(path, window=64), write_recurrent])
def test_memory_that_cannot_be_cut_does_not_come_back_elsewhere(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    path = write(tmp_path / "tiny.gguf")
    kept = rules(tmp_path / "kv")
    with Desk(path, n_seq_max=2) as desk:
        cold, _ = ask_again(desk, TURN)
    with Desk(path, n_seq_max=2, hibernation=kept) as desk:
        put_to_sleep(desk, SYSTEM)
    with Desk(path, n_seq_max=2, hibernation=kept) as desk:
        wake(desk)
        assert ask_again(desk, TURN) == (cold, 0)
    with Desk(path, n_seq_max=3, hibernation=kept) as desk:  # its state depends on the number of slots
        time.sleep(0.2)
        assert desk.engine.stats().snapshots == 0
