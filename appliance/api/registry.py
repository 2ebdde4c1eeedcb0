"""`/v2/…`: the store as a read-only OCI registry, so that one Outpost is the mirror of the next and any OCI
client can take models away.

    GET       /v2/                                   200: a registry speaks here
    GET HEAD  /v2/NAME/manifests/TAG|DIGEST          bytes as they are stored
    GET HEAD  /v2/NAME/blobs/DIGEST                  with Range; in chunks, whatever its size
    GET       /v2/NAME/tags/list?n=&last=

NAME is `namespace/model` (`library/smollm2`; `smollm2` alone does), or `host/namespace/model` for models of
other registries; where no other model claims it, `namespace/model` does for them too. A name is only ever
compared with the names in the store, and a digest is parsed and looked up among the blobs of that name: no
path is made of anything that comes from outside.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol
from urllib.parse import quote

import falcon

from appliance.api.blob_stream import BlobStream
from appliance.api.byte_range import ByteRange, Unsatisfiable, parse_range
from appliance.api.exchange import Exchange, exchange_of
from appliance.api.json_reply import reply
from appliance.api.openapi.operation import Operation, Operations, Parameter, Tag
from appliance.api.registry_names import tags_of
from appliance.errors import InvalidReference, ModelNotFound, Overloaded
from appliance.store.descriptor import Descriptor, ImageIndex, Manifest
from appliance.store.digest import Digest, parse_digest
from appliance.store.manifest import parse_manifest
from appliance.store.reference import Reference

MAX_STREAMS: Final = 32
"""Blobs sent at once: each holds a thread."""
_PAGE_TAGS: Final = 1000
_RETRY_S: Final = 5.0
_NAME: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_ROUTE: Final = re.compile(
    rf"(?P<name>{_NAME}(?:/{_NAME})*)/(?:(?P<kind>manifests|blobs)/(?P<what>[^/]+)|tags/list)"
)
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_MAX_PATH_CHARS: Final = 1024
_IMMUTABLE: Final = "public, max-age=31536000, immutable"


class ReadableLayout(Protocol):
    """What the registry needs of the store (`store.layout.Layout`). Any thread."""

    def references(self) -> list[tuple[Reference, Descriptor]]: ...

    def fetch(self, descriptor: Descriptor) -> bytes:
        """A manifest, verified."""

    def path(self, digest: Digest) -> Path:
        """Of a sound blob. Raises ModelNotFound, ModelBroken."""


class _Unknown(falcon.HTTPNotFound):
    """404 in OCI's own words."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description=description)
        self.registry_code = code


class _NoDigest(falcon.HTTPBadRequest):
    registry_code = "DIGEST_INVALID"


class RegistryRoot:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(summary="A registry speaks here", tag=Tag.REGISTRY, answer=dict[str, Any])
    }

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.set_header("Docker-Distribution-API-Version", "registry/2.0")
        resp.content_type = "application/json"
        resp.data = b"{}"


