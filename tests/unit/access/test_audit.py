"""The audit log: whatever is done to its files is found, and a cut of power is none of it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.access import audit_files
from appliance.access.audit import Audit
from appliance.access.audit_chain import MOST_LINE_BYTES, Damage
from appliance.access.audit_files import FOLDER, verify
from appliance.errors import AuditUnwritable

KEY = b"k" * 32
MIB = 1 << 20


def log_of(data: Path, *, entries: int = 0, max_bytes: int = MIB, key: bytes = KEY) -> Audit:
    made = Audit(data, key, max_bytes=max_bytes)
    for number in range(entries):
        made.record("model_remove", "k1234567", names=[f"model-{number}"])
    return made


def file_of(data: Path, index: int = -1) -> Path:
    return audit_files.segments(data / FOLDER)[index]


def damage_of(data: Path, key: bytes = KEY) -> set[Damage]:
    return {finding.damage for finding in verify(data, key).findings}


def test_entries_are_numbered_told_and_whole(tmp_path: Path) -> None:
    made = log_of(tmp_path, entries=2)
    assert made.record("key_created", "admin", key="abc", expires=None, uses=3) == 3
    checked = verify(tmp_path, KEY)
    assert (checked.entries, checked.head.seq, checked.findings) == (3, 3, ())
    last = audit_files.entries(tmp_path, last=1)[0]
    assert (last["seq"], last["event"], last["actor"]) == (3, "key_created", "admin")
    assert last["facts"] == {"key": "abc", "expires": None, "uses": 3}
    assert [entry["seq"] for entry in audit_files.entries(tmp_path, last=2)] == [2, 3]
    assert file_of(tmp_path).stat().st_mode & 0o777 == 0o600


def test_nothing_was_ever_written(tmp_path: Path) -> None:
    assert verify(tmp_path, KEY).findings == ()
    assert audit_files.entries(tmp_path, last=5) == []


def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    log_of(tmp_path, entries=2)
    log_of(tmp_path, entries=2)
    assert verify(tmp_path, KEY).head.seq == 4
    assert damage_of(tmp_path) == set()


# ── who changes it
# ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _flip(lines: list[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    line = bytearray(lines[at])
    line[chance.randrange(len(line) - 1)] ^= 1 << chance.randrange(8)
    lines[at] = bytes(line)


def _remove(lines: list[bytes], chance: random.Random) -> None:
    del lines[chance.randrange(len(lines))]


def _swap(lines: list[bytes], chance: random.Random) -> None:
    one, other = chance.sample(range(len(lines)), 2)
    lines[one], lines[other] = lines[other], lines[one]


def _double(lines: list[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    lines.insert(chance.randrange(len(lines)), lines[at])


def _cut(lines: list[bytes], chance: random.Random) -> None:
    whole = b"".join(lines)
    lines[:] = [whole[: chance.randrange(len(whole))]]


def _insert(lines: list[bytes], chance: random.Random) -> None:
    lines.insert(chance.randrange(len(lines) + 1), b'{"seq":3,"prev":"00","mac":"00"}\n')


@pytest.mark.parametrize(
    "change", [_flip, _remove, _swap, _double, _cut, _insert], ids=lambda change: change.__name__[1:]
)
def test_a_hundred_and_seventy_changes_of_each_kind_are_all_found(
    tmp_path: Path, change: Callable[[list[bytes], random.Random], None]
) -> None:
    log_of(tmp_path, entries=12)
    path = file_of(tmp_path)
    whole = path.read_bytes()
    for seed in range(170):
        lines = whole.splitlines(keepends=True)
        change(lines, random.Random(seed))
        changed = b"".join(lines)
        path.write_bytes(changed)
        assert damage_of(tmp_path) or changed == whole, seed


def test_lines_made_with_another_key_are_forged(tmp_path: Path) -> None:
    log_of(tmp_path, entries=3, key=b"x" * 32)
    assert damage_of(tmp_path) == {Damage.FORGED, Damage.HEAD_FORGED}


def test_whoever_cuts_the_end_and_the_head_too_is_found(tmp_path: Path) -> None:
    log_of(tmp_path, entries=5)
    path, head = file_of(tmp_path), tmp_path / FOLDER / "head.json"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    assert damage_of(tmp_path) == {Damage.TRUNCATED}
    head.write_bytes(head.read_bytes().replace(b'"seq":5', b'"seq":3'))
    assert damage_of(tmp_path) == {Damage.HEAD_FORGED}
    head.unlink()
    assert damage_of(tmp_path) == {Damage.HEAD_MISSING}


def test_what_was_cut_off_stays_missing_when_more_is_written(tmp_path: Path) -> None:
    log_of(tmp_path, entries=5)
    path = file_of(tmp_path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    log_of(tmp_path, entries=2)
    assert damage_of(tmp_path) == {Damage.MISPLACED}


def test_the_whole_log_is_away(tmp_path: Path) -> None:
    log_of(tmp_path, entries=2)
    file_of(tmp_path).unlink()
    assert damage_of(tmp_path) == {Damage.TRUNCATED, Damage.BEGINNING_MISSING}


# ── cuts of power, full disks, bounds
# ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_cut_between_a_line_and_its_head_is_no_damage(tmp_path: Path) -> None:
    made = log_of(tmp_path, entries=3)
    head = tmp_path / FOLDER / "head.json"
    before = head.read_bytes()
    made.record("model_pull", "k")
    head.write_bytes(before)
    assert damage_of(tmp_path) == set()
    assert log_of(tmp_path).record("model_pull", "k") == 5
    assert damage_of(tmp_path) == set()


def test_a_line_that_the_power_cut_short_is_dropped_and_its_number_taken_again(tmp_path: Path) -> None:
    log_of(tmp_path, entries=3)
    path = file_of(tmp_path)
    with path.open("ab") as file:
        file.write(b'{"seq":4,"time":"2026')
    assert audit_files.is_torn(tmp_path)
    assert damage_of(tmp_path) == set()
    assert log_of(tmp_path).record("model_pull", "k") == 4
    assert not audit_files.is_torn(tmp_path)
    assert damage_of(tmp_path) == set()


def test_it_stays_within_its_bound_and_whole(tmp_path: Path) -> None:
    bound = 64 * 1024
    made = Audit(tmp_path, KEY, max_bytes=bound)
    for _ in range(60):
        made.record("model_import", "k", names=["n" * 250] * 10)
    files = audit_files.segments(tmp_path / FOLDER)
    assert sum(path.stat().st_size for path in files) <= bound
    checked = verify(tmp_path, KEY)
    assert checked.findings == ()
    assert checked.head.first > 1
    assert checked.head.seq == 60
    shutil.copy(files[1], tmp_path / "kept")
    files[0].unlink()
    assert damage_of(tmp_path) == {Damage.BEGINNING_MISSING}
    files[1].unlink()
    assert damage_of(tmp_path) == {Damage.BEGINNING_MISSING}
    files[3].unlink()
    assert damage_of(tmp_path) == {Damage.BEGINNING_MISSING, Damage.MISPLACED}


def test_facts_are_bounded(tmp_path: Path) -> None:
    made = log_of(tmp_path)
    made.record("e", "a" * 9999, text="\u2603" * 9999, many=["\u2603" * 300] * 100)
    assert file_of(tmp_path).stat().st_size <= MOST_LINE_BYTES + 1
    assert damage_of(tmp_path) == set()


def test_what_cannot_be_written_is_refused_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = log_of(tmp_path, entries=1)
    before = file_of(tmp_path).read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("appliance.access.audit.os.fsync", full)
    with pytest.raises(AuditUnwritable, match=r"No space left on device; \d+ bytes are free"):
        made.record("key_created", "admin")
    assert made.lost == 0
    assert not made.note("model_remove", "k")
    assert made.lost == 1
    monkeypatch.undo()
    assert file_of(tmp_path).read_bytes() == before
    assert made.record("key_created", "admin") == 2
    assert damage_of(tmp_path) == set()


def test_without_the_devices_key_nothing_can_be_written(tmp_path: Path) -> None:
    made = Audit(tmp_path, PermissionError(13, "Permission denied"), max_bytes=MIB)
    with pytest.raises(AuditUnwritable, match="Permission denied"):
        made.record("key_created", "admin")
    assert not made.note("model_remove", "k")
    assert not (tmp_path / FOLDER).exists()


def test_a_digest_tells_sameness_and_depends_on_the_device(tmp_path: Path) -> None:
    made = log_of(tmp_path)
    assert made.keyed_digest(b"x") == log_of(tmp_path).keyed_digest(b"x")
    assert made.keyed_digest(b"x") != made.keyed_digest(b"y")
    assert made.keyed_digest(b"x") != log_of(tmp_path, key=b"y" * 32).keyed_digest(b"x")
