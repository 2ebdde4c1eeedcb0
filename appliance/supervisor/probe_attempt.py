"""One throw-away runner of a probe, from its start to its end, and whom its failure blames."""

from __future__ import annotations

import math
import os
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

from appliance.errors import (
    ClientGone,
    EngineFault,
    InsufficientMemory,
    InvalidRequest,
    ModelInvalid,
    OutpostError,
    RequestError,
    RunnerHung,
    RunnerStartFailed,
    ShuttingDown,
    TemplateInvalid,
)
from appliance.hardware import meminfo
from appliance.log import logger
from appliance.supervisor.client import Runner
from appliance.supervisor.launch import launch
from appliance.supervisor.mailbox import Mailbox
from appliance.supervisor.patience import Patience
from appliance.supervisor.policy import RunnerPolicy
from appliance.supervisor.probe_request import Limits, ProbeRequest, ProbeResult, adapter_names, spec_of
from appliance.supervisor.process import was_sent_away
from appliance.wire.messages import (
    AdapterScale,
    ApplyTemplate,
    ChatPrompt,
    Delta,
    Embed,
    Generate,
    ModelFacts,
    Ready,
    Request,
    Rerank,
    Result,
    SamplingParams,
    TextPrompt,
    Tokenize,
)

_log = logger("probe")

_JOIN_S: Final = 5.0
_IMPOSSIBLE: Final = -9999.0
"""How a log-probability that is not finite crosses the wire (`engine/logprobs.py`)."""
_TEXT: Final = "Hello"
_CHAT: Final = ChatPrompt(messages=[{"role": "user", "content": _TEXT}])

Taken = TypeVar("Taken")


@dataclass(frozen=True, slots=True, kw_only=True)
class _News:
    """Of the runner, from its reader thread: one of the two."""

    ready: Ready | None = None
    fault: OutpostError | None = None


