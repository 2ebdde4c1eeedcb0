"""What an import is asked to take: what lies at a path, and which of the models in it are meant, as what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol, TypeVar

from appliance.errors import InvalidRequest, ModelNotFound
from appliance.store.digest import Digest
from appliance.store.ollama_store import is_ollama_store
from appliance.store.outside import is_plain_file, looking, status_at
from appliance.store.reference import Reference

_TAR_MAGIC: Final = (257, b"ustar")
_MAX_TOLD: Final = 50


class Form(StrEnum):
    """What can lie at a path."""

    FILES = "GGUF file"
    LAYOUT = "OCI layout"
    TAR = "tar"
    OLLAMA = "store of Ollama"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taking:
    """`name`: of files the new one; of all else which model is meant. `as_name`: what it is called here."""

    path: Path
    name: Reference | None = None
    as_name: Reference | None = None
    link: bool = False


class Choosable(Protocol):
    @property
    def reference(self) -> Reference | None: ...
    @property
    def digest(self) -> Digest | None:
        """None: known only when it is read."""

    @property
    def bare_tag(self) -> str | None:
        """The name where it is a tag and no more, as OCI's tools write it (`skopeo copy … oci:DIR:latest`);
        then no model is named.
        """


C = TypeVar("C", bound=Choosable)


def form_of(path: Path) -> Form:
    """Raises InvalidRequest where nothing is, or nothing that may be read, StoreFault."""
    if status_at(path) is None:
        raise InvalidRequest(reason=f"{path}: no such file or directory")
    if is_plain_file(path / "oci-layout"):
        return Form.LAYOUT
    if _is_tar(path):
        return Form.TAR
    return Form.OLLAMA if is_ollama_store(path) else Form.FILES


def picked(entries: Sequence[C], taking: Taking) -> list[tuple[C, Reference]]:
    """What is to be imported, and as what.

    1. No name given: every entry that has one; for another name there must be one only.
    2. A name that stands there, or whose tag stands there alone: that entry, where it is the content that a
       digest in the name says.
    3. Another name: the only entry, renamed.
    """
    named = _named(entries)
    name, target = taking.name, taking.as_name or taking.name
    if target is None:
        if not named:
            raise _nameless(entries, taking)
        return named  # 1
    if name is not None and (same := [*_of_name(named, name), *_of_tag(entries, name)]):
        return [(same[0], target)]  # 2
    if len(entries) == 1 and (name is None or taking.as_name is None) and _is_pinned(entries[0], target):
        return [(entries[0], target)]  # 3
    raise _several(named, taking) if name is None else _not_found(entries, named, name)


def one_asked_for(entries: Sequence[C], taking: Taking) -> Sequence[C]:
    """Where models are many and large, one comes at a time, and by its own name. Raises InvalidRequest with
    the list of them, ModelNotFound.
    """
    named = _named(entries)
    if taking.name is None and len(named) > 1:
        raise _several(named, taking)
    if taking.name is not None and not _of_name(named, taking.name):
        raise _not_found(entries, named, taking.name)
    return entries


def _named(entries: Sequence[C]) -> list[tuple[C, Reference]]:
    return [
        (entry, entry.reference)
        for entry in entries
        if entry.reference is not None and entry.bare_tag is None
    ]


def _of_name(named: list[tuple[C, Reference]], name: Reference) -> list[C]:
    return [entry for entry, reference in named if reference.key == name.key and _is_pinned(entry, name)]


def _of_tag(entries: Sequence[C], name: Reference) -> list[C]:
    return [entry for entry in entries if entry.bare_tag == name.tag and _is_pinned(entry, name)]


def _is_pinned(entry: Choosable, name: Reference) -> bool:
    return name.digest in (None, entry.digest)


def _nameless(entries: Sequence[Choosable], taking: Taking) -> InvalidRequest:
    tags = [entry.bare_tag for entry in entries if entry.bare_tag is not None]
    told = f"only the tag {', '.join(map(repr, tags))}" if tags else "nothing that is a model's name"
    return InvalidRequest(
        reason=f"{taking.path} has {told}; say which NAME it is to have: outpost import PATH NAME",
        param="name",
    )


def _not_found(entries: Sequence[C], named: list[tuple[C, Reference]], name: Reference) -> ModelNotFound:
    tags = [f":{entry.bare_tag}" for entry in entries if entry.bare_tag is not None]
    return ModelNotFound(model=name.display, available=[*_told(named), *tags[:_MAX_TOLD]])


def _several(named: list[tuple[C, Reference]], taking: Taking) -> InvalidRequest:
    first = named[0][1].display if named else "MODEL"
    return InvalidRequest(
        reason=f"{taking.path} holds {len(named)} models: {', '.join(_told(named))}; name one, as in: "
        f"outpost import {taking.path} {first}",
        param="name",
    )


def _told(named: list[tuple[C, Reference]]) -> list[str]:
    told = [reference.display for _, reference in named]
    more = len(told) - _MAX_TOLD
    return [*told[:_MAX_TOLD], *([f"and {more} more"] if more > 0 else [])]


def _is_tar(path: Path) -> bool:
    if not is_plain_file(path):
        return False
    offset, magic = _TAR_MAGIC
    with looking(path), path.open("rb") as file:
        file.seek(offset)
        return file.read(len(magic)) == magic
