"""A registry as a target of `copy`: what it has is skipped, what it can mount is mounted, the rest is sent.

    HEAD blob ─ 200 ─► done
    POST uploads[?mount&from] ─ 201 ─► done
                              ─ 202, Location ─► PATCH (64 MiB at a time) … ─► PUT ?digest=
    all blobs there ─► PUT manifest

A piece that breaks off is asked about (GET Location) and goes on where the registry stands. The registry
checks the digest; that the bytes are sound is the source's promise.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final
from urllib.parse import urlencode, urlsplit

from appliance.errors import DigestMismatch, OutpostError, RemoteError, RemoteRefused, RemoteUnreachable
from appliance.store.byte_range import length_of
from appliance.store.content import PUSHING, Report, Source, moving, worded
from appliance.store.descriptor import Descriptor, Resolved
from appliance.store.digest import Digest, hex_of
from appliance.store.http import Answer, Door
from appliance.store.media_types import MANIFEST_TYPES
from appliance.store.reference import Reference
from appliance.store.registry_auth import Tokens
from appliance.store.registry_client import PUSH, Repository
from appliance.store.retry import TRIES, is_transient, patiently, wait_s
from appliance.store.transfer import REPORT_S

PIECE_BYTES: Final = 64 * 1024 * 1024
_SEND_BYTES: Final = 256 * 1024
_STANDS_AT: Final = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")
_BINARY: Final = {"Content-Type": "application/octet-stream"}


class RegistryTarget:
    """One model's repository. Any thread; it keeps nothing but tokens."""

    def __init__(
        self,
        door: Door,
        reference: Reference,
        *,
        tokens: Tokens | None = None,
        mounts: Mapping[Digest, str] = MappingProxyType({}),
    ) -> None:
        """`mounts`: repositories of the same registry that are likely to have blobs. Raises OutboundRefused;
        nothing is called yet.
        """
        self._repository = Repository(
            door, tokens or Tokens(door), host=reference.host, name=reference.repository, actions=PUSH
        )
        self._mounts = mounts

    @property
    def home(self) -> str:
        """HOST/REPOSITORY."""
        return self._repository.home

    def has(self, descriptor: Descriptor) -> bool:
        """Raises RemoteError. An answer without a length, or a registry without HEAD, is no reason to
        fail: at worst the blob is sent again.
        """
        is_manifest = descriptor.media_type in MANIFEST_TYPES
        path = f"{'manifests' if is_manifest else 'blobs'}/{descriptor.digest}"
        headers = {"Accept": descriptor.media_type} if is_manifest else {}

        def asked() -> bool:
            with self._repository.send("HEAD", self._repository.url(path), headers=headers) as answer:
                if answer.status in (401, 403) or answer.status >= 500:
                    raise answer.refused()
                return answer.status == 200 and length_of(answer) in (None, descriptor.size)

        return patiently(asked)

    def reserve(self, missing_bytes: int) -> None:
        """The registry's disk is its own."""

    def take(self, descriptor: Descriptor, source: Source, report: Report) -> None:
        if descriptor.media_type in MANIFEST_TYPES:
            content = source.fetch(descriptor)
            patiently(lambda: self._put_manifest(descriptor.digest, descriptor, content))
            return
        upload = _Upload(self._repository, descriptor, source, report)
        if not self._is_mounted(upload, self._mounts.get(descriptor.digest)):
            upload.run()

    def _is_mounted(self, upload: _Upload, name: str | None) -> bool:
        """Whatever is against it: the blob can be sent."""
        try:
            return name is not None and patiently(lambda: upload.mount(name))
        except RemoteError:
            return False

    def publish(self, reference: Reference, resolved: Resolved) -> None:
        patiently(lambda: self._put_manifest(reference.tag, resolved.descriptor, resolved.content))

    def _put_manifest(self, name: str, descriptor: Descriptor, content: bytes) -> None:
        headers = {"Content-Type": descriptor.media_type}
        url = self._repository.url(f"manifests/{name}")
        with self._repository.send("PUT", url, headers=headers, body=lambda: content) as answer:
            if answer.status not in (200, 201):
                raise answer.refused()
            told = answer.headers.get("Docker-Content-Digest", "")
        if told.startswith("sha256:") and told != descriptor.digest:
            raise DigestMismatch(
                what="the manifest as the registry took it", expected=descriptor.digest, actual=told[:100]
            )


