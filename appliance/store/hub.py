"""Names like `hf.co/USER/REPO[:QUANT]`: a hub of Git repositories with GGUF files in them.

1. Such a hub speaks `/v2` in Ollama's style: asked first, as any registry.
2. A mirror that only serves files is asked for its list, `BASE/api/models/USER/REPO?blobs=true`, which gives
   the sha256 of each; the files are at `BASE/USER/REPO/resolve/main/FILE`. The model is composed here: the
   files of one quantisation, a projector where there is one, the repository's `template`, `system`, `params`.

The base address may be another than the hub's own (`[store] hub`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Final
from urllib.parse import quote, urlsplit

import msgspec

from appliance.errors import DigestMismatch, InvalidReference, ManifestInvalid, ModelNotFound, RemoteRefused
from appliance.store import strict_json
from appliance.store.artifact import compose
from appliance.store.byte_range import Wanted, body_of, is_ranged
from appliance.store.content import Source
from appliance.store.descriptor import Descriptor, Resolved
from appliance.store.digest import Digest, parse_digest
from appliance.store.http import Door
from appliance.store.manifest import MAX_BLOB_BYTES
from appliance.store.media_types import MODEL_WEIGHT
from appliance.store.model import MAX_TEXT_BYTES, ParameterValue, StoredModel
from appliance.store.model_config import ModelConfig
from appliance.store.reference import DEFAULT_TAG, Reference
from appliance.store.registry import RegistrySource
from appliance.store.retry import patiently

HUB_HOSTS: Final = frozenset({"hf.co", "huggingface.co"})
DEFAULT_QUANTIZATION: Final = "Q4_K_M"
MAX_LIST_BYTES: Final = 8 * 1024 * 1024
_MAX_FILES: Final = 10_000
_SPLIT: Final = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})")
_QUANTIZATION: Final = re.compile(r"(?:.*[-._/])?((?:IQ|TQ|MXFP|BF|FP|Q|F)[0-9][A-Z0-9_]*)", re.IGNORECASE)
_GIVES_UP: Final = (401, 403, 429)
"""Answers of a `/v2` that settle the matter; after other refusals the files are tried."""


def remote_source(door: Door, reference: Reference, *, hub: str | None = None) -> Source:
    """What a name with a host stands for. `hub`: the base address that answers for the hub's names. Raises
    OutboundRefused; nothing is called yet.
    """
    if reference.host.lower() not in HUB_HOSTS:
        return RegistrySource(door, reference)
    base = (hub or door.outbound.base_url(reference.host)).rstrip("/")
    return HubSource(door, reference, base=base)


class _Lfs(msgspec.Struct):
    sha256: Annotated[str, msgspec.Meta(max_length=100)]
    size: Annotated[int, msgspec.Meta(ge=1, le=MAX_BLOB_BYTES)]


class _File(msgspec.Struct):
    rfilename: Annotated[str, msgspec.Meta(max_length=500)]
    size: int | None = None
    lfs: _Lfs | None = None


class _List(msgspec.Struct):
    siblings: Annotated[list[_File], msgspec.Meta(max_length=_MAX_FILES)]


_Params = dict[str, bool | int | float | str | list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Composed:
    """A model made of files: where each lies, and the bytes of those that were made here."""

    resolved: Resolved
    files: Mapping[Digest, str]
    small: Mapping[Digest, bytes]


class HubSource:
    """One repository. Any thread once it is resolved."""

    def __init__(self, door: Door, reference: Reference, *, base: str) -> None:
        self._door = door
        self._base = base
        host = urlsplit(base).netloc
        self._host = host
        self._registry = RegistrySource(door, replace(reference, host=host))
        self._composed: _Composed | None = None
        self.is_parallel = True

    def resolve(self, reference: Reference) -> Resolved:
        try:
            return self._registry.resolve(replace(reference, host=self._host))
        except ModelNotFound:
            pass
        except RemoteRefused as error:
            if error.fields["status"] in _GIVES_UP or error.fields["status"] >= 500:
                raise
        self._composed = self._compose(reference)
        if reference.digest not in (None, self._composed.resolved.descriptor.digest):
            raise ModelNotFound(model=reference.name, available=[])
        return self._composed.resolved

    def fetch(self, descriptor: Descriptor) -> bytes:
        if self._composed is None:
            return self._registry.fetch(descriptor)
        content = self._composed.small.get(descriptor.digest)
        if content is None:
            raise DigestMismatch(
                what="a file of the hub", expected=descriptor.digest, actual="none of its files"
            )
        return content

    def open(
        self, descriptor: Descriptor, *, start: int = 0, end: int | None = None
    ) -> AbstractContextManager[Iterator[bytes]]:
        if self._composed is None:
            return self._registry.open(descriptor, start=start, end=end)
        end = descriptor.size if end is None else end
        if (content := self._composed.small.get(descriptor.digest)) is not None:
            return _in_memory(content[start:end])
        what = f"blob {descriptor.digest}"
        return self._open(descriptor, Wanted(what=what, size=descriptor.size, start=start, end=end))

    # ── files ───────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _open(self, descriptor: Descriptor, wanted: Wanted) -> Iterator[Iterator[bytes]]:
        assert self._composed is not None
        url = self._composed.files[descriptor.digest]
        with self._door.follow(url, headers=wanted.headers, secret=self._secret(url)) as answer:
            body = body_of(answer, wanted)
            if not wanted.is_all and not is_ranged(answer):
                self.is_parallel = False
            yield body

    def _compose(self, reference: Reference) -> _Composed:
        files = self._list(reference)
        label, weights = _weights(files, reference)
        projector = _projector(files)
        named = {file.rfilename for file in files}
        texts = {
            name: self._text(reference, name) if name in named else None
            for name in ("template", "system", "params")
        }
        blobs = [_descriptor(file) for file in weights]
        model = StoredModel(
            weights=tuple(blobs),
            projector=_descriptor(projector) if projector else None,
            template=texts["template"],
            template_kind="go" if texts["template"] else None,
            system=texts["system"],
            params=_parameters(texts["params"], what=f"the parameters of {reference.name}"),
            facts=ModelConfig(format="gguf", quantization=label),
        )
        composed = compose(model)
        found = [*weights, *([projector] if projector else [])]
        return _Composed(
            resolved=Resolved(descriptor=composed.descriptor, content=composed.content),
            files={_descriptor(file).digest: self._url(reference, file.rfilename) for file in found},
            small={
                composed.descriptor.digest: composed.content,
                **{blob.digest: content for blob, content in composed.blobs},
            },
        )

    def _list(self, reference: Reference) -> list[_File]:
        url = f"{self._base}/api/models/{quote(reference.path)}?blobs=true"
        content = self._get(url, limit=MAX_LIST_BYTES, reference=reference)
        what = f"the list of files of {reference.name}"
        return strict_json.decode(content, _List, what=what, max_bytes=MAX_LIST_BYTES).siblings

    def _text(self, reference: Reference, name: str) -> str:
        content = self._get(self._url(reference, name), limit=MAX_TEXT_BYTES, reference=reference)
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ManifestInvalid(what=f"{name} of {reference.name}", reason="it is no UTF-8 text") from error

    def _get(self, url: str, *, limit: int, reference: Reference) -> bytes:
        def asked() -> bytes:
            with self._door.follow(url, headers={}, secret=self._secret(url)) as answer:
                if answer.status == 404:
                    raise ModelNotFound(model=reference.name, available=[])
                if answer.status != 200:
                    raise answer.refused()
                return answer.small(limit)

        return patiently(asked)

    def _url(self, reference: Reference, name: str) -> str:
        return f"{self._base}/{quote(reference.path)}/resolve/main/{quote(name)}"

    def _secret(self, url: str) -> str | None:
        return self._door.outbound.authorization(self._door.outbound.check(url))


@contextmanager
def _in_memory(content: bytes) -> Iterator[Iterator[bytes]]:
    yield iter((content,))


# ── which files make the model: pure ────────────────────────────────────────────────────────────


def quantization_of(file_name: str) -> str | None:
    """The label at the end of a GGUF's name, before the number of a part."""
    stem = file_name.removesuffix(".gguf")
    split = _SPLIT.fullmatch(stem)
    match = _QUANTIZATION.fullmatch(split[1] if split else stem)
    return match[1].upper() if match else None


