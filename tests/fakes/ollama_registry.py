"""A registry in Ollama's style, with its quirks: what its own client meets when it pulls and pushes.

- The manifest has Docker's type, no `Docker-Content-Digest`, and its bytes are checked against nothing.
- Names are as written: upper case stays upper case.
- A blob answers 307 to a URL at another host name, or (`direct`) 200 with a `Location` equal to its own URL.
- HEAD on a blob answers 200 with Content-Length; with `head=False` 405, as is reported of the real one.
- There is no list of tags, and no 401 for public models.
- Others (`private`) answer 401 with a realm on the registry's own host. It gives a token for
  `GET realm?service=&scope=&ts=&nonce=` with `Authorization: PUBLIC KEY:SIGNATURE`, and 401 for the rest.
- A PATCH with `X-Redirect-Uploads: 1` is sent on by a 307: the part goes by PUT to the store behind it. With
  `redirect_uploads` every PATCH is, asked for or not.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qs, urlsplit

from appliance.store.digest import digest_of
from tests.fakes.oci_registry_faults import Exchange, FaultyRegistry

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_SIGNED: Final = re.compile(r"AAAAC3NzaC1lZDI1NTE5[A-Za-z0-9+/=]{48}:[A-Za-z0-9+/=]{88}")
"""An ed25519 key as OpenSSH writes it, and a signature of 64 bytes. What it signs is not checked."""


class OllamaRegistry(FaultyRegistry):
    def __init__(
        self,
        *,
        cdn: FaultyRegistry | None = None,
        head: bool = True,
        private: bool = False,
        redirect_uploads: bool = False,
    ) -> None:
        """`cdn`: where blobs are redirected to, under another host name; None: it serves them itself."""
        super().__init__()
        self._redirect_uploads = redirect_uploads
        if private:
            self.knobs.token_realm = f"{self.url}/v2/token"
            self.answer_with(r"^/v2/token", self._token)
        self.knobs.content_digest = False
        self._head = head
        self._cdn = cdn
        if cdn is not None:
            self.knobs.blob_location = f"http://localhost:{cdn.port}"

    def add(
        self, name: str, tag: str, manifest: bytes, blobs: list[bytes], kind: str = DOCKER_MANIFEST
    ) -> None:
        """By tag only: manifests have no digests here."""
        self.manifests[name, tag] = (kind, manifest)
        self.blobs.update({str(digest_of(blob)): blob for blob in blobs})
        if self._cdn is not None:
            self._cdn.blobs.update(self.blobs)

    def route(self, exchange: Exchange) -> None:
        if "/tags/list" in exchange.path or (exchange.command == "HEAD" and "/manifests/" in exchange.path):
            exchange.send(404, b"404 page not found")
        else:
            super().route(exchange)

    def upload(self, exchange: Exchange, name: str, session: str) -> None:
        wants = self._redirect_uploads or exchange.headers.get("X-Redirect-Uploads") == "1"
        if exchange.command == "PATCH" and wants:
            exchange.send(307, b"", {"Location": f"{self.url}/store/{session}?signature=x"})
        else:
            super().upload(exchange, name, session)

    def _token(self, exchange: Exchange) -> None:
        query = parse_qs(urlsplit(exchange.path).query)
        is_signed = _SIGNED.fullmatch(exchange.headers.get("Authorization", ""))
        if is_signed and {"ts", "nonce", "service", "scope"} <= set(query):
            exchange.send(200, b'{"token":"%s"}' % self.knobs.token.encode())
        else:
            exchange.send(401, b'{"error":"unauthorized"}')

    def blob(self, exchange: Exchange, digest: str) -> None:
        content = self.blobs.get(digest)
        if content is None or (self._cdn is not None and exchange.command == "GET"):
            super().blob(exchange, digest)
        elif exchange.command == "HEAD" and not self._head:
            exchange.send(405, b"")
        elif exchange.command == "HEAD":
            exchange.send(200, content)
        else:
            self.serve(exchange, content, {"Location": exchange.path})