class _Upload:
    """One blob on its way; owned by the thread that pushes."""

    def __init__(
        self, repository: Repository, descriptor: Descriptor, source: Source, report: Report
    ) -> None:
        self._repository = repository
        self._descriptor = descriptor
        self._source = source
        self._report = worded(report, PUSHING)
        self._location = ""
        self._at = 0
        self._sent = 0
        self._reported = 0.0

    def mount(self, name: str) -> bool:
        """Have it taken over from another repository. False: it is to be sent; where the registry has opened
        a session for that instead, it is used.
        """
        query = urlencode({"mount": self._descriptor.digest, "from": name})
        url = f"{self._repository.url('blobs/uploads/')}?{query}"
        with self._repository.send("POST", url, headers={}, body=lambda: b"", reading=name) as answer:
            if answer.status not in (200, 201, 202):
                raise answer.refused()
            if answer.status != 201:
                self._move_to(answer)
                return False
        mounted = f"mounted {hex_of(self._descriptor.digest)[:12]} from {name}"
        self._report(
            replace(moving(self._descriptor, self._descriptor.size), status=mounted, is_moving=False)
        )
        return True

    def run(self) -> None:
        """Blocks until the registry has taken the blob. Raises RemoteError, or what the source raises."""
        if not self._location:
            patiently(self._begin)
        failures = 0
        while True:
            began = self._at
            try:
                while self._at < self._descriptor.size:
                    self._piece()
                self._finish()
            except OutpostError as error:
                failures = 1 if self._at > began else failures + 1
                if failures >= TRIES or not is_transient(error):
                    raise
            else:
                self._tell()
                return
            self._pause(wait_s(failures))
            self._find_out()

    def _begin(self) -> None:
        """Open a session."""
        url = self._repository.url("blobs/uploads/")
        with self._repository.send("POST", url, headers={}, body=lambda: b"") as answer:
            if answer.status not in (200, 202) or "Location" not in answer.headers:
                raise answer.refused()
            self._move_to(answer)
        self._at = 0

    def _piece(self) -> None:
        start, end = self._at, min(self._at + PIECE_BYTES, self._descriptor.size)
        headers = {**_BINARY, "Content-Length": str(end - start), "Content-Range": f"{start}-{end - 1}"}
        body = lambda: self._read(start, end)  # noqa: E731 - read anew for each try
        with self._repository.send("PATCH", self._location, headers=headers, body=body) as answer:
            if answer.status not in (200, 201, 202, 204):
                raise answer.refused()
            if _stands_at(answer) not in (None, end):
                raise RemoteUnreachable(host=self._repository.host, reason="it has not taken all of a piece")
            self._move_to(answer)
        self._at = end

    def _finish(self) -> None:
        joint = "&" if urlsplit(self._location).query else "?"
        url = f"{self._location}{joint}{urlencode({'digest': self._descriptor.digest})}"
        with self._repository.send(
            "PUT", url, headers=_BINARY, body=lambda: b"", head_s=self._repository.finish_s
        ) as answer:
            if answer.status not in (200, 201, 204):
                raise answer.refused()

    def _find_out(self) -> None:
        """Where the registry stands; when it does not say, or has forgotten, from the start."""
        try:
            with self._repository.send("GET", self._location, headers={}) as answer:
                stands_at = _stands_at(answer)
                # `0-0` may be no byte or one.
                if answer.status in (200, 204) and stands_at and 1 < stands_at <= self._descriptor.size:
                    self._move_to(answer)
                    self._at = stands_at
                    return
        except (RemoteUnreachable, RemoteRefused) as error:
            if not is_transient(error):
                raise
        patiently(self._begin)

    def _read(self, start: int, end: int) -> Iterator[bytes]:
        self._sent = start
        with self._source.open(self._descriptor, start=start, end=end) as chunks:
            for chunk in chunks:
                for at in range(0, len(chunk), _SEND_BYTES):
                    piece = chunk[at : at + _SEND_BYTES]
                    yield piece
                    self._sent += len(piece)
                    if time.monotonic() - self._reported >= REPORT_S:
                        self._tell()
        if self._sent < end:
            raise RemoteUnreachable(
                host="the source", reason=f"the stream ended at byte {self._sent} of {end}"
            )

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._tell()
            time.sleep(min(left, 0.5))

    def _move_to(self, answer: Answer) -> None:
        if "Location" in answer.headers:
            self._location = answer.location

    def _tell(self) -> None:
        self._reported = time.monotonic()
        self._report(moving(self._descriptor, max(self._at, self._sent)))


def _stands_at(answer: Answer) -> int | None:
    """How many bytes of an upload the registry has."""
    match = _STANDS_AT.fullmatch(answer.headers.get("Range", ""))
    return int(match[1]) + 1 if match else None
