"""Digests: the only names of blobs. One parser, used at every door, before any path is built."""

from __future__ import annotations

import hashlib
import re
from typing import Final, NewType

from appliance.errors import InvalidReference

Digest = NewType("Digest", str)
"""`sha256:` and 64 lower-case hex digits; made only by `parse_digest` and `digest_of`."""

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


def parse_digest(text: str) -> Digest:
    """Raises InvalidReference for anything else: other algorithms, other lengths, upper case, a newline."""
    if not _DIGEST.fullmatch(text):
        raise InvalidReference(text=text[:200], reason="a digest is sha256: and 64 lower-case hex digits")
    return Digest(text)


def digest_of(content: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(content).hexdigest())


def hex_of(digest: Digest) -> str:
    return digest[7:]
