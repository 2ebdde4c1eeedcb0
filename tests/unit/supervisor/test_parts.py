"""The small parts: faults, patience, preflight, causes, spawner."""

from __future__ import annotations

import signal
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.errors import ClientGone, EngineFault, InvalidRequest, ModelInvalid, Overloaded
from appliance.supervisor import preflight
from appliance.supervisor.faults import believed, fresh
from appliance.supervisor.patience import Patience
from appliance.supervisor.process import cause_in_words
from appliance.supervisor.spawner import Spawner
from appliance.wire.messages import WireError

HEADER = struct.Struct("<4sIQQ")


def test_a_fresh_error_is_equal_in_all_but_identity() -> None:
    error = Overloaded(waiting=1, limit=2, retry_after_s=3.0)
    copy = fresh(error)
    assert copy is not error
    assert type(copy) is Overloaded
    assert copy.fields == error.fields


def test_an_error_of_the_runner_is_believed_when_it_is_sane() -> None:
    error = believed(WireError(name="InvalidRequest", fields={"reason": "no", "param": "prompt"}))
    assert isinstance(error, InvalidRequest)
    assert error.param == "prompt"


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("Exception", {}),
        ("InvalidRequest", {"what": 1}),
        ("Overloaded", {"waiting": 1, "limit": 1, "retry_after_s": "soon"}),
        ("Overloaded", {"waiting": 1, "limit": 1, "retry_after_s": float("nan")}),
        ("Overloaded", {"waiting": 1, "limit": 1, "retry_after_s": -1}),
        ("RunnerDied", {"model": "m", "cause": "x", "retry_after_s": 1e12}),
        ("InvalidRequest", {"reason": "x" * 100_000, "param": None}),
        ("ModelNotFound", {"model": "m", "available": 3}),
    ],
)
def test_an_error_that_makes_no_sense_becomes_an_engine_fault(name: str, fields: dict[str, object]) -> None:
    assert isinstance(believed(WireError(name=name, fields=fields)), EngineFault)


def test_patience_ends_with_the_answer_the_deadline_or_the_client() -> None:
    assert Patience(10.0).wait(lambda _: "here") == "here"
    assert Patience(0.0).wait(lambda _: None) is None
    with pytest.raises(ClientGone):
        Patience(10.0, lambda: True).wait(lambda _: None)


def test_patience_asks_about_the_client_every_quarter_of_a_second() -> None:
    waits: list[float] = []
    answers = iter([None, None, "here"])

    def take(timeout_s: float) -> str | None:
        waits.append(timeout_s)
        return next(answers)

    assert Patience(10.0, lambda: False).wait(take) == "here"
    assert waits == [0.25, 0.25, 0.25]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 bytes"),
        (b"GGUF\x03", "5 bytes"),
        (HEADER.pack(b"GGML", 3, 0, 0), "begins with b'GGML'"),
        (HEADER.pack(b"GGUF", 1, 0, 0), "version 1"),
        (HEADER.pack(b"GGUF", 0x03000000, 0, 0), "version 50331648"),
        (HEADER.pack(b"GGUF", 3, 2**63, 0), "9223372036854775808 tensors"),
        (HEADER.pack(b"GGUF", 3, 0, 2**32), "4294967296 values"),
    ],
)
def test_preflight_names_what_is_wrong(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelInvalid, match=reason):
        preflight.check("m", str(path))


def test_preflight_passes_a_header_of_either_version(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    for version in (2, 3):
        path.write_bytes(HEADER.pack(b"GGUF", version, 3, 4))
        preflight.check("m", str(path))


def test_preflight_refuses_what_is_no_file(tmp_path: Path, mkfifo: Callable[[], Path]) -> None:
    for path, reason in (
        (tmp_path / "none", "no such file"),
        (tmp_path, "not a regular file"),
        (mkfifo(), "not a regular file"),
    ):
        with pytest.raises(ModelInvalid, match=reason):
            preflight.check("m", str(path))


@pytest.fixture
def mkfifo(tmp_path: Path) -> Callable[[], Path]:
    import os

    def make() -> Path:
        os.mkfifo(tmp_path / "fifo")
        return tmp_path / "fifo"

    return make


def test_a_stamp_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    assert preflight.stamp(str(path)) is None
    assert preflight.stamp("") is None
    path.write_bytes(b"1")
    first = preflight.stamp(str(path))
    assert first == preflight.stamp(str(path))
    path.write_bytes(b"12")
    assert preflight.stamp(str(path)) != first


@pytest.mark.parametrize(
    ("code", "last", "words"),
    [
        (-signal.SIGSEGV, None, "SIGSEGV"),
        (-signal.SIGKILL, None, "SIGKILL, perhaps by the kernel for want of memory"),
        (3, "bye", "exit code 3; last words: bye"),
        (-200, None, "signal 200"),
    ],
)
def test_a_cause_of_death_is_told_in_words(code: int, last: str | None, words: str) -> None:
    assert cause_in_words(code, last) == words


def test_the_spawner_runs_jobs_in_turn_and_beats_until_it_is_stopped() -> None:
    spawner = Spawner()
    seen: list[tuple[str, bool]] = []
    spawner.submit(lambda is_open: seen.append(("first", is_open)))
    spawner.submit(lambda is_open: seen.append(("second", is_open)))
    spawner.stop()
    spawner.run(beat=lambda: seen.append(("beat", True)))
    assert seen == [("first", True), ("beat", True), ("second", True), ("beat", True)]


def test_a_closed_spawner_answers_every_job_with_no() -> None:
    spawner = Spawner()
    seen: list[bool] = []
    spawner.stop()
    spawner.submit(seen.append)
    spawner.run()
    spawner.close()
    spawner.submit(seen.append)
    assert seen == [False, False]
