"""Which of several variants of one model a board takes: a pure decision, and its reason in words.

Until there is a planner, the size of the files stands for the memory a model needs: 1.2 times that, for
compute buffers and what the files do not say, and 256 MiB for the KV cache. Among quantisations of one
model, larger is better: the largest that fits is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from appliance.errors import InsufficientMemory, ManifestInvalid
from appliance.store.config_reader import read_config
from appliance.store.descriptor import Descriptor, ImageIndex, Manifest
from appliance.store.manifest import parse_manifest
from appliance.store.media_types import IMAGE_MANIFESTS
from appliance.store.model_config import Fetch
from appliance.store.model_layers import Part, in_order, parts_of

MAX_VARIANTS: Final = 100
KV_CACHE_BYTES: Final = 256 * 1024 * 1024
_FIFTHS: Final = 6
"""1.2 as six fifths: exact for any size."""

_ATTESTATION: Final = "vnd.docker.reference.type"
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One manifest of an index that is a model."""

    descriptor: Descriptor
    size_bytes: int
    """Of its GGUF files."""
    quantization: str | None = None

    @property
    def needed_bytes(self) -> int:
        return needed_bytes(self.size_bytes)

    @property
    def label(self) -> str:
        """How people tell it from the others."""
        return self.quantization or self.descriptor.digest[:19]

    @property
    def need(self) -> str:
        return f"{self.label} needs {_mib(self.needed_bytes)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    variant: Variant
    reason: str


def needed_bytes(size_bytes: int) -> int:
    """Of memory, by a model whose GGUF files have this size."""
    return -(-size_bytes * _FIFTHS // 5) + KV_CACHE_BYTES


def choose(candidates: Sequence[Variant], available_bytes: int | None, *, model: str = "it") -> Choice:
    """The largest that fits; `available_bytes` None: unknown, and the smallest is the safe one. Raises
    InsufficientMemory with the numbers of the smallest, and ManifestInvalid when there is none at all.
    """
    if not candidates:
        raise ManifestInvalid(what=model, reason="the index lists no GGUF model")
    ranked = sorted(candidates, key=lambda variant: variant.size_bytes)
    smallest = ranked[0]
    if len(ranked) == 1:
        return Choice(variant=smallest, reason=f"{smallest.label} is the only variant")
    if available_bytes is None:
        return Choice(
            variant=smallest, reason=f"{smallest.label} is the smallest; the free memory is not known"
        )
    fitting = [variant for variant in ranked if variant.needed_bytes <= available_bytes]
    if not fitting:
        raise InsufficientMemory(
            model=model, needed_bytes=smallest.needed_bytes, available_bytes=available_bytes
        )
    taken = max(fitting, key=lambda variant: variant.size_bytes)
    return Choice(variant=taken, reason=_reason(taken, ranked, available_bytes))


def variants_of(index: ImageIndex, fetch: Fetch, *, what: str) -> tuple[Variant, ...]:
    """The models among an index's manifests; attestations, nested indexes and what we cannot serve are
    passed over. `fetch` gives manifests and configs. Raises ManifestInvalid when nothing is left, with the
    last reason.
    """
    entries = [entry for entry in index.manifests if _is_candidate(entry)]
    if len(entries) > MAX_VARIANTS:
        raise ManifestInvalid(
            what=what, reason=f"has {len(entries)} variants, at most {MAX_VARIANTS} are read"
        )
    found: list[Variant] = []
    refused: ManifestInvalid | None = None
    for entry in entries:
        try:
            found.append(_variant(entry, fetch, what=what))
        except ManifestInvalid as error:
            refused = error
    if not found:
        raise refused or ManifestInvalid(what=what, reason="the index lists no GGUF model")
    return tuple(found)


def _is_candidate(entry: Descriptor) -> bool:
    return entry.media_type in IMAGE_MANIFESTS and _ATTESTATION not in entry.annotations


def _variant(entry: Descriptor, fetch: Fetch, *, what: str) -> Variant:
    manifest = parse_manifest(fetch(entry), what=what)
    if not isinstance(manifest, Manifest):
        raise ManifestInvalid(what=what, reason="has an index inside an index")
    parts = parts_of(manifest, what=what)
    in_order(parts[Part.WEIGHTS], what=what)
    ggufs = (Part.WEIGHTS, Part.PROJECTOR, Part.ADAPTER, Part.DRAFT)
    return Variant(
        descriptor=entry,
        size_bytes=sum(layer.size for part in ggufs for layer in parts[part]),
        quantization=read_config(manifest.config, fetch, what=what).facts.quantization,
    )


def _reason(taken: Variant, ranked: Sequence[Variant], available_bytes: int) -> str:
    need = f"{taken.need} of {_mib(available_bytes)} available"
    if taken.size_bytes == ranked[-1].size_bytes:
        return f"{need}: the largest of {len(ranked)} variants fits"
    larger = next(variant for variant in ranked if variant.size_bytes > taken.size_bytes)
    return f"{need}; the next larger, {larger.label}, would need {_mib(larger.needed_bytes)}"


def _mib(size_bytes: int) -> str:
    return f"{-(-size_bytes // _MIB)} MiB"
