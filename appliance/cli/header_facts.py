"""What a plan needs of a GGUF's header, read once: a vocabulary of 128,000 tokens takes a tenth of a second,
more on a small board. What was read is kept under the user's cache directory, by the file's identity; a cache
that cannot be read or written is none.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from appliance.errors import FileUnreadable, ModelInvalid
from appliance.gguf.header import DEFAULT_ALIGNMENT, Header, TensorInfo, read_streamed
from appliance.gguf.shape import read_shape
from appliance.gguf.slim import slim_metadata
from appliance.gguf.tensor_types import TENSOR_TYPES
from appliance.gguf.values import CODES, NumberArray, Value, ValueType
from appliance.planner.formulas import vocabulary_bytes
from appliance.planner.speed import bytes_per_token

_VERSION: Final = 2
"""Of what is kept: another one reads anew."""
_CHUNK: Final = 1024 * 1024
_ANY_SIZE: Final = 1 << 50
"""Taken for the size of a file, so that one of which only the header is here is read as if it were whole."""
_MAX_KEPT_BYTES: Final = 4 * 1024 * 1024


class HeaderFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A header without its vocabulary, over all parts of a model."""

    metadata: dict[str, Any]
    """Of the architecture: texts, numbers, and lists of numbers."""
    tensors: list[tuple[str, tuple[int, ...], int, int]]
    """Name, shape, number of the type, bytes."""
    vocabulary_bytes: int
    read_bytes: int
    """Weights that decoding one token reads."""

    def header(self) -> Header:
        tensors = tuple(
            TensorInfo(name, shape, TENSOR_TYPES[kind], 0, prod(shape), size)
            for name, shape, kind, size in self.tensors
        )
        return Header(
            version=3,
            metadata={key: _value(value) for key, value in self.metadata.items()},
            types={},
            tensors=tensors,
            alignment=DEFAULT_ALIGNMENT,
            data_offset=0,
            file_bytes=sum(tensor.size_bytes for tensor in tensors),
        )


def of(paths: Sequence[Path], *, model: str, environ: Mapping[str, str] | None = None) -> HeaderFacts:
    """`paths`: all parts, in order; the first has the dimensions. Raises ModelInvalid, FileUnreadable."""
    place = _place(paths, os.environ if environ is None else environ)
    kept = _kept(place) if place else None
    if kept is not None:
        return kept
    facts = _read(paths, model)
    if place:
        _keep(place, facts)
    return facts


def _read(paths: Sequence[Path], model: str) -> HeaderFacts:
    headers = [_header(path, model=model) for path in paths]
    shape = read_shape(headers[0])
    if not shape.n_layer:
        raise ModelInvalid(model=model, reason="its header tells no layers: it is no language model")
    experts = {"n_expert": shape.n_expert, "n_expert_used": shape.n_expert_used}
    return HeaderFacts(
        metadata=_metadata(headers[0]),
        tensors=[
            (tensor.name, tensor.shape, tensor.type.number, tensor.size_bytes)
            for header in headers
            for tensor in header.tensors
        ],
        vocabulary_bytes=vocabulary_bytes(headers[0]),
        read_bytes=sum(bytes_per_token(header, **experts) for header in headers),
    )


def _metadata(header: Header) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, NumberArray) else value
        for key, value in slim_metadata(header).items()
    }


def _value(value: Any) -> Value:
    """Raises ValueError for what no header holds."""
    if isinstance(value, (str, bool, int, float)):
        return value
    if not isinstance(value, list) or not all(isinstance(one, (int, float)) for one in value):
        raise ValueError("neither a text, a number nor a list of numbers")
    if all(isinstance(one, int) for one in value):
        signed = all(-(1 << 63) <= one < 1 << 63 for one in value)
        kind = ValueType.INT64 if signed else ValueType.UINT64
        return NumberArray(kind, array(CODES[kind], [int(one) for one in value]))
    return NumberArray(ValueType.FLOAT64, array("d", value))


def _header(path: Path, *, model: str) -> Header:
    try:
        with path.open("rb") as file:
            return read_streamed(_chunks(file), _ANY_SIZE, model=model)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileUnreadable(path=str(path), reason=reason, errno=error.errno or 0) from error


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


# ── the cache ───────────────────────────────────────────────────────────────────────────────────────────────


def _place(paths: Sequence[Path], environ: Mapping[str, str]) -> Path | None:
    """None: there is no home, or a file cannot be looked at; then nothing is kept."""
    base = environ.get("XDG_CACHE_HOME") or (f"{environ['HOME']}/.cache" if environ.get("HOME") else "")
    if not base.startswith("/"):
        return None
    try:
        found = [path.stat() for path in paths]
    except OSError:
        return None
    # Numbers have the same hash in every process, and hashlib takes longer to load than the whole look-up.
    identity = hash(tuple((one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) for one in found))
    size = sum(one.st_size for one in found)
    return Path(base) / "outpost/shapes" / f"{_VERSION}-{identity % (1 << 64):016x}-{size:x}.json"


def _kept(place: Path) -> HeaderFacts | None:
    try:
        with place.open("rb") as file:
            facts = msgspec.json.decode(file.read(_MAX_KEPT_BYTES), type=HeaderFacts)
        facts.header()
    except (OSError, ValueError, KeyError, RecursionError):  # msgspec's errors are ValueErrors
        return None
    return facts


def _keep(place: Path, facts: HeaderFacts) -> None:
    """Renamed into place, so that two at once do no harm; not made durable: it can be read anew."""
    with suppress(OSError, ValueError):  # ValueError: a name that is no text for JSON
        place.parent.mkdir(parents=True, exist_ok=True)
        aside = place.with_suffix(f".{os.getpid()}")
        aside.write_bytes(msgspec.json.encode(facts))
        aside.replace(place)
