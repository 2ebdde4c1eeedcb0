"""Several prompts of one request as one generation, with the choices numbered through.

Each prompt has its own thread while it is worked on, `WIDTH` at most: a thread holds one lease and reads it
itself, so that no request ever holds a place in the queue while it waits for another (fifty such requests
would wait for ever).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import msgspec

from appliance.api import turns
from appliance.api.calls import Calls
from appliance.api.exchange import Exchange
from appliance.api.sse import POLL_S
from appliance.errors import OutpostError
from appliance.supervisor.inference import Generation
from appliance.supervisor.turn import Turn
from appliance.wire.messages import Accepted, Delta, Generate, Progress, Usage

WIDTH: Final = 8
_BACKLOG: Final = 64
"""Steps that wait for a slow client; then the readers wait too, and the mailboxes behind them fill."""
_JOIN_S: Final = 5.0

_Item = list[Delta | Progress] | Accepted | Exception


class Batch:
    """A `Generation` over several. Owned by the request's thread; its reader threads only touch the two
    queues and `_stop`.
    """

    def __init__(self, calls: Calls, exchange: Exchange, model: str, requests: Sequence[Generate]) -> None:
        """Returns once every prompt of the first wave is accepted. Raises the first fault known before."""
        self._calls = calls
        self._exchange = exchange
        self._model = model
        self._n = requests[0].n
        self._count = len(requests)
        self._todo: queue.SimpleQueue[tuple[int, Generate]] = queue.SimpleQueue()
        self._turns: queue.SimpleQueue[Turn] = queue.SimpleQueue()
        self._said: queue.Queue[_Item] = queue.Queue(_BACKLOG)
        self._early: list[list[Delta | Progress]] = []
        self._stop = threading.Event()
        self._ended: list[Usage] = []
        for entry in enumerate(requests):
            self._todo.put(entry)
        self._threads = [
            threading.Thread(target=self._read, name=f"batch-{number}", daemon=True)
            for number in range(min(WIDTH, self._count))
        ]
        for thread in self._threads:
            thread.start()
        try:
            self.accepted = self._wait_accepted(len(self._threads))
            self._note_turns(len(self._threads))
        except OutpostError:
            self.close()
            raise

    def next(self, timeout_s: float) -> list[Delta | Progress] | None:
        if self._early:
            return self._settled(self._early.pop(0))
        while True:
            try:
                item = self._said.get(timeout=timeout_s)
            except queue.Empty:
                return None
            if isinstance(item, Exception):
                raise item
            if not isinstance(item, Accepted):
                return self._settled(item)

    def close(self) -> None:
        """Stop the readers and join them. They look up every `POLL_S`, so this is short."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_JOIN_S)

    def _wait_accepted(self, count: int) -> Accepted:
        accepted: list[Accepted] = []
        while len(accepted) < count:
            item = self._said.get()
            if isinstance(item, Exception):
                raise item
            if isinstance(item, Accepted):
                accepted.append(item)
            else:
                self._early.append(item)
        return Accepted(
            id=0,
            prompt_tokens=sum(one.prompt_tokens for one in accepted),
            cached_tokens=sum(one.cached_tokens for one in accepted),
        )

    def _note_turns(self, count: int) -> None:
        """Of the prompts that are accepted, that of the one who waited longest."""
        turns = [self._turns.get_nowait() for _ in range(count)]
        longest = max(turns, key=lambda turn: turn.waited_s or 0.0)
        self._exchange.turn.arrived_at, self._exchange.turn.waited_s = longest.arrived_at, longest.waited_s

    def _settled(self, items: list[Delta | Progress]) -> list[Delta | Progress]:
        """Keep the usage of each prompt back; the last delta of all carries the sum."""
        told: list[Delta | Progress] = []
        for item in items:
            if isinstance(item, Delta) and item.usage is not None:
                self._ended.append(item.usage)
                whole = _sum(self._ended) if len(self._ended) == self._count else None
                told.append(msgspec.structs.replace(item, usage=whole))
            elif isinstance(item, Delta):
                told.append(item)
        return told

    # ── reader threads
    # ─────────────────────────────────────────────────────────────────────────────────────────────

    def _read(self) -> None:
        """Top of a reader thread: prompt after prompt until none is left."""
        try:
            while not self._stop.is_set():
                try:
                    position, request = self._todo.get_nowait()
                except queue.Empty:
                    return
                self._read_one(position, request)
        except OutpostError as error:
            self._say(error)
        except Exception as error:  # noqa: BLE001 - thread top; the request answers it
            self._say(error)

    def _read_one(self, position: int, request: Generate) -> None:
        turn = self._exchange.turn.another(after_s=self._exchange.age_s())
        asker = replace(self._exchange.asker(), turn=turn, gone=self._is_over)
        generation = self._calls.ask(self._exchange, self._model, request, asker=asker)
        self._turns.put(turn)
        try:
            self._say(generation.accepted)
            while not self._stop.is_set():
                items = generation.next(POLL_S) or []
                if items:
                    self._say([self._renumbered(item, position) for item in items])
                if any(isinstance(item, Delta) and item.usage is not None for item in items):
                    return
        finally:
            generation.close()

    def _renumbered(self, item: Delta | Progress, position: int) -> Delta | Progress:
        if isinstance(item, Progress):
            return item
        return msgspec.structs.replace(item, choice=position * self._n + item.choice)

    def _is_over(self) -> bool:
        return self._stop.is_set() or self._exchange.gone()

    def _say(self, item: _Item) -> None:
        while not self._stop.is_set():
            try:
                self._said.put(item, timeout=POLL_S)
            except queue.Full:
                continue
            return


def generate_all(
    calls: Calls, exchange: Exchange, model: str, requests: Sequence[Generate], *, is_early: bool = False
) -> Generation:
    """One generation, or a batch of them. Raises what `Inference.generate` raises; the caller must close
    it. `is_early`: one is only begun (`Calls.begin`).
    """
    if len(requests) == 1:
        begin = calls.begin if is_early else calls.generate
        return begin(exchange, model, requests[0])
    if is_early:
        exchange.warn(f"'{turns.PROGRESS}' is ignored for several prompts")
    exchange.model = model
    batch = Batch(calls, exchange, model, requests)
    exchange.mark_accepted(batch.accepted)
    return batch


def _sum(usages: list[Usage]) -> Usage:
    return Usage(
        prompt_tokens=sum(one.prompt_tokens for one in usages),
        cached_tokens=sum(one.cached_tokens for one in usages),
        completion_tokens=sum(one.completion_tokens for one in usages),
        reasoning_tokens=sum(one.reasoning_tokens for one in usages),
        queue_s=max(one.queue_s for one in usages),
        prefill_s=sum(one.prefill_s for one in usages),
        decode_s=max(one.decode_s for one in usages),
        draft_tokens=sum(one.draft_tokens for one in usages),
        draft_accepted_tokens=sum(one.draft_accepted_tokens for one in usages),
    )
