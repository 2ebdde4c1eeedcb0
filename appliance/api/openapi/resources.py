"""GET /openapi.json, /docs and /docs/style.css: what may be asked here, for programs and for people.

They need no key: they tell what every Outpost of this version tells, and nothing of this device. Made once,
when somebody first asks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final

import falcon
import msgspec

from appliance.api.openapi.document import Object
from appliance.api.openapi.operation import Operation, Operations, Tag
from appliance.api.openapi.page import page

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""`img-src`: the page names an empty icon, or browsers ask for `/favicon.ico`."""
_STYLE: Final = Path(__file__).with_name("style.css")


class OpenApi:
    """Any thread; made twice at worst."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(
            summary="This document", tag=Tag.DOCUMENTS, answer=dict[str, Any], about="OpenAPI 3.1."
        )
    }

    def __init__(self, make: Callable[[], Object]) -> None:
        self._made = functools.cache(lambda: msgspec.json.encode(make()))

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        _answer(resp, "application/json", self._made())


class Page:
    """Any thread; made twice at worst."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(summary="The same for people", tag=Tag.DOCUMENTS, media_type="text/html")
    }

    def __init__(self, make: Callable[[], Object]) -> None:
        self._made = functools.cache(lambda: page(make()).encode())

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        _answer(resp, "text/html; charset=utf-8", self._made())


class Style:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(summary="Its style sheet", tag=Tag.DOCUMENTS, media_type="text/css")
    }

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        _answer(resp, "text/css; charset=utf-8", _STYLE.read_bytes())


def _answer(resp: falcon.Response, content_type: str, content: bytes) -> None:
    resp.content_type = content_type
    resp.set_header("Cache-Control", "no-cache")
    resp.set_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    resp.set_header("X-Content-Type-Options", "nosniff")
    resp.set_header("Referrer-Policy", "no-referrer")
    resp.data = content
