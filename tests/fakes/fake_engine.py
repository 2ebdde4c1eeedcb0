"""An engine without a model: deterministic deltas, with knobs for every way a runner can fail.

The knobs are JSON behind the 24-byte header of the "model" file (`write_model`), so that a real runner
process can be steered by the path alone.
"""

from __future__ import annotations

import json
import math
import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Union

from appliance.engine.interface import Prepared, Said
from appliance.errors import InvalidRequest, ModelInvalid
from appliance.wire.messages import (
    Accepted,
    ApplyTemplate,
    Delta,
    Detokenize,
    Embed,
    EngineStats,
    FinishReason,
    Generate,
    Load,
    ModelFacts,
    Rerank,
    Result,
    SetLimits,
    Step,
    TextPrompt,
    Tokenize,
    Usage,
)
from tests.fakes.fake_probes import probe

_HEADER = struct.pack("<4sIQQ", b"GGUF", 3, 0, 0)


def write_model(path: Path, **knobs: object) -> Path:
    """A file that passes the daemon's preflight and steers a FakeEngine (see `FakeEngine`)."""
    path.write_bytes(_HEADER + json.dumps(knobs).encode())
    return path


def read_knobs(path: str) -> dict[str, Any]:
    knobs = json.loads(Path(path).read_bytes()[len(_HEADER) :])
    assert isinstance(knobs, dict)
    return knobs


class FakeEngine:
    """Every running request gets one delta per step, `"<token number> "`, until `max_tokens`.

    Knobs: `load_s`, `load_error`, `load_crash`; `step_s`, or `step_file` that has it; `prepare_s`;
    `after_tokens` and `then` (kill, segv, abort, raise, exit, stop, hang); `mute_after` tokens it computes
    nothing more, and beats; `device`; `nvmap_above_ctx`: the longest context that the driver has memory for;
    `loads`: a file that counts them; and for ApplyTemplate the targets of `fake_probes.probe`.
    """

    def __init__(self, load: Load, *, on_progress: Callable[[float], None]) -> None:
        self._knobs = read_knobs(load.path)
        for part in range(4):
            time.sleep(self._knobs.get("load_s", 0.0) / 4)
            on_progress((part + 1) / 4)
        if "loads" in self._knobs:
            with Path(self._knobs["loads"]).open("a") as loads:
                loads.write(f"{load.placement.n_ctx_seq}\n")
        if load.placement.n_ctx_seq > self._knobs.get("nvmap_above_ctx", math.inf):
            print("NvMapMemAllocInternalTagged: 1075072515 error 12", file=sys.stderr, flush=True)
            raise ModelInvalid(model=load.model, reason="unable to allocate CUDA0 buffer")
        if "load_error" in self._knobs:
            raise ModelInvalid(model=load.model, reason=self._knobs["load_error"])
        if "load_crash" in self._knobs:
            fail(self._knobs["load_crash"])
        self.facts = ModelFacts(
            n_ctx_train=4096,
            n_ctx_seq=load.placement.n_ctx_seq,
            n_seq_max=load.placement.n_seq_max,
            n_vocab=100,
            n_embd=8,
            n_params=1,
            size_bytes=1,
            description="a fake",
            device=self._knobs.get("device", "cpu"),
            n_gpu_layers=0 if self._knobs.get("device", "cpu") == "cpu" else 29,
            n_layers=29,
            has_chat_template=True,
        )
        self._running: dict[int, tuple[Generate, int]] = {}
        self._steps = 0
        self._tokens = 0

    def prepare(
        self,
        request: Union[Generate, Embed, Rerank, Tokenize, Detokenize, ApplyTemplate],
        is_wanted: Callable[[], bool],
    ) -> Prepared | Result:
        time.sleep(self._knobs.get("prepare_s", 0.0))
        if isinstance(request, Tokenize):
            return Result(id=request.id, tokens=[len(word) for word in request.text.split()])
        if isinstance(request, ApplyTemplate):
            return Result(id=request.id, text=probe(self._knobs))
        if isinstance(request, Generate) and isinstance(request.prompt, TextPrompt):
            if request.prompt.text == "refuse me":
                raise InvalidRequest(reason="you asked for it", param="prompt")
            if request.prompt.text == "a bug":
                raise ZeroDivisionError("a bug in prepare")
        return request

    def submit(self, prepared: Prepared) -> Sequence[Said]:
        assert isinstance(prepared, Generate)
        self._running[prepared.id] = (prepared, 0)
        return [Accepted(id=prepared.id, prompt_tokens=3, cached_tokens=0)]

    def cancel(self, request_id: int) -> Sequence[Said]:
        if request_id not in self._running:
            return []
        request, done = self._running.pop(request_id)
        return [Step(deltas=[_last(request, done, "", FinishReason.CANCELLED)])]

    def set_limits(self, limits: SetLimits) -> None:
        """The loop keeps the pauses; this engine knows no batch."""

    def has_work(self) -> bool:
        return bool(self._running)

    def expected_s(self) -> float:
        return float(self._knobs.get("expected_s", 0.0))

    def step(self) -> Sequence[Said]:
        time.sleep(self._step_s())
        if self._tokens >= self._knobs.get("mute_after", math.inf):
            time.sleep(0.02)
            return []
        self._steps += 1
        deltas = []
        for key, (request, done) in list(self._running.items()):
            text = f"{done} "
            self._tokens += 1
            if done + 1 >= (request.max_tokens or 16):
                del self._running[key]
                deltas.append(_last(request, done + 1, text, FinishReason.LENGTH))
            else:
                self._running[key] = (request, done + 1)
                deltas.append(Delta(id=key, choice=0, text=text, tokens=1))
        if "then" in self._knobs and self._tokens > self._knobs.get("after_tokens", 0):
            fail(self._knobs["then"])
        return [Step(deltas=deltas)]

    def _step_s(self) -> float:
        if "step_file" in self._knobs:
            return float(Path(self._knobs["step_file"]).read_text())
        return float(self._knobs.get("step_s", 0.0))

    def rest(self) -> None: ...

    def hibernate(self) -> None:
        time.sleep(self._knobs.get("hibernate_s", 0.0))

    def stats(self) -> EngineStats:
        return EngineStats(running=len(self._running), steps=self._steps, generated_tokens=self._tokens)


def fail(how: str) -> None:
    """End or stop this process the way `how` says."""
    print(f"about to {how}", file=sys.stderr, flush=True)
    match how:
        case "kill" | "segv":
            signal.raise_signal(signal.SIGKILL if how == "kill" else signal.SIGSEGV)
        case "abort":
            os.abort()
        case "raise":
            raise ZeroDivisionError("a bug in step")
        case "exit":
            os._exit(3)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "hang":
            time.sleep(3600)
        case _:
            raise AssertionError(how)


def _last(request: Generate, done: int, text: str, reason: FinishReason) -> Delta:
    usage = Usage(prompt_tokens=3, cached_tokens=0, completion_tokens=done)
    return Delta(id=request.id, choice=0, text=text, tokens=1, finish_reason=reason, usage=usage)
