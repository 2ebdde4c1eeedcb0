"""Who keeps the accounts: what a disk does to it, and what it never does to a request. Without its thread:
`stop` before `start` writes what there is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from appliance.access.account_clock import Mark
from appliance.access.grants import Bounds, Grant
from appliance.access.quota_rules import Counts
from appliance.access.usage import MOST_PENDING, Row, Tally
from appliance.access.usage_file import NAME, UsageFile
from appliance.access.usage_report import Question
from appliance.config import Config
from appliance.config.usage_settings import QuotaSettings
from appliance.daemon.account_policy import AccountsPolicy, Fault, accounts_policy
from appliance.daemon.accounts import Accounts
from appliance.errors import RateLimited

NOW_S = 1_790_000_000.0
GRANT = Grant(key_id="k", bounds=Bounds(requests_per_min=1, tokens_per_day=10))
ALL = Question(by=("key", "model"))


class FailingFile(UsageFile):
    """Fails its next writes as `faults` say: before the transaction, or after it, which nobody knows."""

    faults: list[tuple[str, sqlite3.Error]]

    def write(
        self, batch: int, rows: Mapping[Row, Tally], quotas: Mapping[str, Counts | None], mark: Mark
    ) -> bool:
        when, error = self.faults.pop(0) if self.faults else ("never", None)
        if when == "after":
            super().write(batch, rows, quotas, mark)
        if error is not None:
            raise error
        return super().write(batch, rows, quotas, mark)


def failing(*faults: tuple[str, sqlite3.Error]) -> Callable[[Path], UsageFile]:
    def opened(path: Path) -> UsageFile:
        file = FailingFile(path)
        file.faults = left
        return file

    left = list(faults)
    return opened


def full() -> sqlite3.Error:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


def accounts(data: Path, **settings: Any) -> Accounts:
    policy = settings.pop("policy", AccountsPolicy(data=data))
    return Accounts(policy, wall_s=lambda: NOW_S, **settings)


def asked(ledger: Accounts, *, model: str = "m", output: int = 3) -> None:
    ledger.computed("k", model, prompt_tokens=7, cached_tokens=2, output_tokens=output)
    ledger.ended("k", model, failed=False, served_s=0.5)


@pytest.fixture
def journal() -> Any:
    with structlog.testing.capture_logs() as entries:
        yield entries


def test_what_was_asked_is_told_by_key_and_model(tmp_path: Path) -> None:
    ledger = accounts(tmp_path)
    asked(ledger)
    asked(ledger)
    ledger.ended("k", "", failed=True, served_s=0.0)
    ledger.stop()
    whole, nothing = ledger.report(ALL)[::-1]
    assert (whole.key, whole.model, whole.requests, whole.errors) == ("k", "m", 2, 0)
    assert (whole.prompt_tokens, whole.cached_tokens, whole.output_tokens) == (14, 4, 6)
    assert (whole.served_s, whole.joules) == (1.0, None)
    assert (nothing.model, nothing.requests, nothing.errors) == ("", 1, 1)


def test_quotas_survive_a_restart(tmp_path: Path) -> None:
    first = accounts(tmp_path)
    admission = first.quotas.admit(GRANT)
    admission.hold(4)
    admission.prompt(4)
    admission.close()
    first.stop()
    again = accounts(tmp_path)
    assert [one.remaining for one in again.quotas.allowances(GRANT)] == [0, 6]
    with pytest.raises(RateLimited):
        again.quotas.admit(GRANT)
    again.stop()


def test_nothing_is_written_while_nothing_happens(tmp_path: Path) -> None:
    accounts(tmp_path).stop()
    before = (tmp_path / NAME).read_bytes()
    ledger = accounts(tmp_path)
    ledger.quotas.allowances(GRANT)
    ledger.stop()
    assert (tmp_path / NAME).read_bytes() == before


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_batch_whose_fate_is_unknown_is_handed_in_again_and_counts_once(
    tmp_path: Path, when: str, journal: list[MutableMapping[str, Any]]
) -> None:
    ledger = accounts(tmp_path, open_file=failing((when, sqlite3.OperationalError("disk I/O error"))))
    asked(ledger)
    ledger.stop()
    assert [line.requests for line in ledger.report(ALL)] == [1]
    assert ledger.health().faults[Fault.FAILED] == 1
    assert [entry["event"] for entry in journal] == ["usage_not_written", "usage_written_again"]


def test_a_full_disk_is_told_once_and_stops_nobody(
    tmp_path: Path, journal: list[MutableMapping[str, Any]]
) -> None:
    ledger = accounts(tmp_path, open_file=failing(*[("before", full())] * 9))
    for number in range(MOST_PENDING + 10):
        asked(ledger, model=f"m{number}")
    ledger.quotas.admit(GRANT).close()
    assert ledger.health().lost > 0
    ledger.stop()
    assert [(entry["event"], entry["fault"]) for entry in journal] == [("usage_not_written", Fault.FULL)]


def test_a_damaged_file_is_set_aside_and_a_new_one_begun(
    tmp_path: Path, journal: list[MutableMapping[str, Any]]
) -> None:
    (tmp_path / NAME).write_bytes(b"not a database, and long enough to be looked at" * 100)
    ledger = accounts(tmp_path)
    asked(ledger)
    ledger.stop()
    assert [line.requests for line in ledger.report(ALL)] == [1]
    assert (tmp_path / f"{NAME}.damaged").read_bytes().startswith(b"not a database")
    assert {"usage_not_written", "usage_damaged"} <= {entry["event"] for entry in journal}
    assert ledger.health().faults[Fault.DAMAGED] == 1


def test_a_file_that_is_damaged_while_it_is_used_takes_no_quota_with_it(tmp_path: Path) -> None:
    broken = sqlite3.DatabaseError("database disk image is malformed")
    first = accounts(tmp_path)
    first.quotas.admit(GRANT).close()
    first.stop()
    ledger = accounts(tmp_path, open_file=failing(("before", broken)))
    ledger.quotas.admit(Grant(key_id="other", bounds=GRANT.bounds)).close()
    asked(ledger)
    ledger.stop()
    again = accounts(tmp_path)
    for key in ("k", "other"):
        with pytest.raises(RateLimited):
            again.quotas.admit(Grant(key_id=key, bounds=GRANT.bounds))
    assert [line.requests for line in again.report(ALL)] == [1]
    again.stop()


def test_a_directory_that_cannot_be_written_leaves_the_service_going(tmp_path: Path) -> None:
    ledger = accounts(tmp_path / "missing")
    asked(ledger)
    ledger.quotas.admit(GRANT).close()
    with pytest.raises(RateLimited):
        ledger.quotas.admit(GRANT)
    assert ledger.report(ALL) == []
    ledger.stop()
    assert ledger.health().faults[Fault.FAILED] == 1


def test_joules_are_shared_by_the_tokens_that_were_computed(tmp_path: Path) -> None:
    meter = {"m": 100.0}
    ledger = accounts(tmp_path, joules=lambda: dict(meter))
    asked(ledger)
    ledger._write()
    ledger.computed("k", "m", prompt_tokens=0, cached_tokens=0, output_tokens=22)
    ledger.computed("other", "m", prompt_tokens=20, cached_tokens=10, output_tokens=0)
    meter["m"] = 108.0
    ledger.stop()
    told = {line.key: line.joules for line in ledger.report(ALL)}
    assert told == {"k": 6.0, "other": 2.0}


def test_where_usage_is_not_wanted_quotas_are_kept_all_the_same(tmp_path: Path) -> None:
    ledger = accounts(tmp_path, policy=AccountsPolicy(data=tmp_path, is_kept=False))
    asked(ledger)
    ledger.quotas.admit(GRANT).close()
    ledger.stop()
    assert ledger.report(ALL) == []
    again = accounts(tmp_path)
    with pytest.raises(RateLimited):
        again.quotas.admit(GRANT)
    again.stop()


def test_zero_in_the_configuration_is_no_bound() -> None:
    assert accounts_policy(Config()).defaults == Bounds()
    told = Config(quotas=QuotaSettings(tokens_per_day=5))
    assert accounts_policy(told).defaults == Bounds(tokens_per_day=5)
