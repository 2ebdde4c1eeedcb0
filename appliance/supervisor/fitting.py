"""Whether a model would fit if it were asked for now: planned and decided as a load, and nothing is loaded.

handler thread      loop thread             planning thread
ask ──────────────▶ begin
└─ submit ───────────▶ ladder, behind those that are to be loaded
decide ◀───────────────────┘
◀─────────────────── answer
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

from msgspec.structs import replace

from appliance.errors import ClientGone, DeadlineExceeded, ModelBroken, OutpostError, Overloaded
from appliance.planner.facts import Ladder
from appliance.planner.fit_answer import FitAnswer, InMemory
from appliance.supervisor.client import Runner
from appliance.supervisor.desk import Desk
from appliance.supervisor.faults import fresh
from appliance.supervisor.fit_wish import FitWish, wished
from appliance.supervisor.patience import Patience
from appliance.supervisor.planning import Planned, Planning, Rank
from appliance.supervisor.residency import Residency
from appliance.supervisor.starting import Post
from appliance.supervisor.turn import Asker

MOST_OPEN: Final = 8
"""Questions at once; each may have the planning thread measure for seconds."""
_PATIENCE_S: Final = 30.0
_RETRY_S: Final = 5.0
_MEASURED: Final = "a dry run of llama.cpp, corrected by what loads took here"
_RECKONED: Final = "formulas, corrected by what loads took here"

Find = Callable[[], Desk[Runner]]
"""On the loop thread, at each step: models come and go. Raises ModelNotFound."""


class _Question:
    """Made and waited for by a handler thread; answered once, by the supervisor thread."""

    def __init__(self, find: Find, wish: FitWish) -> None:
        self.find = find
        self.wish = wish
        self.dropped = threading.Event()
        """Nobody waits for the answer any more."""
        self._answer: SimpleQueue[FitAnswer | OutpostError] = SimpleQueue()

    def answer(self, answer: FitAnswer | OutpostError) -> None:
        self._answer.put(answer)

    def wait(self, timeout_s: float) -> FitAnswer | OutpostError | None:
        try:
            return self._answer.get(timeout=timeout_s)
        except Empty:
            return None

    def require_wanted(self) -> None:
        """Raises ClientGone."""
        if self.dropped.is_set():
            raise ClientGone


class Fitting:
    """Owned by the supervisor thread, but for `ask` (any thread)."""

    def __init__(self, planning: Planning, residency: Residency[Runner], *, post: Post) -> None:
        self._planning = planning
        self._residency = residency
        self._post = post
        self._open = 0

    def ask(self, find: Find, wish: FitWish, *, asker: Asker) -> FitAnswer:
        """Blocks for `_PATIENCE_S` at most. Raises Overloaded, DeadlineExceeded, ClientGone, ModelNotFound,
        ModelBroken, and what planning raises.
        """
        limit_s = asker.turn.deadline_s if asker.turn is not None else None
        limit_s = _PATIENCE_S if limit_s is None else min(limit_s, _PATIENCE_S)
        question = _Question(find, wish)
        self._post(lambda _: self._begin(question))
        try:
            answer = Patience(limit_s, asker.gone).wait(question.wait)
        finally:
            question.dropped.set()
        if answer is None:
            raise DeadlineExceeded(limit_s=limit_s, retry_after_s=_RETRY_S, is_begun=False)
        if isinstance(answer, OutpostError):
            raise fresh(answer)
        return answer

    # ── the loop thread ────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, question: _Question) -> None:
        if self._open >= MOST_OPEN:
            question.answer(Overloaded(waiting=self._open, limit=MOST_OPEN, retry_after_s=_RETRY_S))
            return
        try:
            desk = question.find()
        except OutpostError as error:
            question.answer(error)
            return
        if desk.spec.broken is not None:
            question.answer(ModelBroken(model=desk.spec.name, reason=desk.spec.broken))
            return
        self._open += 1
        self._planning.submit(
            wished(desk.spec, question.wish),
            lambda planned: self._post(lambda now_s: self._end(question, planned, now_s)),
            first=question.require_wanted,
            rank=Rank.QUESTION,
            budgets=self._residency.budgets_bytes(desk),
        )

    def _end(self, question: _Question, planned: Planned, now_s: float) -> None:
        self._open -= 1
        try:
            question.answer(
                planned if isinstance(planned, OutpostError) else self._decided(question, planned, now_s)
            )
        except OutpostError as error:
            question.answer(error)

    def _decided(self, question: _Question, planned: Ladder, now_s: float) -> FitAnswer:
        """Raises ModelNotFound."""
        desk = question.find()
        outlook = self._residency.outlook(desk, planned, now_s)
        answer = FitAnswer(
            model=desk.spec.name,
            ladder=planned,
            outcome=outlook.outcome,
            budget=outlook.budget,
            owed_bytes=outlook.owed_bytes,
            freed_bytes=outlook.freed_bytes,
            in_memory=InMemory(state=desk.state, rung=desk.rung) if desk.has_process else None,
            origin=_RECKONED,
        )
        is_measured = answer.shown.is_measured
        return replace(answer, origin=_MEASURED) if is_measured else answer
