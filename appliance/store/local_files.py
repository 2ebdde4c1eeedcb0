"""Files of this machine that are to become models: which GGUFs a path means, in order, before one byte is
taken.

model.gguf                    that file
model-00001-of-00003.gguf     all three, whichever is named
a directory                   every GGUF in it; links that lead out of it are refused
"""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from appliance.errors import InvalidReference, InvalidRequest, Unsupported
from appliance.store.outside import looking, status_at
from appliance.store.reference import Reference, parse_reference

MAX_FILES: Final = 1000
_SPLIT: Final = re.compile(r"(?P<stem>.+)-(?P<number>[0-9]{5})-of-(?P<total>[0-9]{5})\.gguf", re.IGNORECASE)
_OTHER_FORMATS: Final = (".safetensors", ".bin", ".pth", ".pt")


def gguf_files(path: Path) -> list[tuple[Path, ...]]:
    """One tuple for each model or companion: its file, or the parts of a split one in order.

    Raises InvalidRequest where nothing is found, Unsupported for other formats, StoreFault.
    """
    found = status_at(path)
    if found is None:
        raise InvalidRequest(reason=f"{path}: no such file or directory")
    mode = found.st_mode
    if stat.S_ISDIR(mode):
        return _grouped(_in_directory(path))
    if not stat.S_ISREG(mode):
        raise InvalidRequest(reason=f"{path} is neither a file nor a directory")
    if path.suffix.lower() in _OTHER_FORMATS:
        raise _unsupported(path)
    return _grouped(_siblings(path))


def _in_directory(directory: Path) -> list[Path]:
    inside = directory.resolve()
    with looking(directory):
        names = sorted(path.name for path in directory.iterdir())
    if len(names) > MAX_FILES:
        raise InvalidRequest(reason=f"{directory} holds more than {MAX_FILES} files")
    found = [directory / name for name in names if name.lower().endswith(".gguf")]
    for path in found:
        if not path.resolve().is_relative_to(inside):
            raise InvalidRequest(reason=f"{path} is a link that leads out of its directory")
    if not found and any(name.lower().endswith(_OTHER_FORMATS) for name in names):
        raise _unsupported(directory)
    if not found:
        raise InvalidRequest(reason=f"{directory} holds no GGUF file")
    return found


def _siblings(path: Path) -> list[Path]:
    return [path.with_name(name) for name in part_names(path.name)]


def part_names(name: str) -> list[str]:
    """Of a part of a split GGUF the names of all, in order; of another file its own. Raises InvalidRequest
    for a number that no part can have.
    """
    match = _SPLIT.fullmatch(name)
    if match is None:
        return [name]
    total = int(match["total"])
    if not 1 <= int(match["number"]) <= total <= MAX_FILES:
        reason = f"{name}: parts are numbered from 1 to their count, which is {MAX_FILES} at most"
        raise InvalidRequest(reason=reason)
    start, end = match.span("number")
    return [f"{name[:start]}{number:05d}{name[end:]}" for number in range(1, total + 1)]


def _grouped(paths: Sequence[Path]) -> list[tuple[Path, ...]]:
    """Parts of one split model together. Raises InvalidRequest when one is missing."""
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in paths:
        match = _SPLIT.fullmatch(path.name)
        groups.setdefault((match["stem"], match["total"]) if match else (path.name, ""), []).append(path)
    for (stem, total), parts in groups.items():
        present = sum(status_at(part) is not None for part in parts)
        if total and present != int(total):
            raise InvalidRequest(reason=f"{stem} has {total} parts, of which {present} are there")
    return [tuple(sorted(parts)) for parts in groups.values()]


def _unsupported(path: Path) -> Unsupported:
    return Unsupported(
        feature=path.name,
        reason="models are taken as GGUF; convert it with llama.cpp's convert_hf_to_gguf.py",
    )


def name_for(file_name: str) -> Reference:
    """A model's name made of a file's: what names do not allow becomes a dash. Raises InvalidReference."""
    match = _SPLIT.fullmatch(file_name)
    stem = match["stem"] if match else file_name.removesuffix(".gguf").removesuffix(".GGUF")
    plain = re.sub(r"[^a-z0-9._-]+", "-", stem.lower())
    # Between letters and digits stands one separator at most.
    name = re.sub(r"[._-]*-[._-]*|\.[._]+|__+[._]*", "-", plain).strip("._-")[:80].strip("._-")
    if not name:
        raise InvalidReference(
            text=file_name[:200],
            reason="a name has letters a to z or digits; give the model a NAME of its own",
        )
    return parse_reference(name)
