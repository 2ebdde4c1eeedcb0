"""Accounts that are only kept in memory, with a clock that passes when it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from appliance.access.attempts import KEY, Attempts
from appliance.access.grants import Bounds
from appliance.access.quota_rules import DAY_NS
from appliance.access.quotas import Quotas
from appliance.access.usage_report import Line, Question
from appliance.api.accounting import Accounting


class Books:
    """A `Ledger`; `bounds` hold for every key."""

    def __init__(self, **bounds: int) -> None:
        self.now_ns = DAY_NS
        self.tokens: Counter[tuple[str, str, str]] = Counter()
        """By key, model and kind."""
        self.requests: list[tuple[str, str, bool]] = []
        """Key, model, whether it failed."""
        self.asked: list[Question] = []
        self.lines: list[Line] = []
        self.quotas = Quotas(lambda: self.now_ns, defaults=Bounds(**bounds))  # type: ignore[arg-type]
        self.accounting = Accounting(
            quotas=self.quotas,
            ledger=self,
            wrong_keys=Attempts(KEY, lambda: self.now_ns / 1e9),
            report=self._report,
        )

    def computed(
        self, key: str, model: str, *, prompt_tokens: int, cached_tokens: int, output_tokens: int
    ) -> None:
        self.tokens[key, model, "prompt"] += prompt_tokens
        self.tokens[key, model, "cached"] += cached_tokens
        self.tokens[key, model, "output"] += output_tokens

    def ended(self, key: str, model: str, *, failed: bool, served_s: float) -> None:
        assert served_s >= 0
        self.requests.append((key, model, failed))

    def of(self, key: str, model: str) -> tuple[int, int, int]:
        """Prompt, cached, output."""
        kinds = ("prompt", "cached", "output")
        prompt, cached, output = (self.tokens[key, model, kind] for kind in kinds)
        return prompt, cached, output

    def _report(self, asked: Question) -> Sequence[Line]:
        self.asked.append(asked)
        return self.lines