class Attempt:
    """One runner, from its start to its end. Owned by the thread that asked; news come from the reader's."""

    def __init__(
        self,
        request: ProbeRequest,
        limits: Limits,
        policy: RunnerPolicy,
        command: Sequence[str],
        stops: Callable[[], bool],
    ) -> None:
        self._request = request
        self._limits = limits
        self._policy = replace(
            policy,
            # Ours is the first deadline to pass, and its words are the better ones.
            load_timeout_s=limits.timeout_s + _JOIN_S,
            heartbeat_timeout_s=limits.timeout_s + _JOIN_S,
        )
        self._command = command
        self._stops = stops
        self._news: SimpleQueue[_News] = SimpleQueue()
        self._patience = Patience(limits.timeout_s, self._watch)
        self._runner: Runner | None = None
        self._available_bytes = meminfo.read().available_bytes
        self._peak_rss_bytes = 0

    def run(self) -> ProbeResult:
        began_s = time.monotonic()
        try:
            ready = self._load()
            template_error = self._try(ready.facts)
        except (ClientGone, ShuttingDown):
            _log.info("probe_cancelled", model=self._request.model)
            raise
        except OutpostError as error:
            death = None if self._runner is None else self._runner.death
            blamed = blame(
                error,
                model=self._request.model,
                death=death,
                limits=self._limits,
                available_bytes=self._available_bytes,
            )
            _log.warning("probe_failed", model=self._request.model, error=blamed.message)
            if blamed is error:
                raise
            raise blamed from error
        finally:
            self._end()
        seconds = time.monotonic() - began_s
        _log.info("probe_passed", model=self._request.model, seconds=round(seconds, 3))
        return ProbeResult(
            facts=ready.facts,
            template_error=template_error,
            load_s=ready.load_s,
            seconds=seconds,
            peak_rss_bytes=max(self._peak_rss_bytes, ready.measured_bytes),
        )

    def _load(self) -> Ready:
        self._runner = launch(
            spec_of(self._request),
            policy=self._policy,
            command=self._command,
            on_ready=lambda _, ready: self._news.put(_News(ready=ready)),
            on_gone=lambda _, fault: self._news.put(_News(fault=fault)),
            memory_bytes=self._limits.memory_bytes + self._limits.context_bytes,
        )
        self._runner.start()
        news = self._wait(self._next_news)
        if news.ready is None:
            raise news.fault or ShuttingDown()
        return news.ready

    def _try(self, facts: ModelFacts) -> str | None:
        """One of everything it can do. The fault of its chat template, where it has one."""
        if not facts.generates:
            self._try_pooling(facts)
            return None
        self._result(Tokenize(id=0, text=_TEXT))
        template_error = facts.chat_template_error
        if template_error is None:
            template_error = self._render()
        if template_error is not None and self._request.template is not None:
            raise TemplateInvalid(reason=template_error)
        self._generate()
        return template_error

    def _render(self) -> str | None:
        try:
            self._result(ApplyTemplate(id=0, prompt=_CHAT))
        except InvalidRequest as error:
            return str(error.fields["reason"])
        return None

    def _try_pooling(self, facts: ModelFacts) -> None:
        if facts.pooling == "rank":
            scores = self._result(Rerank(id=0, query=_TEXT, documents=[_TEXT])).scores
        else:
            (vector,) = self._result(Embed(id=0, inputs=[_TEXT])).vectors or (b"",)
            scores = list(struct.unpack(f"<{len(vector) // 4}f", vector[: len(vector) // 4 * 4]))
        if not scores or not all(map(math.isfinite, scores)):
            raise self._invalid("its weights give results that are not finite")

    def _generate(self) -> None:
        """One token, with the adapters at full scale."""
        request = Generate(
            id=0,
            prompt=TextPrompt(text=_TEXT),
            sampling=SamplingParams(temperature=0.0, ignore_eos=True),
            max_tokens=1,
            top_logprobs=0,
            adapters=[AdapterScale(name, 1.0) for name in adapter_names(self._request)],
        )
        take = self._open(request).take
        while not isinstance(item := self._wait(take), Delta) or item.usage is None:
            continue
        if any(chosen.logprob <= _IMPOSSIBLE for chosen in item.logprobs):
            raise self._invalid("its weights give logits that are not finite")

    # ── asking the runner ──────────────────────────────────────────────────────────────────────────────────

    def _result(self, request: Request) -> Result:
        item = self._wait(self._open(request).take)
        if isinstance(item, Result):
            return item
        raise self._invalid("the runner answered out of turn")

    def _open(self, request: Request) -> Mailbox:
        assert self._runner is not None
        return self._runner.open(request)

    def _next_news(self, timeout_s: float) -> _News | None:
        try:
            return self._news.get(timeout=timeout_s)
        except Empty:
            return None

    def _wait(self, take: Callable[[float], Taken | None]) -> Taken:
        """Raises ModelInvalid past the deadline, and what `_watch` raises."""
        taken = self._patience.wait(take)
        if taken is None:
            raise self._invalid(f"it did not answer within {self._limits.timeout_s:.0f} s")
        return taken

    def _watch(self) -> bool:
        """Asked at least every quarter of a second while we wait. True: the caller is gone."""
        rss_bytes = 0 if self._runner is None else _rss_bytes(self._runner.pid)
        self._peak_rss_bytes = max(self._peak_rss_bytes, rss_bytes)
        if rss_bytes > self._limits.memory_bytes:
            raise self._invalid(
                f"it took {rss_bytes} bytes of memory, {self._limits.memory_bytes} are allowed"
            )
        return self._stops()

    def _invalid(self, reason: str) -> ModelInvalid:
        return ModelInvalid(model=self._request.model, reason=reason)

    def _end(self) -> None:
        if self._runner is not None:
            self._runner.stop()
            self._runner.kill()
            self._runner.join(_JOIN_S)


def blame(
    error: OutpostError, *, model: str, death: str | None, limits: Limits, available_bytes: int | None
) -> OutpostError:
    """What a failure of the runner means: the model's fault, unless it is plainly the machine's. Pure.

    `death`: how its process ended by itself. `available_bytes`: of memory, before it began; None: unknown.
    """
    if death is not None and was_sent_away(death):
        return RunnerStartFailed(model=model, reason=f"it was ended from outside: {death}")
    if death is not None:
        is_short = available_bytes is not None and available_bytes < limits.needed_bytes
        if death.startswith("SIGKILL") and is_short:
            return InsufficientMemory(
                model=model, needed_bytes=limits.needed_bytes, available_bytes=available_bytes or 0
            )
        return ModelInvalid(model=model, reason=f"the runner that tried it died: {death}")
    if isinstance(error, (RequestError, EngineFault, RunnerHung)) and not isinstance(error, ClientGone):
        return ModelInvalid(model=model, reason=error.message)
    return error


def _rss_bytes(pid: int) -> int:
    """0 when it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
