"""Which part each layer of a manifest plays in a model: a pure decision by media type and file name.

Ollama and Docker name the part in the media type; ModelPack names only weights, configuration and
documents, and the file name tells the rest. What is unknown plays no part; what makes the whole thing no
GGUF model (safetensors, archives) is refused by its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from appliance.errors import ManifestInvalid
from appliance.store.descriptor import Descriptor, Manifest
from appliance.store.media_types import (
    CNAI_FILEPATH,
    DOCKER_AI_PREFIX,
    FILEPATH,
    MODELPACK_PREFIXES,
    OLLAMA_PREFIX,
    TITLE,
)


class Part(StrEnum):
    WEIGHTS = "weights"
    PROJECTOR = "projector"
    ADAPTER = "adapter"
    DRAFT = "draft"
    JINJA_TEMPLATE = "Jinja template"
    GO_TEMPLATE = "Go template"
    SYSTEM = "system prompt"
    PARAMS = "parameters"
    MESSAGES = "messages"
    LICENCE = "licence"
    EXTRAS = "facts"


@dataclass(frozen=True, slots=True)
class _Refused:
    """A layer that makes the model none of ours, and the word for it."""

    word: str


_Play = Part | _Refused | None

SAFETENSORS: Final = _Refused("a safetensors model")
ARCHIVE: Final = _Refused("a model packed in an archive")

_OLLAMA: Final[Mapping[str, _Play]] = {
    "model": Part.WEIGHTS,
    "projector": Part.PROJECTOR,
    "adapter": Part.ADAPTER,
    "draft": Part.DRAFT,
    "template": Part.GO_TEMPLATE,
    "system": Part.SYSTEM,
    "params": Part.PARAMS,
    "messages": Part.MESSAGES,
    "license": Part.LICENCE,
    "tensor": SAFETENSORS,
    "json": SAFETENSORS,
}
"""`prompt` and `embed` are Ollama's own past: no part."""

_DOCKER: Final[Mapping[str, _Play]] = {
    "gguf.v3": Part.WEIGHTS,
    "gguf.v3.lora": Part.ADAPTER,
    "gguf.v3.mmproj": Part.PROJECTOR,
    "mmproj": Part.PROJECTOR,
    "chat.template.jinja": Part.JINJA_TEMPLATE,
    "license": Part.LICENCE,
    "safetensors": SAFETENSORS,
    "vllm.config.tar": SAFETENSORS,
    "dduf": _Refused("a DDUF model"),
}

_WEIGHT: Final = "weight.v1."
_WEIGHT_CONFIG: Final = "weight.config.v1.raw"
_DOC: Final = "doc.v1.raw"

