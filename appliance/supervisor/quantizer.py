"""Quantising: a boxed-in child makes one GGUF of another, and whoever asked waits for it.

The child is made on the thread that asks, and so dies with it (PR_SET_PDEATHSIG): that thread does nothing
but wait for it. To give up is to kill.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from appliance.errors import (
    ClientGone,
    EngineFault,
    InvalidRequest,
    ModelInvalid,
    OutpostError,
    RunnerHung,
    RunnerStartFailed,
    ShuttingDown,
)
from appliance.log import logger
from appliance.supervisor import preflight
from appliance.supervisor.faults import believed
from appliance.supervisor.policy import RunnerPolicy
from appliance.supervisor.process import RunnerProcess, was_sent_away
from appliance.wire.channel import Channel, ProtocolError
from appliance.wire.messages import LoadFailed, Loading
from appliance.wire.quantize import (
    KINDS,
    Quantize,
    Quantized,
    QuantizerMessage,
    daemon_end,
    kind_of,
)

_log = logger("quantizer")

QUANTIZER_COMMAND: Final[tuple[str, ...]] = (sys.executable, "-I", "-m", "appliance.runner.quantize")

_ASK_EVERY_S: Final = 0.25
_SILENCE_S: Final = 1800.0
"""Longest time for one tensor: the largest of a large model on a slow board takes minutes."""
_SPARE_BYTES: Final = 64 * 1024 * 1024
_REAP_S: Final = 1.0

Report = Callable[[float], None]
"""Hears the share that is done, 0 to 1."""


def checked_kind(name: str) -> str:
    """llama.cpp's name of the file type that is meant. Raises InvalidRequest with the list of them."""
    kind = kind_of(name)
    if kind is None:
        raise InvalidRequest(reason=f"{name[:64]!r} is not one of {', '.join(KINDS)}", param="quantize")
    return kind


class Quantizer:
    """Any thread; blocks until the file is made. Each call has a child of its own."""

    def __init__(self, policy: RunnerPolicy, *, command: Sequence[str] = QUANTIZER_COMMAND) -> None:
        self._policy = policy
        self._command = tuple(command)
        self._is_closed = threading.Event()

    def __call__(
        self,
        source: Path | Sequence[Path],
        target: Path | int,
        kind: str,
        report: Report = lambda _: None,
        *,
        model: str = "",
        allow_requantize: bool = False,
        gone: Callable[[], bool] | None = None,
    ) -> int:
        """Write `target` (a path that is made or emptied, or a descriptor open for writing), and return its
        size. Not synced. Several sources are the parts of a split GGUF, in order; they become one file.

        Raises InvalidRequest (unknown kind, a source that is quantised already), ModelInvalid, StoreFault,
        RunnerStartFailed, RunnerHung, ClientGone when `gone` says so (it may raise itself), ShuttingDown.
        What was written until then is of no use.
        """
        exact = checked_kind(kind)
        sources = [source] if isinstance(source, Path) else list(source)
        name = model or sources[0].name
        for path in sources:
            preflight.check(name, str(path))
        with _opened(target) as descriptor, _readable(sources) as first:
            order = Quantize(
                path=str(first),
                paths=[str(path) for path in sources],
                output_fd=descriptor,
                output_limit_bytes=_limit_bytes(sources, exact),
                kind=exact,
                model=name,
                allow_requantize=allow_requantize,
            )
            return self._run(order, report, gone)

    def close(self) -> None:
        """End what runs, refuse what comes. Any thread; idempotent."""
        self._is_closed.set()

    def _run(self, order: Quantize, report: Report, gone: Callable[[], bool] | None) -> int:
        began_s = time.monotonic()
        process = self._spawn(order)
        process.offer_to_kernel()
        channel = daemon_end(process.socket)
        try:
            channel.set_send_timeout(self._policy.stop_timeout_s)
            channel.set_receive_timeout(_ASK_EVERY_S)
            size_bytes = self._follow(order, process, channel, report, gone)
        except (ClientGone, ShuttingDown):
            _log.info("quantize_cancelled", model=order.model, kind=order.kind)
            raise
        except OutpostError as error:
            _log.warning("quantize_failed", model=order.model, kind=order.kind, error=error.message)
            raise
        finally:
            process.kill()
            process.reap(_REAP_S)
            channel.close()
        seconds = round(time.monotonic() - began_s, 3)
        _log.info("quantized", model=order.model, kind=order.kind, size_bytes=size_bytes, seconds=seconds)
        return size_bytes

    def _spawn(self, order: Quantize) -> RunnerProcess:
        try:
            return RunnerProcess(
                name=order.model,
                sandbox=self._policy.sandbox,
                command=self._command,
                pass_fds=(order.output_fd,),
            )
        except OSError as error:
            raise RunnerStartFailed(model=order.model, reason=f"no process: {error.strerror}") from error

    def _follow(
        self,
        order: Quantize,
        process: RunnerProcess,
        channel: Channel[QuantizerMessage],
        report: Report,
        gone: Callable[[], bool] | None,
    ) -> int:
        heard_s = time.monotonic()
        try:
            channel.send(order)
            while True:
                self._check_wanted(gone)
                try:
                    message = channel.receive()
                except TimeoutError:
                    if time.monotonic() - heard_s > _SILENCE_S:
                        raise RunnerHung(model=order.model, silent_s=_SILENCE_S) from None
                    continue
                heard_s = time.monotonic()
                match message:
                    case Loading():
                        report(message.progress)
                    case Quantized():
                        report(1.0)
                        return message.size_bytes
                    case LoadFailed():
                        raise _told(believed(message.error), order)
                    case None:
                        raise _died(order, process)
        except (OSError, ProtocolError) as error:
            raise _died(order, process) from error

    def _check_wanted(self, gone: Callable[[], bool] | None) -> None:
        if self._is_closed.is_set():
            raise ShuttingDown
        if gone is not None and gone():
            raise ClientGone


def _told(error: OutpostError, order: Quantize) -> OutpostError:
    """What the child says it failed of."""
    if isinstance(error, EngineFault):
        return ModelInvalid(model=order.model, reason=error.message)
    return error


def _died(order: Quantize, process: RunnerProcess) -> OutpostError:
    """It ended without a word. By a signal: llama.cpp has no other answer to some hostile files."""
    cause = process.reap(_REAP_S)
    if cause.startswith("SIG") and not was_sent_away(cause):
        return ModelInvalid(model=order.model, reason=f"the quantiser died over it: {cause}")
    return RunnerStartFailed(model=order.model, reason=f"the quantiser ended: {cause}")


@contextlib.contextmanager
def _opened(target: Path | int) -> Iterator[int]:
    if isinstance(target, int):
        yield target
        return
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _readable(sources: Sequence[Path]) -> Iterator[Path]:
    """The path to give to llama.cpp, which finds the parts of a split model by their names only: links with
    such names, for the time it takes.
    """
    if len(sources) == 1:
        yield sources[0].absolute()
        return
    with tempfile.TemporaryDirectory(prefix="outpost-split-") as directory:
        links = [
            Path(directory) / f"model-{number:05}-of-{len(sources):05}.gguf"
            for number in range(1, len(sources) + 1)
        ]
        for link, source in zip(links, sources, strict=True):
            link.symlink_to(source.absolute())
        yield links[0]


def _limit_bytes(sources: Sequence[Path], kind: str) -> int:
    """More than any result has: f16 to f32 doubles, a requantised 1-bit model grows most."""
    size_bytes = sum(path.stat().st_size for path in sources)
    return size_bytes * (32 if kind in {"f32", "f16", "bf16"} else 8) + _SPARE_BYTES
