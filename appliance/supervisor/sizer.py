"""Sizing: a boxed-in child measures what placements of a model would take, and whoever asked waits for it.

The child loads no weights (`engine/sizing.py`), so half a second measures dozens of placements. Where it
cannot (another llama.cpp than we know), formulas answer (`planner/formulas.py`), and say so. They also check
what was measured: a difference past their tolerance is told.

The child is made on the thread that asks, and so dies with it (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from appliance.errors import (
    EngineFault,
    FileUnreadable,
    ModelInvalid,
    OutpostError,
    RunnerHung,
    RunnerStartFailed,
    ShuttingDown,
)
from appliance.gguf.header import Header, read_header
from appliance.hardware.features import read_features
from appliance.log import logger
from appliance.planner import formulas
from appliance.planner.facts import Footprint
from appliance.planner.footprint import footprint
from appliance.supervisor import preflight
from appliance.supervisor.faults import believed
from appliance.supervisor.policy import RunnerPolicy
from appliance.supervisor.process import RunnerProcess, was_sent_away
from appliance.supervisor.size_cache import SizeCache, build_fingerprint, model_key
from appliance.wire.channel import Channel, ProtocolError
from appliance.wire.messages import LoadFailed, Placement
from appliance.wire.sizer import SizerMessage, daemon_end
from appliance.wire.sizes import (
    DryRunChecked,
    DryRunUnavailable,
    Measure,
    Measured,
    Sized,
)

_log = logger("sizer")

SIZER_COMMAND: Final[tuple[str, ...]] = (sys.executable, "-I", "-m", "appliance.runner.sizes")

_ASK_EVERY_S: Final = 0.25
_TIMEOUT_S: Final = 30.0
_PLACEMENT_S: Final = 1.0
"""More for each placement; one takes 20 ms on two busy cores."""
_MEMORY_BYTES: Final = 2 * 1024 * 1024 * 1024
"""Of private pages: vocabulary, graphs, and the states of recurrent models, which a dry run does allocate."""
_REAP_S: Final = 1.0


class Source(StrEnum):
    DRY_RUN = "dry_run"
    FORMULAS = "formulas"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """What is sized: the files as a runner would get them."""

    model: str
    paths: tuple[Path, ...]
    """More than one: the parts of a split GGUF, in order."""
    draft: Path | None = None
    adapters: tuple[Path, ...] = ()
    identity: str | None = None
    """What the files are, by digest (a manifest's); None: they are known by place, size, time and inode."""
    own_kernels: bool = True
    speculation: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    footprints: tuple[Footprint | None, ...]
    """One for each placement, in order; None: llama.cpp refuses it."""
    faults: Mapping[int, str]
    """Why, by index."""
    source: Source
    reason: str | None = None
    """Why not by a dry run."""
    differences: tuple[str, ...] = ()
    """Where dry run and formulas disagree by more than the formulas' tolerance. Of new measurements only."""


class Sizer:
    """Any thread; blocks until all is known. Each measurement has a child of its own."""

    def __init__(
        self,
        policy: RunnerPolicy,
        cache: SizeCache | None = None,
        *,
        command: Sequence[str] = SIZER_COMMAND,
        build: str | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._policy = policy
        self._cache = cache
        self._command = tuple(command)
        self._build = build_fingerprint() if build is None else build
        self._timeout_s = timeout_s
        self._is_closed = threading.Event()

    def sizes(self, files: ModelFiles, placements: Sequence[Placement]) -> Sizing:
        """Raises ModelInvalid for files that llama.cpp does not load or that kill the child,
        RunnerStartFailed where no child can be started, RunnerHung past the deadline, ShuttingDown.
        """
        key = model_key(
            build=self._build,
            identity=files.identity,
            paths=files.paths,
            draft=files.draft,
            options=(files.own_kernels, files.speculation),
        )
        known = dict(self._cache.find(key, placements)) if self._cache is not None else {}
        missing = list(dict.fromkeys(one for one in placements if one not in known))
        differences: tuple[str, ...] = ()
        if missing:
            try:
                fresh = self._measure(files, missing)
            except _NoDryRun as none:
                return self._by_formulas(files, placements, none.reason)
            differences = _differences(files, fresh)
            if self._cache is not None:
                self._cache.keep(key, fresh)
            known |= fresh
        return _sizing(files, [known[one] for one in placements], differences)

    def close(self) -> None:
        """End what runs, refuse what comes. Any thread; idempotent."""
        self._is_closed.set()

    # ── the child ──────────────────────────────────────────────────────────────────────────────────────────

    def _measure(self, files: ModelFiles, placements: Sequence[Placement]) -> dict[Placement, Measured]:
        if self._is_closed.is_set():
            raise ShuttingDown
        for path in _all_paths(files):
            preflight.check(files.model, str(path))
        began_s = time.monotonic()
        process = self._spawn(files)
        process.bound_memory(_MEMORY_BYTES)
        process.offer_to_kernel()
        channel = daemon_end(process.socket)
        try:
            channel.set_send_timeout(self._policy.stop_timeout_s)
            channel.set_receive_timeout(_ASK_EVERY_S)
            deadline_s = began_s + self._timeout_s + _PLACEMENT_S * len(placements)
            found = self._follow(files, placements, process, channel, deadline_s)
        except (OutpostError, _NoDryRun) as error:
            if not isinstance(error, ShuttingDown):
                _log.warning("not_sized", model=files.model, error=str(error))
            raise
        finally:
            process.kill()
            process.reap(_REAP_S)
            channel.close()
        seconds = round(time.monotonic() - began_s, 3)
        _log.info("sized", model=files.model, placements=len(placements), seconds=seconds)
        return found

    def _spawn(self, files: ModelFiles) -> RunnerProcess:
        try:
            return RunnerProcess(name=files.model, sandbox=self._policy.sandbox, command=self._command)
        except OSError as error:
            raise RunnerStartFailed(model=files.model, reason=f"no process: {error.strerror}") from error

    def _follow(
        self,
        files: ModelFiles,
        placements: Sequence[Placement],
        process: RunnerProcess,
        channel: Channel[SizerMessage],
        deadline_s: float,
    ) -> dict[Placement, Measured]:
        found: dict[Placement, Measured] = {}
        is_checked = False
        try:
            channel.send(_order(files, placements))
            while True:
                if self._is_closed.is_set():
                    raise ShuttingDown
                if time.monotonic() > deadline_s:
                    raise RunnerHung(model=files.model, silent_s=self._timeout_s)
                try:
                    message = channel.receive()
                except TimeoutError:
                    continue
                match message:
                    case DryRunChecked():
                        is_checked = True
                    case DryRunUnavailable():
                        raise _NoDryRun(message.reason)
                    case Measured() if 0 <= message.index < len(placements):
                        found[placements[message.index]] = message
                    case Sized() if len(found) == len(placements):
                        return found
                    case LoadFailed():
                        raise _told(believed(message.error), files)
                    case _:
                        raise _died(files, process, is_checked=is_checked)
        except (OSError, ProtocolError) as error:
            raise _died(files, process, is_checked=is_checked) from error

    # ── without it ─────────────────────────────────────────────────────────────────────────────────────────

    def _by_formulas(self, files: ModelFiles, placements: Sequence[Placement], reason: str) -> Sizing:
        headers = [read_header(path, model=files.model) for path in files.paths]
        draft = None if files.draft is None else read_header(files.draft, model=files.model)
        cpu = read_features()
        return Sizing(
            footprints=tuple(
                formulas.footprint(
                    headers,
                    placement,
                    cpu=cpu,
                    draft=draft,
                    adapters_bytes=_adapters_bytes(files),
                    own_kernels=files.own_kernels,
                    speculation=files.speculation,
                )
                for placement in placements
            ),
            faults={},
            source=Source.FORMULAS,
            reason=reason,
        )


class _NoDryRun(Exception):
    """Inside this module only: formulas take over."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _order(files: ModelFiles, placements: Sequence[Placement]) -> Measure:
    paths = [str(path.absolute()) for path in files.paths]
    return Measure(
        model=files.model,
        path=paths[0],
        paths=paths if len(paths) > 1 else [],
        draft_path=None if files.draft is None else str(files.draft.absolute()),
        placements=list(placements),
        own_kernels=files.own_kernels,
        speculation=files.speculation,
    )


def _sizing(files: ModelFiles, measured: Sequence[Measured], differences: tuple[str, ...]) -> Sizing:
    adapters_bytes = _adapters_bytes(files)
    return Sizing(
        footprints=tuple(
            None if one.model is None else footprint(one, adapters_bytes=adapters_bytes) for one in measured
        ),
        faults={index: one.fault or "" for index, one in enumerate(measured) if one.model is None},
        source=Source.DRY_RUN,
        differences=differences,
    )


def _differences(files: ModelFiles, fresh: Mapping[Placement, Measured]) -> tuple[str, ...]:
    """What formulas make of the same; nothing where they cannot read the header."""
    try:
        headers: list[Header] = [read_header(path, model=files.model) for path in files.paths]
    except (FileUnreadable, ModelInvalid):
        return ()
    cpu = read_features()
    told = tuple(
        difference
        for placement, measured in fresh.items()
        if measured.model is not None
        for difference in formulas.differences(
            headers,
            placement,
            measured.model,
            cpu=cpu,
            own_kernels=files.own_kernels,
            speculation=files.speculation,
        )
    )
    for difference in told:
        _log.warning("formulas_differ", model=files.model, difference=difference)
    return told


def _told(error: OutpostError, files: ModelFiles) -> OutpostError:
    """What the child says it failed of."""
    if isinstance(error, EngineFault):
        return ModelInvalid(model=files.model, reason=error.message)
    return error


def _died(files: ModelFiles, process: RunnerProcess, *, is_checked: bool) -> OutpostError | _NoDryRun:
    """It ended without a word: of the file, if it had opened it; else of llama.cpp's inside."""
    cause = process.reap(_REAP_S)
    if cause.startswith("SIG") and not was_sent_away(cause):
        if is_checked:
            return ModelInvalid(model=files.model, reason=f"the sizer died over it: {cause}")
        return _NoDryRun(f"the sizer died before it opened the model: {cause}")
    return RunnerStartFailed(model=files.model, reason=f"the sizer ended: {cause}")


def _adapters_bytes(files: ModelFiles) -> int:
    """Their tensors are held as they are; what cannot be seen counts nothing: the launch will name it."""
    stamps = [preflight.stamp(str(path)) for path in files.adapters]
    return sum(one.size_bytes for one in stamps if one is not None)


def _all_paths(files: ModelFiles) -> list[Path]:
    return [*files.paths, *files.adapters, *([] if files.draft is None else [files.draft])]