def _weights(files: list[_File], reference: Reference) -> tuple[str | None, list[_File]]:
    """The files of the wanted quantisation, in order. The tag is a label, or a file's name."""
    groups: dict[str, list[_File]] = {}
    for file in files:
        if _is_gguf(file) and not _is_beside(file):
            name = file.rfilename.removesuffix(".gguf")
            part = _SPLIT.fullmatch(name)
            groups.setdefault(part[1] if part else name, []).append(file)
    labels = {stem: quantization_of(stem) or stem for stem in groups}
    stem = _wanted_stem(labels, reference.tag)
    if not stem:
        raise ModelNotFound(model=reference.name, available=sorted(set(labels.values()))[:50])
    found = sorted(groups[stem], key=lambda file: file.rfilename)
    split = _SPLIT.fullmatch(found[0].rfilename.removesuffix(".gguf"))
    if len(found) != (int(split[3]) if split else 1):
        raise ManifestInvalid(what=reference.name, reason=f"{len(found)} parts of {stem} are there, not all")
    return quantization_of(stem), found


def _wanted_stem(labels: Mapping[str, str], tag: str) -> str | None:
    wanted = tag.lower().removesuffix(".gguf")
    if tag == DEFAULT_TAG:
        default = [stem for stem, label in labels.items() if label == DEFAULT_QUANTIZATION]
        return next(iter((*default, *labels)), None)
    for stem, label in labels.items():
        if wanted in (label.lower(), stem.lower()):
            return stem
    return None


def _projector(files: list[_File]) -> _File | None:
    """The smallest of those there are at 16 bits, else of all."""
    found = [file for file in files if _is_gguf(file) and "mmproj" in file.rfilename.lower()]
    halves = [file for file in found if quantization_of(file.rfilename) in ("F16", "BF16", "FP16")]
    return min(
        halves or found, key=lambda file: (file.lfs.size if file.lfs else 0, file.rfilename), default=None
    )


def _is_gguf(file: _File) -> bool:
    return file.rfilename.lower().endswith(".gguf") and file.lfs is not None


def _is_beside(file: _File) -> bool:
    name = file.rfilename.lower()
    return "mmproj" in name or "imatrix" in name


def _descriptor(file: _File) -> Descriptor:
    assert file.lfs is not None
    try:
        digest = parse_digest(f"sha256:{file.lfs.sha256}")
    except InvalidReference as error:
        raise ManifestInvalid(
            what=file.rfilename[:200], reason="the hub's list has no digest of it"
        ) from error
    return Descriptor(media_type=MODEL_WEIGHT, digest=digest, size=file.lfs.size)


def _parameters(text: str | None, *, what: str) -> Mapping[str, ParameterValue]:
    if text is None:
        return {}
    parsed = strict_json.decode(text.encode(), _Params, what=what, max_bytes=MAX_TEXT_BYTES)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in parsed.items()}
