"""The engine with a disk, over the fake backend: its text tells whether the state that came back is right."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from appliance.engine.engine import Engine
from appliance.engine.hibernation.snapshot import fingerprint_of
from appliance.engine.sequence import ActiveRequest
from appliance.errors import EngineFault
from appliance.wire.messages import EngineStats
from tests.fakes.engines import Heard, engine_over, request, run, step_all
from tests.fakes.fake_backend import FakeBackend, FakeClock, expected
from tests.fakes.hibernation import Later, rules, sleeper

SYSTEM = list(range(1, 31))
OTHER = list(range(60, 90))
ASKED = [*SYSTEM, 40, 41]


def written(prompt: list[int], n_tokens: int = 6) -> str:
    return "".join(f"<{token}>" for token in expected(prompt, n_tokens))


def engine_in(
    directory: Path, clock: FakeClock, *, n_slots: int = 1, **kind: object
) -> tuple[Engine, FakeBackend]:
    backend = FakeBackend(clock=clock, n_slots=n_slots)
    return engine_over(backend, clock, sleep=sleeper(directory, backend, clock, **kind)), backend  # type: ignore[arg-type]


def put_to_sleep(directory: Path, clock: FakeClock, *asked: ActiveRequest) -> EngineStats:
    """A runner that answers, and is told to end."""
    engine, _ = engine_in(directory, clock, n_slots=4)
    run(engine, *(asked or (request(1, SYSTEM),)))
    engine.hibernate()
    return engine.stats()


def test_a_prefix_comes_back_in_the_next_runner(tmp_path: Path, clock: FakeClock) -> None:
    put_to_sleep(tmp_path, clock)
    engine, _ = engine_in(tmp_path, clock)
    heard = run(engine, request(2, ASKED))
    assert heard.usage(2).cached_tokens == 30
    assert heard.text(2) == written(ASKED)
    assert engine.stats().restored_tokens == 30
    assert engine.stats().prompt_tokens == 2


def test_the_answer_is_part_of_what_comes_back(tmp_path: Path, clock: FakeClock) -> None:
    put_to_sleep(tmp_path, clock)
    engine, _ = engine_in(tmp_path, clock)
    turn = [*SYSTEM, *expected(SYSTEM, 6), 50]
    heard = run(engine, request(2, turn))
    assert heard.usage(2).cached_tokens == 35
    assert heard.text(2) == written(turn)


def test_nothing_comes_back_to_another_key(tmp_path: Path, clock: FakeClock) -> None:
    put_to_sleep(tmp_path, clock, request(1, SYSTEM, scope="alice"))
    engine, _ = engine_in(tmp_path, clock)
    heard = run(engine, request(2, ASKED, scope="bob"))
    assert heard.usage(2).cached_tokens == 0
    assert engine.stats().restored_tokens == 0


def test_a_shared_prefix_comes_back_to_all_keys_and_the_answer_to_none(
    tmp_path: Path, clock: FakeClock
) -> None:
    put_to_sleep(tmp_path, clock, request(1, SYSTEM, scope="alice", shared=True))
    engine, backend = engine_in(tmp_path, clock)
    turn = [*SYSTEM, *expected(SYSTEM, 6), 50]
    heard = run(engine, request(2, turn, scope="bob"))
    assert heard.usage(2).cached_tokens == 30
    assert heard.text(2) == written(turn)
    assert len(backend.slots[0]) == 42


def test_adapters_are_part_of_who_may_have_it(tmp_path: Path, clock: FakeClock) -> None:
    put_to_sleep(tmp_path, clock, request(1, SYSTEM, adapters=[("lora", 1.0)], shared=True))
    engine, _ = engine_in(tmp_path, clock, n_slots=2)
    assert run(engine, request(2, ASKED)).usage(2).cached_tokens == 0
    again = run(engine, request(3, ASKED, adapters=[("lora", 1.0)], scope="bob"))
    assert again.usage(3).cached_tokens == 30


def test_a_request_that_wants_no_cache_leaves_nothing_and_gets_nothing(
    tmp_path: Path, clock: FakeClock
) -> None:
    def uncached(key: int) -> ActiveRequest:
        asked = request(key, SYSTEM)
        asked.generate = msgspec.structs.replace(asked.generate, cache_prompt=False)
        return asked

    assert put_to_sleep(tmp_path, clock, uncached(1)).snapshots_written == 0
    put_to_sleep(tmp_path, clock)
    engine, _ = engine_in(tmp_path, clock)
    assert run(engine, uncached(2)).usage(2).cached_tokens == 0


def test_what_another_prompt_overwrites_comes_back_without_a_restart(
    tmp_path: Path, clock: FakeClock
) -> None:
    engine, _ = engine_in(tmp_path, clock)
    run(engine, request(1, SYSTEM))
    run(engine, request(2, OTHER))
    heard = run(engine, request(3, ASKED))
    assert heard.usage(3).cached_tokens == 30
    assert heard.text(3) == written(ASKED)
    assert engine.stats().snapshots_written == 2


def test_a_prefix_used_once_and_short_is_not_written_when_it_is_overwritten(
    tmp_path: Path, clock: FakeClock
) -> None:
    engine, _ = engine_in(tmp_path, clock)
    run(engine, request(1, SYSTEM[:10], max_tokens=2))
    run(engine, request(2, OTHER))
    assert engine.stats().snapshots_written == 0


def test_a_prefix_that_is_there_is_not_written_again(tmp_path: Path, clock: FakeClock) -> None:
    put_to_sleep(tmp_path, clock)
    engine, _ = engine_in(tmp_path, clock)
    run(engine, request(2, SYSTEM))
    engine.hibernate()
    assert engine.stats().snapshots_written == 0
    assert engine.stats().snapshots == 1


def test_a_conversation_that_has_grown_takes_the_place_of_what_it_began_with(
    tmp_path: Path, clock: FakeClock
) -> None:
    put_to_sleep(tmp_path, clock)
    turn = [*SYSTEM, *expected(SYSTEM, 6), *range(50, 65)]
    assert put_to_sleep(tmp_path, clock, request(2, turn)).snapshots == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_wrong_fingerprint_is_never_restored(tmp_path: Path, clock: FakeClock) -> None:
    put_to_sleep(tmp_path, clock)
    for trial in range(30):
        other = fingerprint_of({"model": "fake", "trial": trial})
        engine, _ = engine_in(tmp_path, clock, fingerprint=other)
        heard = run(engine, request(2, ASKED))
        assert heard.usage(2).cached_tokens == 0
        assert heard.text(2) == written(ASKED)


@pytest.mark.parametrize("where", [8, 41, 105, 165, 300, -1])
def test_a_damaged_snapshot_costs_time_and_nothing_else(tmp_path: Path, clock: FakeClock, where: int) -> None:
    put_to_sleep(tmp_path, clock)
    engine, _ = engine_in(tmp_path, clock)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(content)
    heard = run(engine, request(2, ASKED))
    assert heard.usage(2).cached_tokens == 0
    assert heard.text(2) == written(ASKED)
    assert engine.stats().snapshots_refused == 1
    assert not path.exists()


def test_a_snapshot_that_is_gone_is_as_if_it_had_never_been(tmp_path: Path, clock: FakeClock) -> None:
    put_to_sleep(tmp_path, clock)
    engine, _ = engine_in(tmp_path, clock)
    for path in tmp_path.iterdir():
        path.unlink()
    heard = run(engine, request(2, ASKED))
    assert heard.usage(2).cached_tokens == 0
    assert heard.text(2) == written(ASKED)
    assert engine.stats().snapshots == 0
    assert engine.stats().snapshots_refused == 0


def test_a_state_that_llama_does_not_take_is_computed_and_its_file_removed(
    tmp_path: Path, clock: FakeClock
) -> None:
    put_to_sleep(tmp_path, clock)

    class Refusing(FakeBackend):
        def write_slot(self, slot: int, data: object) -> None:
            raise EngineFault(reason="told to")

    backend = Refusing(clock=clock, n_slots=1)
    engine = engine_over(backend, clock, sleep=sleeper(tmp_path, backend, clock))
    heard = run(engine, request(2, ASKED))
    assert heard.text(2) == written(ASKED)
    assert engine.stats().snapshots_refused == 1
    assert list(tmp_path.iterdir()) == []


def test_others_go_on_while_one_waits_for_its_snapshot(tmp_path: Path, clock: FakeClock) -> None:
    put_to_sleep(tmp_path, clock)
    reader = Later()
    engine, _ = engine_in(tmp_path, clock, n_slots=2, reader=reader)
    reader.let()  # the directory is read in
    heard = Heard()
    engine.step()
    engine.submit(request(2, ASKED))
    engine.submit(request(3, OTHER, max_tokens=3))
    for _ in range(6):
        heard.take(engine.step())
    assert heard.usage(3).completion_tokens == 3
    assert not heard.text(2)
    assert engine.has_work()
    reader.let()
    step_all(engine, heard)
    assert heard.usage(2).cached_tokens == 30
    assert heard.text(2) == written(ASKED)


def test_a_disk_that_hangs_is_waited_for_once_and_not_longer_than_computing_takes(
    tmp_path: Path, clock: FakeClock
) -> None:
    put_to_sleep(tmp_path, clock)
    reader = Later()
    engine, _ = engine_in(tmp_path, clock, n_slots=2, reader=reader)
    reader.let()
    heard = Heard()
    engine.step()
    engine.submit(request(2, ASKED))
    engine.step()
    clock.now_s += 10.0
    step_all(engine, heard)
    assert heard.text(2) == written(ASKED)
    assert heard.usage(2).cached_tokens == 0
    again = run(engine, request(3, [*SYSTEM, 55]))
    assert again.usage(3).queue_s < 0.1


def test_several_that_want_one_snapshot_have_it_read_once(tmp_path: Path, clock: FakeClock) -> None:
    put_to_sleep(tmp_path, clock)
    reader = Later()
    engine, _ = engine_in(tmp_path, clock, n_slots=4, reader=reader)
    reader.let()
    heard = Heard()
    engine.step()
    prompts = {key: [*SYSTEM, 40 + key] for key in range(4)}
    for key, prompt in prompts.items():
        heard.take(engine.submit(request(key, prompt)))
    engine.step()
    assert len(reader.jobs) == 1
    reader.let()
    step_all(engine, heard)
    for key, prompt in prompts.items():
        assert heard.text(key) == written(prompt)
        assert heard.usage(key).cached_tokens == 30
    assert engine.stats().restored_tokens == 30


def test_a_cancelled_request_lets_its_snapshot_go(tmp_path: Path, clock: FakeClock) -> None:
    put_to_sleep(tmp_path, clock)
    reader = Later()
    engine, _ = engine_in(tmp_path, clock, reader=reader)
    reader.let()
    engine.step()
    engine.submit(request(2, ASKED))
    engine.step()
    engine.cancel(2)
    assert not engine.has_work()
    reader.let()
    assert run(engine, request(3, OTHER)).text(3) == written(OTHER)


def test_what_runs_when_the_model_is_told_to_go_is_kept_as_far_as_it_came(
    tmp_path: Path, clock: FakeClock
) -> None:
    engine, _ = engine_in(tmp_path, clock)
    engine.submit(request(1, SYSTEM))
    engine.step()
    engine.hibernate()
    assert engine.stats().snapshots_written == 1
    again, _ = engine_in(tmp_path, clock)
    heard = run(again, request(2, ASKED))
    assert heard.usage(2).cached_tokens >= 6
    assert heard.text(2) == written(ASKED)


def test_no_time_to_stop_means_nothing_is_written(tmp_path: Path, clock: FakeClock) -> None:
    engine, _ = engine_in(tmp_path, clock, told=rules(tmp_path, stop_s=0.0))
    run(engine, request(1, SYSTEM))
    engine.hibernate()
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_hangs_is_not_waited_for_past_the_deadline(tmp_path: Path, clock: FakeClock) -> None:
    class Passing(FakeClock):
        def __call__(self) -> float:
            self.now_s += 0.2
            return self.now_s

    backend = FakeBackend(clock=clock)
    engine = engine_over(backend, clock, sleep=sleeper(tmp_path, backend, Passing(), writer=Later()))
    run(engine, request(1, SYSTEM), request(2, OTHER))
    engine.hibernate()
    assert engine.stats().snapshots_written == 0


def test_a_prefix_is_written_ahead_when_nobody_asks_for_long(tmp_path: Path, clock: FakeClock) -> None:
    engine, _ = engine_in(tmp_path, clock, n_slots=2)
    run(engine, request(1, SYSTEM))
    engine.rest()
    assert engine.stats().snapshots_written == 0
    clock.now_s += 6.0
    engine.rest()
    engine.rest()
    assert engine.stats().snapshots_written == 1


def test_the_bound_of_the_directory_holds(tmp_path: Path, clock: FakeClock) -> None:
    limit_bytes = 1000
    engine, _ = engine_in(tmp_path, clock, told=rules(tmp_path, limit_bytes=limit_bytes))
    for key in range(6):
        run(engine, request(key, [key + 1, *range(50, 80)]))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= limit_bytes
    engine.hibernate()
    stats = engine.stats()
    assert stats.snapshots_written == 6
    assert stats.snapshots == 2
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == stats.snapshot_bytes <= limit_bytes


def test_a_snapshot_larger_than_the_bound_is_not_written(tmp_path: Path, clock: FakeClock) -> None:
    engine, _ = engine_in(tmp_path, clock, told=rules(tmp_path, limit_bytes=100))
    run(engine, request(1, SYSTEM))
    engine.hibernate()
    assert list(tmp_path.iterdir()) == []


def test_flash_is_spared_when_prompts_come_and_go(tmp_path: Path, clock: FakeClock) -> None:
    told = msgspec.structs.replace(rules(tmp_path), write_bytes_per_min=40)
    engine, _ = engine_in(tmp_path, clock, told=told)
    for key in range(6):
        run(engine, request(key, [key + 1, *range(50, 80)]))
    assert engine.stats().snapshots_written == 2


def test_memory_that_cannot_be_cut_comes_back_whole_or_not_at_all(tmp_path: Path, clock: FakeClock) -> None:
    put_to_sleep(tmp_path, clock, request(1, SYSTEM, speculates=False))
    engine, backend = engine_in(tmp_path, clock, whole=True)
    backend.can_cut = False
    turn = [*SYSTEM, *expected(SYSTEM, 6), 50]
    heard = run(engine, request(2, turn, speculates=False))
    assert heard.usage(2).cached_tokens == 35
    assert heard.text(2) == written(turn)
    other, backend = engine_in(tmp_path, clock, whole=True)
    backend.can_cut = False
    heard = run(other, request(3, ASKED, speculates=False))
    assert heard.usage(3).cached_tokens == 0
    assert heard.text(3) == written(ASKED)


def test_a_directory_that_cannot_be_used_costs_nothing(tmp_path: Path, clock: FakeClock) -> None:
    gone = tmp_path / "gone"
    engine, _ = engine_in(gone, clock)
    heard = run(engine, request(1, SYSTEM))
    run(engine, request(2, OTHER))
    engine.hibernate()
    assert heard.text(1) == written(SYSTEM)
    assert engine.stats().snapshots_failed == 2
    assert engine.stats().snapshots == 0


def test_what_a_fault_left_undefined_is_not_kept(tmp_path: Path, clock: FakeClock) -> None:
    engine, backend = engine_in(tmp_path, clock)
    engine.submit(request(1, SYSTEM))
    backend.fail_next = 1
    engine.step()
    engine.hibernate()
    assert list(tmp_path.iterdir()) == []


def test_a_link_planted_by_somebody_else_is_not_followed(tmp_path: Path, clock: FakeClock) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    put_to_sleep(outside, clock)
    (snapshot,) = outside.iterdir()
    (inside / snapshot.name).symlink_to(snapshot)
    engine, _ = engine_in(inside, clock)
    assert run(engine, request(2, ASKED)).usage(2).cached_tokens == 0
    assert snapshot.exists()
    assert (inside / snapshot.name).readlink() == snapshot
