"""The verbs of the store as values: what a client asks for in one body, checked, and done by `perform`.

The daemon's door and the command line without a daemon share it, so both take the same words and give the
same outcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Union

import msgspec

from appliance.errors import InvalidRequest
from appliance.store.answers import calibration_object, collected_object, record_object
from appliance.store.content import Report
from appliance.store.kept import PROTECTED_S
from appliance.store.verbs import CalibrateWish, OptimizeWish, StoreVerbs

MAX_MODELFILE_CHARS: Final = 1 << 20

Name = Annotated[str, msgspec.Meta(max_length=2048)]
"""Bounded only; what a name is, `reference.py` decides."""
FilePath = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
"""Absolute, on the machine of the store."""
ModelfileText = Annotated[str, msgspec.Meta(max_length=MAX_MODELFILE_CHARS)]
Quantization = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]

Outcome = dict[str, Any]
"""JSON: what is to be said beside `success`."""


class _Operation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="verb"):
    """One verb and its arguments."""


class Pull(_Operation, frozen=True, kw_only=True, tag="pull"):
    name: Name
    as_name: Name | None = None


class Push(_Operation, frozen=True, kw_only=True, tag="push"):
    name: Name
    target: Name | None = None


class Create(_Operation, frozen=True, kw_only=True, tag="create"):
    name: Name
    modelfile: ModelfileText
    base_dir: FilePath | None = None
    """What paths in the Modelfile are relative to; None: it may have none."""
    quantize: Quantization | None = None


class Import(_Operation, frozen=True, kw_only=True, tag="import"):
    path: FilePath
    name: Name | None = None
    as_name: Name | None = None
    link: bool = False


class Export(_Operation, frozen=True, kw_only=True, tag="export"):
    name: Name
    path: FilePath


class Copy(_Operation, frozen=True, kw_only=True, tag="copy"):
    source: Name
    destination: Name


class Remove(_Operation, frozen=True, kw_only=True, tag="remove"):
    name: Name


class Verify(_Operation, frozen=True, kw_only=True, tag="verify"):
    name: Name | None = None
    rebuild_index: bool = False
    """First of all, where it is damaged."""


class Gc(_Operation, frozen=True, kw_only=True, tag="gc"):
    dry_run: bool = False
    grace_s: Annotated[float, msgspec.Meta(ge=0, le=PROTECTED_S)] | None = None
    """Shorter than the usual one; None: the usual one."""
    arrivals: bool = False
    """Also what was cut off on its way in."""


class Optimize(_Operation, frozen=True, kw_only=True, tag="optimize"):
    name: Name
    max_kl: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    """None: as the configuration says."""
    dry_run: bool = False
    candidates: Annotated[tuple[Quantization, ...], msgspec.Meta(max_length=8)] = ()
    """Empty: those that this chip suggests."""
    undo: bool = False
    """Serve the original again; the others say nothing then."""


class Calibrate(_Operation, frozen=True, kw_only=True, tag="calibrate"):
    name: Name
    limit_s: Annotated[float, msgspec.Meta(ge=5, le=3600)] | None = None
    """None: as the configuration says."""
    power_modes: bool = False
    dry_run: bool = False
    show: bool = False
    """Only what is stored; the others say nothing then."""
    forget: bool = False
    """Serve it by the defaults again; the others say nothing then."""


Operation = Union[Pull, Push, Create, Import, Export, Copy, Remove, Verify, Gc, Optimize, Calibrate]


def parse_operation(body: Mapping[str, object]) -> Operation:
    """Raises InvalidRequest for an unknown verb, a missing, unknown or wrong field, and a relative path."""
    try:
        operation: Operation = msgspec.convert(body, type=Operation)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$.")
        raise InvalidRequest(reason=_lowered(reason), param=where.rstrip("`") or None) from error
    for field, path in paths_of(operation).items():
        if not path.startswith("/") or "\0" in path:
            raise InvalidRequest(reason="an absolute path is expected", param=field)
    return operation


def to_body(operation: Operation) -> dict[str, Any]:
    """What `parse_operation` reads."""
    body: dict[str, Any] = msgspec.to_builtins(operation)
    return body


def paths_of(operation: Operation) -> dict[str, str]:
    """The fields that name files on the machine of the store: who sends them must be on it."""
    match operation:
        case Import(path=path) | Export(path=path):
            return {"path": path}
        case Create(base_dir=str(base_dir)):
            return {"base_dir": base_dir}
        case _:
            return {}


def names_of(operation: Operation) -> list[str]:
    """The models it is about, for the log."""
    told = (getattr(operation, field, None) for field in ("name", "source", "destination", "target"))
    return [name for name in told if isinstance(name, str)]


def is_audited(operation: Operation) -> bool:
    """Whether it changes what is stored, or takes it elsewhere."""
    match operation:
        case Verify(rebuild_index=changes):
            return changes
        case Gc(dry_run=dry_run) | Optimize(dry_run=dry_run):
            return not dry_run
        case Calibrate():
            return False
        case _:
            return True


def audited_facts(operation: Operation, outcome: Outcome) -> dict[str, str | list[str]]:
    """What the audit log is told of it."""
    told: dict[str, str | list[str]] = {"asked": names_of(operation), **paths_of(operation)}
    names = outcome.get("names", [outcome["name"]] if "name" in outcome else None)
    return told if names is None else {**told, "names": [str(name) for name in names]}


def event_of(operation: Operation) -> str:
    """Its name in the audit log."""
    return f"model_{type(operation).__name__.lower()}"


def perform(verbs: StoreVerbs, operation: Operation, report: Report) -> Outcome:  # noqa: PLR0911 - a table
    """Do it and return when it is durable. Raises what the verb raises."""
    match operation:
        case Pull(name=name, as_name=as_name):
            return {"name": verbs.pull(name, report, as_name=as_name)}
        case Push(name=name, target=target):
            return {"name": verbs.push(name, report, target=target)}
        case Create(name=name, modelfile=text, base_dir=base_dir, quantize=quantize):
            base = None if base_dir is None else Path(base_dir)
            return {"name": verbs.create(name, text, report, base_dir=base, quantize=quantize)}
        case Import(path=path, name=given, as_name=as_name, link=link):
            names = verbs.import_file(Path(path), given, report, link=link, as_name=as_name)
            return {"names": list(names)}
        case Export(name=name, path=path):
            verbs.export(name, Path(path), report)
            return {"path": path}
        case Copy(source=source, destination=destination):
            verbs.copy(source, destination)
            return {}
        case Remove(name=name):
            verbs.remove(name)
            return {}
        case Verify():
            return _verify(verbs, operation, report)
        case Optimize():
            return _optimize(verbs, operation, report)
        case Calibrate():
            return _calibrate(verbs, operation, report)
        case Gc(dry_run=dry_run, grace_s=grace_s, arrivals=arrivals):
            collected = verbs.gc(dry_run=dry_run, grace_s=grace_s, arrivals=arrivals)
            return {**collected_object(collected), "dry_run": dry_run}


def _optimize(verbs: StoreVerbs, asked: Optimize, report: Report) -> Outcome:
    if asked.undo:
        return {"name": asked.name, "undone": verbs.unoptimize(asked.name)}
    wish = OptimizeWish(max_kl=asked.max_kl, dry_run=asked.dry_run, kinds=asked.candidates)
    done = verbs.optimize(asked.name, report, wish=wish)
    return {"name": done.name, "dry_run": done.dry_run, "optimization": record_object(done.record)}


def _calibrate(verbs: StoreVerbs, asked: Calibrate, report: Report) -> Outcome:
    if asked.forget:
        return {"name": asked.name, "forgotten": verbs.forget_calibration(asked.name)}
    if asked.show:
        return calibration_object(verbs.calibration(asked.name))
    wish = CalibrateWish(limit_s=asked.limit_s, power_modes=asked.power_modes, dry_run=asked.dry_run)
    done = verbs.calibrate(asked.name, report, wish=wish)
    return {**calibration_object(done), "dry_run": asked.dry_run}


def _verify(verbs: StoreVerbs, asked: Verify, report: Report) -> Outcome:
    outcome: Outcome = {}
    if asked.rebuild_index:
        names = verbs.rebuild_index()
        outcome["rebuilt"] = None if names is None else list(names)
    found = verbs.verify(asked.name, report)
    broken = [{"what": what, "reason": reason} for what, reason in found.broken]
    return {**outcome, "blobs": found.blobs, "size_bytes": found.size_bytes, "broken": broken}


def _lowered(reason: str) -> str:
    return reason[:1].lower() + reason[1:]
