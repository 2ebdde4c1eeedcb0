"""Accounts and audit log on a disk that is full: told, refused where it must be, and made up for later."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from appliance.access.audit import Audit
from appliance.access.audit_files import entries, verify
from appliance.access.grants import Bounds, Grant
from appliance.access.key_store import KeyStore
from appliance.access.scopes import Scope
from appliance.access.usage_report import Question, report
from appliance.access.wishes import CreateKey
from appliance.daemon.account_policy import AccountsPolicy, Fault
from appliance.daemon.accounts import Accounts
from appliance.daemon.audited_keys import AuditedKeys
from appliance.errors import AuditUnwritable, KeysUnusable, RateLimited, Unauthenticated
from tests.integration.supervisor.conftest import eventually

KEY = b"k" * 32
GRANT = Grant(key_id="k", bounds=Bounds(requests_per_min=2))
DISK_BYTES = 4 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.fail("mounting a small disk needs root: run this layer of the tests as root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "outpost-test", str(disk)], check=True
    )
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def filled(disk: Path) -> Path:
    """To the last byte."""
    path = disk / "ballast"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return path


def requests_of(data: Path) -> int:
    return sum(line.requests for line in report(data, Question(by=("model",)), now_s=time.time()))


def test_a_full_disk_stops_no_request_and_what_was_counted_is_written_when_there_is_room(
    small_disk: Path,
) -> None:
    accounts = Accounts(AccountsPolicy(data=small_disk))
    accounts.start()
    try:
        accounts.ended("k", "m0", failed=False, served_s=0.0)
        eventually(lambda: requests_of(small_disk) == 1, within_s=10.0)
        ballast = filled(small_disk)
        for number in range(300):
            accounts.ended("k", f"m{number}", failed=False, served_s=0.0)
        accounts.quotas.admit(GRANT).close()
        accounts.quotas.admit(GRANT).close()
        eventually(lambda: accounts.health().faults[Fault.FULL] == 1, within_s=10.0)
        with pytest.raises(RateLimited):
            accounts.quotas.admit(GRANT)
        before_s = time.monotonic()
        accounts.ended("k", "m0", failed=False, served_s=0.0)
        assert time.monotonic() - before_s < 0.1
        ballast.unlink()
        eventually(lambda: requests_of(small_disk) == 302, within_s=15.0)
    finally:
        accounts.stop()
    again = Accounts(AccountsPolicy(data=small_disk))
    with pytest.raises(RateLimited):
        again.quotas.admit(GRANT)
    again.stop()


def test_the_audit_log_of_a_full_disk_refuses_and_stays_whole(small_disk: Path) -> None:
    audit = Audit(small_disk, KEY, max_bytes=1 << 20)
    audit.record("key_created", "admin", key="one")
    ballast = filled(small_disk)
    refused = 0
    for _ in range(40):  # what is left of the last block may take a few
        try:
            audit.record("key_created", "admin", key="two")
        except AuditUnwritable:
            refused += 1
    assert refused > 0
    assert audit.lost == 0
    assert [audit.note("key_revoked", "admin", key="one") for _ in range(40)].count(False) > 0
    assert audit.lost > 0
    assert verify(small_disk, KEY).findings == ()
    ballast.unlink()
    last = audit.record("key_created", "admin", key="three")
    assert [entry["seq"] for entry in entries(small_disk, last=100)] == list(range(1, last + 1))
    assert verify(small_disk, KEY).findings == ()


def test_on_a_full_disk_no_key_is_made_and_a_revoked_one_is_refused(small_disk: Path) -> None:
    audit = Audit(small_disk, KEY, max_bytes=1 << 20)
    keys = KeyStore(small_disk, configured={})
    keys.log_to(AuditedKeys(audit))
    admin = keys.create(CreateKey(scopes=frozenset({Scope.KEYS_ADMIN})))
    lost, other = keys.create(CreateKey()), keys.create(CreateKey())
    ballast = filled(small_disk)
    for _ in range(40):  # what is left of the last block may take a few
        with suppress(AuditUnwritable, KeysUnusable):
            keys.create(CreateKey())
    made = len(keys.ring.keys)
    with pytest.raises((AuditUnwritable, KeysUnusable)):
        keys.create(CreateKey())
    assert len(keys.ring.keys) == made
    with suppress(KeysUnusable):
        keys.revoke(lost.shown.key_id)
    with pytest.raises(Unauthenticated, match="revoked"):
        keys.verify(lost.text)
    ballast.unlink()
    keys.write_used()
    keys.close()
    again = KeyStore(small_disk, configured={})
    with pytest.raises(Unauthenticated, match="revoked"):
        again.verify(lost.text)
    assert {again.verify(key.text).key_id for key in (admin, other)} == {
        admin.shown.key_id,
        other.shown.key_id,
    }
    again.close()
    assert verify(small_disk, KEY).findings == ()
