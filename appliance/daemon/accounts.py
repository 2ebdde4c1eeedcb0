"""The accounts of all keys: counted by any thread, written by one.

    door ──► add ──► Pending ──(1 s after the first)──► thread `accounts` ──► usage.db
             Quotas ──changed──┘                         one transaction, none while nothing happens

What a cut of power takes is at most `FLUSH_S` and the time of one transaction. A batch that failed is handed
in again as it was, under its number, until the disk takes it; what comes meanwhile waits in a bounded table,
and nobody waits for either. A file that is damaged is set aside, and a new one begun.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from appliance import log
from appliance.access import usage_file, usage_report
from appliance.access.account_clock import AccountClock, Mark
from appliance.access.attempts import Attempts
from appliance.access.audit import Audit
from appliance.access.quota_rules import Counts
from appliance.access.quotas import Quotas
from appliance.access.usage import EnergyShares, Pending, Row, Tally
from appliance.access.usage_file import UsageFile
from appliance.access.usage_report import Line, Question
from appliance.daemon.account_policy import AccountsHealth, AccountsPolicy, Fault, fault_of
from appliance.telemetry.access_metrics import AccessCounts

_log = log.logger("accounts")

FLUSH_S: Final = 1.0
"""From the first thing to write to its transaction: more comes together, and the flash is spared."""
_LONGEST_RETRY_S: Final = 60.0
_IDLE_S: Final = 3600.0
_JOIN_S: Final = 10.0
_HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    number: int
    rows: Mapping[Row, Tally]
    quotas: Mapping[str, Counts | None]
    mark: Mark


class Accounts:
    """Implements `api.metering.Ledger`. Any thread adds and asks; the file belongs to whoever makes this
    until `start`, and from then on to the thread `accounts`.
    """

    def __init__(
        self,
        policy: AccountsPolicy,
        *,
        joules: Callable[[], Mapping[str, float]] = dict,
        wall_s: Callable[[], float] = time.time,
        open_file: Callable[[Path], UsageFile] = UsageFile,
    ) -> None:
        """`joules`: what each model has used since the start, where that is measured."""
        self._policy = policy
        self._joules = joules
        self._wall_s = wall_s
        self._open_file = open_file
        self._path = policy.data / usage_file.NAME
        self._pending = Pending()
        self._shares = EnergyShares()
        self._faults = dict.fromkeys(Fault, 0)
        self._fault: Fault | None = None
        self._wanted, self._over = threading.Event(), threading.Event()
        self._batch: _Batch | None = None
        self._number = 0
        self._pruned_day = -1
        self._file: UsageFile | None = None
        saved, kept = self._reopen()
        self._clock = AccountClock(saved)
        self.quotas = Quotas(self._clock.now_ns, defaults=policy.defaults, kept=kept, on_change=self._want)
        self._thread = threading.Thread(target=self._run, name="accounts", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Writes what there is."""
        self._over.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)
        elif self._thread.ident is None:
            self._close()

    # ── any thread ──────────────────────────────────────────────────────────────────────────────────

    def computed(
        self, key: str, model: str, *, prompt_tokens: int, cached_tokens: int, output_tokens: int
    ) -> None:
        if self._policy.is_kept:
            self._pending.tokens(Row(self._hour(), key, model), prompt_tokens, cached_tokens, output_tokens)
            self._want()

    def ended(self, key: str, model: str, *, failed: bool, served_s: float) -> None:
        if self._policy.is_kept:
            served_ms = round(served_s * 1000)
            self._pending.request(Row(self._hour(), key, model), failed=failed, served_ms=served_ms)
            self._want()

    def report(self, asked: Question) -> Sequence[Line]:
        """Raises StoreFault."""
        return usage_report.report(self._policy.data, asked, now_s=self._wall_s())

    def health(self) -> AccountsHealth:
        faults = {fault.value: count for fault, count in self._faults.items()}
        return AccountsHealth(pending_rows=len(self._pending), lost=self._pending.lost, faults=faults)

    def _want(self) -> None:
        if not self._wanted.is_set():
            self._wanted.set()

    # ── the thread `accounts` ───────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        retry_s = FLUSH_S
        while not self._over.is_set():
            if not self._wanted.wait(_IDLE_S):
                continue
            self._over.wait(retry_s if self._fault else FLUSH_S)
            retry_s = FLUSH_S if self._write() else min(2 * retry_s, _LONGEST_RETRY_S)
        self._close()

    def _close(self) -> None:
        if self._batch is not None or self._wanted.is_set():
            self._write()
            self._write()  # what came behind a batch that had failed
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self) -> bool:
        """One batch, if there is anything to write. False: it is still to be written."""
        if self._batch is None:
            self._wanted.clear()
            self._batch = self._next_batch()
            if self._batch is None:
                return True
        try:
            if self._file is None:
                self._reopen()
            if self._file is None:
                return False
            self._file.write(self._batch.number, self._batch.rows, self._batch.quotas, self._batch.mark)
            self._batch = None
            self._prune(self._file)
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
            return False
        if self._fault is not None:
            _log.info("usage_written_again", after=self._fault.value)
            self._fault = None
        return True

    def _next_batch(self) -> _Batch | None:
        rows = dict(self._pending.take())
        for row, tally in rows.items():
            tokens = tally.prompt_tokens - tally.cached_tokens + tally.output_tokens
            self._shares.computed(row.model, row.key, tokens)
        if self._policy.is_kept:
            hour = self._hour()
            for (key, model), millijoules in self._shares.read(self._joules()).items():
                row = Row(hour, key, model)
                rows[row] = rows.get(row, Tally()) + Tally(millijoules=millijoules)
        quotas = self.quotas.changed(whole=self._pruned_day != self._day() and bool(rows))
        if not rows and not quotas:
            return None
        self._number += 1
        return _Batch(number=self._number, rows=rows, quotas=quotas, mark=self._clock.mark())

    def _prune(self, file: UsageFile) -> None:
        """Once a day, and again with the next batch while there is much."""
        day = self._day()
        if day != self._pruned_day and file.prune(keep_days=self._policy.keep_days) == 0:
            self._pruned_day = day

    def _day(self) -> int:
        return self._hour() // 24

    def _hour(self) -> int:
        return int(self._wall_s() // _HOUR_S)

    def _failed(self, error: sqlite3.Error | OSError) -> None:
        """Told when it begins; tried again with the same batch."""
        fault = fault_of(error)
        self._wanted.set()
        if fault is not self._fault:
            self._faults[fault] += 1
            _log.error("usage_not_written", fault=fault.value, reason=str(error))
            self._fault = fault
        if fault is Fault.DAMAGED:
            self._begin_anew()

    def _begin_anew(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        try:
            aside = usage_file.set_aside(self._path)
        except OSError as error:
            _log.error("usage_not_set_aside", reason=str(error))
            return
        _log.error("usage_damaged", aside=str(aside))
        self._number = self._batch.number if self._batch else 0
        if self._batch is not None:
            # Its quotas are those that changed; a new file needs those of all keys.
            self._batch = replace(self._batch, quotas=self.quotas.changed(whole=True))

    def _reopen(self) -> tuple[Mark | None, dict[str, Counts]]:
        """What an earlier life left: nothing, where the file cannot be had or is damaged."""
        for _ in range(2):
            try:
                file = self._open_file(self._path)
                try:
                    found = file.mark(), file.quotas()
                    self._number = max(self._number, file.batch())
                except BaseException:
                    file.close()
                    raise
            except (sqlite3.Error, OSError) as error:
                self._failed(error)
                if self._fault is not Fault.DAMAGED:
                    break
            else:
                self._file = file
                return found
        return None, {}


def access_counts(accounts: Accounts, wrong_keys: Attempts, audit: Audit | None) -> AccessCounts:
    """For `/metrics`."""
    health, (wrong, refused) = accounts.health(), wrong_keys.counts
    return AccessCounts(
        refused={bound.value: count for bound, count in accounts.quotas.refused.items()},
        wrong_keys=wrong,
        wrong_keys_refused=refused,
        pending_rows=health.pending_rows,
        lost=health.lost,
        faults=health.faults,
        audit_lost=audit.lost if audit else 0,
    )
