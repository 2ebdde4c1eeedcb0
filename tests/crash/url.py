"""A URL without a network: the answers of a server that tells size and ETag and serves ranges."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from appliance.store.http import Answer, Door
from appliance.store.outbound import HostSettings, Outbound
from tests.crash.models import PIECE_BYTES, SourceBroke

URL = "https://files.example/tiny.gguf"
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class _Page(Answer):
    def __init__(self, url: str, content: bytes, headers: Mapping[str, str], pieces: int | None) -> None:
        self.url = url
        self.status = 206
        self.headers = headers
        self._content = content
        self._pieces = pieces

    __slots__ = ("_content", "_pieces")

    def chunks(self, limit: int) -> Iterator[bytes]:
        for number, start in enumerate(range(0, min(limit, len(self._content)), PIECE_BYTES)):
            if number == self._pieces:
                raise SourceBroke
            yield self._content[start : min(start + PIECE_BYTES, limit)]


class PageDoor(Door):
    """`breaks_after`: pieces of each answer's body until the connection breaks."""

    def __init__(self, content: bytes, *, breaks_after: int | None = None) -> None:
        super().__init__(Outbound(hosts={"files.example": HostSettings()}))
        self._content = content
        self._breaks_after = breaks_after

    @contextmanager
    def follow(self, url: str, *, headers: Mapping[str, str], secret: str | None = None) -> Iterator[Answer]:
        assert secret is None
        size = len(self._content)
        match = _RANGE.fullmatch(headers.get("Range", f"bytes=0-{size - 1}"))
        assert match
        start, end = int(match[1]), int(match[2]) + 1
        told = {"ETag": '"one"', "Content-Range": f"bytes {start}-{end - 1}/{size}"}
        yield _Page(url, self._content[start:end], told, self._breaks_after)