class Registry:
    """Any thread; the places of the streams are all it owns."""

    OPERATIONS: ClassVar[Operations] = {
        method: Operation(
            summary="A manifest, a blob, or the tags of a model",
            tag=Tag.REGISTRY,
            media_type="application/octet-stream",
            path={"rest": "`NAME/manifests/TAG`, `NAME/blobs/DIGEST` or `NAME/tags/list`."},
            parameters=(
                Parameter(name="n", about="Of tags: at most so many.", schema={"type": "integer"}),
                Parameter(name="last", about="Of tags: those behind this one."),
                Parameter(name="Range", place="header", about="Of a blob: which bytes."),
            ),
            errors=(400, 404, 503),
        )
        for method in ("GET", "HEAD")
    }

    def __init__(self, layout: ReadableLayout) -> None:
        self._layout = layout
        self._places = threading.BoundedSemaphore(MAX_STREAMS)

    def on_head(self, req: falcon.Request, resp: falcon.Response, rest: str) -> None:
        self.on_get(req, resp, rest)

    def on_get(self, req: falcon.Request, resp: falcon.Response, rest: str) -> None:
        resp.set_header("Docker-Distribution-API-Version", "registry/2.0")
        route = _ROUTE.fullmatch(rest) if len(rest) <= _MAX_PATH_CHARS else None
        if route is None:
            raise InvalidReference(
                text=rest[:200], reason="a registry has NAME/manifests, /blobs, /tags/list"
            )
        exchange = exchange_of(req)
        stored = [entry for entry in self._layout.references() if exchange.sees(entry[0].display)]
        tags = tags_of(route["name"], stored)
        if not tags:
            raise _Unknown("NAME_UNKNOWN", f"no model is named {route['name']}")
        if route["kind"] == "manifests":
            self._manifest(req, resp, tags, route["what"])
        elif route["kind"] == "blobs":
            self._blob(req, resp, tags, _digest(route["what"]))
        else:
            _tag_list(req, resp, route["name"], tags)

    # ── manifests ──────────────────────────────────────────────────────────────────────────────────────────

    def _manifest(
        self, req: falcon.Request, resp: falcon.Response, tags: dict[str, Descriptor], what: str
    ) -> None:
        descriptor = self._manifest_of(tags, what)
        resp.set_header("Docker-Content-Digest", descriptor.digest)
        resp.etag = descriptor.digest
        if _is_known(req, descriptor.digest):
            resp.status = falcon.HTTP_304
            return
        resp.content_type = descriptor.media_type
        resp.set_header("Cache-Control", "no-cache" if _TAG.fullmatch(what) else _IMMUTABLE)
        if req.method == "HEAD":
            resp.content_length = descriptor.size
        else:
            resp.data = self._fetched(descriptor)

    def _manifest_of(self, tags: dict[str, Descriptor], what: str) -> Descriptor:
        if ":" in what:
            digest = _digest(what)
            for descriptor in (*tags.values(), *self._variants(tags)):
                if descriptor.digest == digest:
                    return descriptor
        elif _TAG.fullmatch(what):
            for tag, descriptor in tags.items():
                if tag.lower() == what.lower():
                    return descriptor
        else:
            raise InvalidReference(text=what[:200], reason="neither a tag nor a digest")
        raise _Unknown("MANIFEST_UNKNOWN", f"{what} is not known; there are: {', '.join(sorted(tags))}")

    def _variants(self, tags: dict[str, Descriptor]) -> Iterator[Descriptor]:
        for descriptor in tags.values():
            parsed = self._parsed(descriptor)
            if isinstance(parsed, ImageIndex):
                yield from parsed.manifests

    def _parsed(self, descriptor: Descriptor) -> Manifest | ImageIndex:
        return parse_manifest(self._fetched(descriptor), what=descriptor.digest)

    def _fetched(self, descriptor: Descriptor) -> bytes:
        try:
            return self._layout.fetch(descriptor)
        except ModelNotFound as error:
            raise _Unknown("MANIFEST_UNKNOWN", f"{descriptor.digest} is not here") from error

    # ── blobs ──────────────────────────────────────────────────────────────────────────────────────────────

    def _blob(
        self, req: falcon.Request, resp: falcon.Response, tags: dict[str, Descriptor], digest: Digest
    ) -> None:
        descriptor = self._blob_of(tags, digest)
        try:
            path = self._layout.path(digest)
        except ModelNotFound as error:
            raise _Unknown("BLOB_UNKNOWN", f"{digest} is not here") from error
        resp.set_header("Docker-Content-Digest", digest)
        resp.set_header("Accept-Ranges", "bytes")
        resp.set_header("Cache-Control", _IMMUTABLE)
        resp.etag = digest
        if _is_known(req, digest):
            resp.status = falcon.HTTP_304
            return
        resp.content_type = "application/octet-stream"
        self._send(req, resp, path, descriptor.size)

    def _send(self, req: falcon.Request, resp: falcon.Response, path: Path, size: int) -> None:
        try:
            wanted = parse_range(req.get_header("Range"), size) if _holds_still(req, resp) else None
        except Unsatisfiable:
            resp.status = falcon.HTTP_416
            resp.set_header("Content-Range", f"bytes */{size}")
            return
        if wanted is not None:
            resp.status = falcon.HTTP_206
            resp.set_header("Content-Range", wanted.content_range(size))
        # Ollama's client takes a 200 only with the address of the bytes in it. The path has passed `_ROUTE`.
        resp.location = req.path
        span = wanted or ByteRange(0, size)
        resp.content_length = span.end - span.start
        if req.method != "HEAD":
            resp.stream = self._stream(path, span, exchange_of(req))

    def _stream(self, path: Path, span: ByteRange, exchange: Exchange) -> BlobStream:
        if not self._places.acquire(blocking=False):
            raise Overloaded(waiting=MAX_STREAMS, limit=MAX_STREAMS, retry_after_s=_RETRY_S)
        try:
            stream = BlobStream(path, span, exchange, self._places)
        except OSError as error:
            self._places.release()
            raise _Unknown("BLOB_UNKNOWN", "the blob is gone") from error
        exchange.is_stream = True
        return stream

    def _blob_of(self, tags: dict[str, Descriptor], digest: Digest) -> Descriptor:
        """Only what belongs to this name: a digest alone opens nothing else."""
        for descriptor in (*tags.values(), *self._variants(tags)):
            if descriptor.digest == digest:
                return descriptor
            try:
                parsed = self._parsed(descriptor)
            except _Unknown:
                continue  # a variant that was not brought along
            for blob in parsed.blobs if isinstance(parsed, Manifest) else ():
                if blob.digest == digest:
                    return blob
        raise _Unknown("BLOB_UNKNOWN", f"{digest} belongs to no model of this name")


def _digest(text: str) -> Digest:
    try:
        return parse_digest(text)
    except InvalidReference as error:
        raise _NoDigest(description=error.message) from error


def _tag_list(req: falcon.Request, resp: falcon.Response, name: str, tags: dict[str, Descriptor]) -> None:
    """In lexical order, `n` at a time, with the address of the next page."""
    n = req.get_param_as_int("n", min_value=0)
    size = _PAGE_TAGS if n is None else min(n, _PAGE_TAGS)
    last = req.get_param("last")
    listed = sorted(tag for tag in tags if last is None or tag > last)
    page = listed[:size]
    if page and len(listed) > size:
        resp.set_header("Link", f'</v2/{name}/tags/list?n={size}&last={quote(page[-1])}>; rel="next"')
    reply(resp, {"name": name, "tags": page})


def _is_known(req: falcon.Request, digest: Digest) -> bool:
    """If-None-Match: what is named by its digest never changes."""
    return any(tag in {"*", digest} for tag in req.if_none_match or ())


def _holds_still(req: falcon.Request, resp: falcon.Response) -> bool:
    """If-Range: a part is only wanted of the content the client already has a part of."""
    told = req.get_header("If-Range")
    return told is None or told == resp.get_header("ETag")
