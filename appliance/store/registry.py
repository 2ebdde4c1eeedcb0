"""A registry as a source of `copy`: OCI distribution, and registries in Ollama's style.

What both have: `/v2/NAME/manifests/TAG` and `/v2/NAME/blobs/DIGEST`. What is not taken for granted, because
registries differ in it: `Docker-Content-Digest` (the bytes are hashed here; a header that says otherwise is
an error), HEAD on blobs (never used to pull), Content-Length (checked where it is), ranges (see `transfer`),
names in lower case (asked for as written first, then as OCI writes it), `Location` on a 200 (ignored).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from appliance.errors import DigestMismatch, ManifestInvalid, ModelNotFound, RemoteUnreachable
from appliance.store.byte_range import Wanted, body_of, is_ranged
from appliance.store.descriptor import Descriptor, Resolved
from appliance.store.digest import Digest, digest_of
from appliance.store.http import Answer, Door
from appliance.store.manifest import MAX_BYTES, parse_manifest
from appliance.store.media_types import MANIFEST_TYPES
from appliance.store.reference import Reference
from appliance.store.registry_auth import Tokens
from appliance.store.registry_client import Repository
from appliance.store.retry import patiently

MAX_FETCH_BYTES: Final = 16 * 1024 * 1024
"""Of what is read into memory: manifests, configs, templates, licences."""
_ACCEPT: Final = ", ".join(MANIFEST_TYPES)
_NOT_THERE: Final = (400, 404)
"""400 is NAME_INVALID of a registry that knows no upper case."""


class RegistrySource:
    """One model's repository. Any thread; the table of direct URLs is only ever added to and dropped from."""

    def __init__(self, door: Door, reference: Reference, *, tokens: Tokens | None = None) -> None:
        """Raises OutboundRefused for a host that the configuration does not name. Nothing is called yet."""
        tokens = tokens or Tokens(door)
        names = dict.fromkeys((reference.path, reference.repository))
        self._repositories = [Repository(door, tokens, host=reference.host, name=name) for name in names]
        self._direct: dict[Digest, str] = {}
        self.is_parallel = True

    @property
    def home(self) -> str:
        """HOST/REPOSITORY, as `resolve` has found it."""
        return self._repositories[0].home

    def resolve(self, reference: Reference) -> Resolved:
        """Raises ModelNotFound, DigestMismatch for a pinned name that stands for other bytes,
        ManifestInvalid, RemoteError.
        """
        for repository in list(self._repositories):
            if resolved := patiently(lambda at=repository: self._resolve(at, reference)):  # type: ignore[misc]
                self._repositories = [repository]
                return resolved
        raise ModelNotFound(model=reference.name, available=[])

    def fetch(self, descriptor: Descriptor) -> bytes:
        if descriptor.size > MAX_FETCH_BYTES:
            raise ManifestInvalid(
                what=str(descriptor.digest),
                reason=f"{descriptor.size} bytes where at most {MAX_FETCH_BYTES} are read into memory",
            )
        return patiently(lambda: self._fetch(descriptor))

    @contextmanager
    def open(
        self, descriptor: Descriptor, *, start: int = 0, end: int | None = None
    ) -> Iterator[Iterator[bytes]]:
        wanted = Wanted(
            what=f"blob {descriptor.digest}",
            size=descriptor.size,
            start=start,
            end=descriptor.size if end is None else end,
        )
        with self._answer(descriptor, wanted) as answer:
            body = body_of(answer, wanted)
            if not wanted.is_all and not is_ranged(answer):
                self.is_parallel = False
            yield body

    # ── manifests ───────────────────────────────────────────────────────────────────────────────

    def _resolve(self, repository: Repository, reference: Reference) -> Resolved | None:
        """None: not under this name."""
        with repository.get(f"manifests/{reference.digest or reference.tag}", {"Accept": _ACCEPT}) as answer:
            if answer.status in _NOT_THERE:
                return None
            if answer.status != 200:
                raise answer.refused()
            content = answer.small(MAX_BYTES)
            digest = digest_of(content)
            told = answer.headers.get("Docker-Content-Digest", "")
        for expected in (reference.digest, told if told.startswith("sha256:") else None):
            if expected and expected != digest:
                raise DigestMismatch(
                    what=f"the manifest of {reference.name}", expected=expected[:100], actual=digest
                )
        parsed = parse_manifest(content, what=f"the manifest of {reference.name}")
        return Resolved(
            descriptor=Descriptor(
                media_type=parsed.media_type,
                digest=digest,
                size=len(content),
                artifact_type=getattr(parsed, "artifact_type", None),
            ),
            content=content,
        )

    # ── blobs ───────────────────────────────────────────────────────────────────────────────────

    def _fetch(self, descriptor: Descriptor) -> bytes:
        with self.open(descriptor) as chunks:
            content = b"".join(chunks)
        if len(content) < descriptor.size:
            raise RemoteUnreachable(host=self._repositories[0].host, reason="the stream ended early")
        if digest_of(content) != descriptor.digest:
            raise DigestMismatch(what="the blob", expected=descriptor.digest, actual=str(digest_of(content)))
        return content

    @contextmanager
    def _answer(self, descriptor: Descriptor, wanted: Wanted) -> Iterator[Answer]:
        """From where a redirect has led before, while that serves; its signature may have run out."""
        repository = self._repositories[0]
        if known := self._direct.get(descriptor.digest):
            with repository.direct(known, wanted.headers) as answer:
                if answer.status in (200, 206):
                    yield answer
                    return
            self._direct.pop(descriptor.digest, None)
        is_manifest = descriptor.media_type in MANIFEST_TYPES
        path = f"{'manifests' if is_manifest else 'blobs'}/{descriptor.digest}"
        headers = {"Accept": _ACCEPT} if is_manifest else wanted.headers
        with repository.get(path, headers) as answer:
            if answer.origin != repository.origin:
                self._direct[descriptor.digest] = answer.url
            yield answer