_BY_NAME: Final[tuple[tuple[re.Pattern[str], Part], ...]] = tuple(
    (re.compile(pattern, re.ASCII | re.IGNORECASE), part)
    for pattern, part in (
        (r"(chat_)?template\.jinja2?", Part.JINJA_TEMPLATE),
        (r"template\.gotmpl", Part.GO_TEMPLATE),
        (r"system\.txt", Part.SYSTEM),
        (r"params\.json", Part.PARAMS),
        (r"messages\.json", Part.MESSAGES),
        (r"facts\.json", Part.EXTRAS),
    )
)
_LICENCE: Final = re.compile(r"(licen[cs]e|copying|notice)([-_. ].*)?", re.ASCII | re.IGNORECASE)
_PROJECTOR: Final = re.compile(r"(.*[-_.])?mmproj([-_.].*)?\.gguf", re.ASCII | re.IGNORECASE)
_ADAPTER: Final = re.compile(r"(adapter|lora)(-[0-9]+)?\.gguf", re.ASCII | re.IGNORECASE)
_DRAFT: Final = re.compile(r"draft\.gguf", re.ASCII | re.IGNORECASE)
_MAX_NAME_CHARS: Final = 255
"""Also what keeps the patterns below cheap: two stars in one need quadratic time."""
_FOREIGN: Final = re.compile(
    r".*\.(safetensors|bin|pth?|ckpt|onnx|h5|keras|npz|pb|tflite|mlmodel|ot|msgpack|tar|t?gz|zst|zip|dduf)",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
"""Other names may hide a GGUF (`model.file`, `tiny-v1.1`): admission looks inside."""
_SPLIT: Final = re.compile(r"(.*)-([0-9]{5})-of-([0-9]{5})\.gguf", re.ASCII | re.IGNORECASE | re.DOTALL)


def parts_of(manifest: Manifest, *, what: str) -> dict[Part, list[Descriptor]]:
    """The layers of each part, in the manifest's order. Raises ManifestInvalid for what is no GGUF model."""
    found: dict[Part, list[Descriptor]] = {part: [] for part in Part}
    for layer in manifest.layers:
        play = _play(layer)
        if isinstance(play, _Refused):
            raise ManifestInvalid(what=what, reason=f"it is {play.word}; only GGUF files are served")
        if play is not None:
            found[play].append(layer)
    if not found[Part.WEIGHTS]:
        raise ManifestInvalid(what=what, reason=_why_empty(manifest))
    return found


def in_order(weights: list[Descriptor], *, what: str) -> tuple[Descriptor, ...]:
    """The files of one model, the first one first. Raises ManifestInvalid for several models, and for a
    split one with a file missing.
    """
    if len(weights) == 1 and not _SPLIT.fullmatch(file_name(weights[0]) or ""):
        return tuple(weights)
    names = [file_name(layer) for layer in weights]
    if not any(names):
        return tuple(weights)  # as the manifest has them
    matches = [_SPLIT.fullmatch(name or "") for name in names]
    stems = {match[1] for match in matches if match}
    if None in matches or len(stems) != 1:
        raise ManifestInvalid(what=what, reason=f"holds several models: {_listed(names)}")
    numbered = sorted(zip((int(m[2]) for m in matches if m), weights, strict=True), key=lambda pair: pair[0])
    counts = {int(match[3]) for match in matches if match}
    if counts != {len(weights)} or [number for number, _ in numbered] != list(range(1, len(weights) + 1)):
        raise ManifestInvalid(what=what, reason=f"its split files are not complete: {_listed(names)}")
    return tuple(layer for _, layer in numbered)


def file_name(layer: Descriptor) -> str | None:
    """The last part of the path that the publisher gave; a hint for reading, never a path of ours. What is
    too long for a file's name is none.
    """
    for key in (FILEPATH, CNAI_FILEPATH, TITLE):
        path = layer.annotations.get(key, "").replace("\\", "/").rstrip("/")
        if path:
            name = path.rpartition("/")[2]
            return name if len(name) <= _MAX_NAME_CHARS else None
    return None


def _play(layer: Descriptor) -> _Play:
    kind = layer.media_type
    if kind.startswith(OLLAMA_PREFIX):
        return _OLLAMA.get(kind.removeprefix(OLLAMA_PREFIX))
    if kind.startswith(DOCKER_AI_PREFIX):
        return _docker(kind.removeprefix(DOCKER_AI_PREFIX), file_name(layer))
    for prefix in MODELPACK_PREFIXES:
        if kind.startswith(prefix):
            return _modelpack(kind.removeprefix(prefix), file_name(layer))
    return None


def _docker(kind: str, name: str | None) -> _Play:
    if kind == "model.file":
        return _small_file(name or "")
    return _DOCKER.get(kind)


def _modelpack(kind: str, name: str | None) -> _Play:
    if kind == _WEIGHT_CONFIG:
        return _small_file(name or "")
    if kind == _DOC:
        return Part.LICENCE if _LICENCE.fullmatch(name or "") else None
    if not kind.startswith(_WEIGHT):
        return None
    form = kind.removeprefix(_WEIGHT)
    if form in ("raw", "gguf"):  # the second is of older Docker Model Runners, and no standard
        return _weight_file(name)
    return SAFETENSORS if form == "safetensors" else ARCHIVE


def _weight_file(name: str | None) -> _Play:
    foreign = _FOREIGN.fullmatch(name or "")
    if foreign:
        return _Refused(f"a model of .{foreign[1].lower()} files")
    for pattern, part in ((_DRAFT, Part.DRAFT), (_ADAPTER, Part.ADAPTER), (_PROJECTOR, Part.PROJECTOR)):
        if pattern.fullmatch(name or ""):
            return part
    return Part.WEIGHTS


def _small_file(name: str) -> _Play:
    if name.lower().endswith(".safetensors"):
        return SAFETENSORS
    if _LICENCE.fullmatch(name):
        return Part.LICENCE
    return next((part for pattern, part in _BY_NAME if pattern.fullmatch(name)), None)


def _why_empty(manifest: Manifest) -> str:
    kinds = {layer.media_type for layer in manifest.layers}
    if any("image.layer." in kind or "image.rootfs." in kind for kind in kinds):
        return "it is a container image, not a model of GGUF layers"
    return f"holds no GGUF weights, only {_listed(sorted(kinds))}"


def _listed(names: Iterable[str | None]) -> str:
    shown = [repr(name[:80]) if name else "a file without a name" for name in names]
    return ", ".join(shown[:5]) + (" …" if len(shown) > 5 else "") if shown else "nothing"
