"""A `Backend` without a model: slots are lists of tokens, and the next token is a function of all that a slot
holds.

So a wrong copy, cut, swap or position shows as a wrong text: the tests compare with `expected`, which knows
only the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.engine.backend import Span
from appliance.errors import EngineFault

N_VOCAB = 97
END = 0


def next_token(held: Sequence[int]) -> int:
    """Deterministic, sensitive to every token and its place, and repeating enough for drafts to be right at
    times.
    """
    if len(held) % 7 and len(held) > 12:
        return held[-9]
    state = 17
    for place, token in enumerate(held):
        state = (state * 31 + token * 7 + place) % 1_000_003
    return 1 + state % (N_VOCAB - 1)


def expected(prompt: Sequence[int], n_tokens: int) -> list[int]:
    """What any engine must generate for a prompt."""
    held = list(prompt)
    for _ in range(n_tokens):
        held.append(next_token(held))
    return held[len(prompt) :]


class FakeClock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class FakeBackend:
    """Costs fake time: `per_pass_s` a decode and `per_token_s` a token."""

    def __init__(
        self,
        *,
        n_slots: int = 4,
        n_ctx_seq: int = 64,
        n_batch: int = 512,
        clock: FakeClock | None = None,
        per_pass_s: float = 0.004,
        per_token_s: float = 0.004,
    ) -> None:
        self.n_slots = n_slots
        self.n_ctx_seq = n_ctx_seq
        self.n_batch = n_batch
        self.n_vocab = N_VOCAB
        self.slots: list[list[int]] = [[] for _ in range(n_slots)]
        self.batches: list[list[Span]] = []
        self.copies = 0
        self.can_cut = True
        self.fail_next = 0
        self.adapters: list[tuple[str, float]] = []
        self.threads = 0
        self._clock = clock
        self._per_pass_s = per_pass_s
        self._per_token_s = per_token_s
        self._rows: list[int] = []

    def decode(self, spans: Sequence[Span]) -> None:
        if self.fail_next:
            self.fail_next -= 1
            raise EngineFault(reason="told to fail")
        assert [span.slot for span in spans] == sorted({span.slot for span in spans}), "slots out of order"
        assert sum(len(span.tokens) for span in spans) <= self.n_batch
        self.batches.append(list(spans))
        self._rows = []
        for span in spans:
            self._compute(span)
        if self._clock is not None:
            tokens = sum(len(span.tokens) for span in spans)
            self._clock.now_s += self._per_pass_s + self._per_token_s * tokens

    def _compute(self, span: Span) -> None:
        held = self.slots[span.slot]
        assert len(held) == span.start, (
            f"slot {span.slot} holds {len(held)}, the batch starts at {span.start}"
        )
        first_output = len(span.tokens) - span.outputs
        for place, token in enumerate(span.tokens):
            held.append(token)
            assert len(held) <= self.n_ctx_seq, "over the context"
            if place >= first_output:
                self._rows.append(next_token(held))

    def logits(self, row: int) -> NDArray[np.float32]:
        token = self._rows[row]
        logits = np.zeros(N_VOCAB, np.float32)
        logits[token] = 10.0
        return logits

    def truncate(self, slot: int, n_tokens: int) -> bool:
        if n_tokens and not self.can_cut:
            return False
        del self.slots[slot][n_tokens:]
        return True

    def first_position(self, slot: int) -> int:
        return 0 if self.slots[slot] else -1

    def slot_bytes(self, slot: int) -> int:
        return 4 * len(self.slots[slot])

    def read_slot(self, slot: int) -> NDArray[np.uint8]:
        return np.array(self.slots[slot], np.int32).view(np.uint8)

    def write_slot(self, slot: int, data: NDArray[np.uint8]) -> None:
        self.copies += 1
        self.slots[slot] = data.view(np.int32).tolist()

    def set_threads(self, n_threads: int) -> None:
        self.threads = n_threads

    def set_adapters(self, scales: Sequence[tuple[str, float]]) -> None:
        self.adapters = list(scales)


class FakeVocabulary:
    """Token t is written "<t>"."""

    def piece(self, token: int, *, special: bool = False) -> bytes:
        return f"<{token}>".encode() if token != END or special else b""

    def is_end(self, token: int) -> bool:
        return token == END


class FakeSampler:
    """Greedy."""

    def __init__(self) -> None:
        self.accepted: list[int] = []
        self.closed = False

    def sample(self, logits: NDArray[np.float32], candidates: Any) -> int | None:
        return int(logits.argmax())

    def accept(self, token: int) -> None:
        self.accepted.append(token)

    def close(self) -> None:
        self.closed = True


class CostlySampler(FakeSampler):
    """Greedy, and each token takes `seconds`, as under a grammar."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self._clock = clock

    def sample(self, logits: NDArray[np.float32], candidates: Any) -> int | None:
        self._clock.now_s += self.seconds
        return super().sample(logits, candidates)
