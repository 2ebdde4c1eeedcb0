"""Whether a runner that beats is of any use: two watches over it, beside the heartbeat that `client` keeps.

1. Stall: it has taken requests and computes nothing for them. What counts as life is tokens alone,
   generated, computed of a prompt or brought back from disk: an engine that accepts, cancels and beats may be
   stuck all the same. Each request counts from its arrival; one that is not accepted (only generations
   are) may still be prepared, and has three times as long: a text that is slow to tokenise is no stall.
2. Canary: while nobody asks, it is asked for one token now and then. Nobody waits for that and no lease is
   taken, so it neither keeps the model in memory nor delays its end; if the token does not come, it is
   stalled like any other request.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from appliance.supervisor.mailbox import Mailbox
from appliance.wire.messages import Embed, EngineStats, Generate, ModelFacts, Request, Rerank, TokensPrompt

CANARY_SCOPE: Final = "outpost canary"
"""Its one token is no prefix for anybody."""
_UNACCEPTED_TIMES: Final = 3.0


class Vigil:
    """Owned by the runner's reader thread; `stalled_s` may be asked by any."""

    def __init__(self, *, stall_timeout_s: float, canary_interval_s: float, now_s: float) -> None:
        """`canary_interval_s` 0: no canary."""
        self._stall_timeout_s = stall_timeout_s
        self._canary_interval_s = canary_interval_s
        self._life_at_s = now_s
        self._computed = 0

    def saw_token(self, now_s: float) -> None:
        self._life_at_s = now_s

    def observe(self, stats: EngineStats, now_s: float) -> None:
        """Its counters, from a heartbeat."""
        computed = stats.prompt_tokens + stats.generated_tokens + stats.restored_tokens
        if computed != self._computed:
            self._computed = computed
            self._life_at_s = now_s

    def stalled_s(self, opened: Iterable[Mailbox], now_s: float) -> float:
        """For how long it has computed nothing of what it was asked; 0 while it is asked nothing."""
        waits_s = [
            (now_s - max(self._life_at_s, one.opened_at_s)) / (1.0 if one.is_accepted else _UNACCEPTED_TIMES)
            for one in opened
        ]
        return max(0.0, *waits_s) if waits_s else 0.0

    def is_stalled(self, stalled_s: float, *, quiet_s: float = 0.0, share: float = 1.0) -> bool:
        """`quiet_s`: it asked for so much more time. `share` of its time has passed: below 1 it may still
        come back.
        """
        return stalled_s > self._stall_timeout_s * share + quiet_s

    def is_canary_due(self, *, is_idle: bool, now_s: float) -> bool:
        interval_s = self._canary_interval_s
        return is_idle and interval_s > 0 and now_s - self._life_at_s >= interval_s

    def end_canaries(self) -> None:
        """This model takes none."""
        self._canary_interval_s = 0.0


def canary(facts: ModelFacts) -> Request:
    """The least that makes the engine compute: token 0, which every vocabulary has."""
    if facts.generates:
        return Generate(
            id=0,
            prompt=TokensPrompt(tokens=[0]),
            max_tokens=1,
            scope=CANARY_SCOPE,
            cache_prompt=False,
            speculation=False,
        )
    if facts.pooling == "rank":
        return Rerank(id=0, query="a", documents=["a"])
    return Embed(id=0, inputs=[[0]])
