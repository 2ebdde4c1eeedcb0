"""The device itself, for its operator from elsewhere: what the board is and does, and what prompts lie on its
disk.

GET         /outpost/v1/hardware       as `outpost hardware --json`
GET DELETE  /outpost/v1/hibernation    as `outpost hibernation show|clear --json`
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar, Protocol

import falcon

from appliance.api.answers import HibernationAnswer
from appliance.api.json_reply import reply
from appliance.api.openapi.operation import Operation, Operations, Tag
from appliance.hardware.report import HardwareReport
from appliance.hardware.told import report_object


class Hardware:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(
            summary="What the board is and how it does",
            tag=Tag.HEALTH,
            answer=HardwareReport,
            about="What is not known is null, with its reason in `reasons`.",
        )
    }

    def __init__(self, sample: Callable[[], HardwareReport]) -> None:
        self._sample = sample

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.set_header("Cache-Control", "no-store")
        reply(resp, report_object(self._sample()))


class Snapshots(Protocol):
    """The files of models that hibernate (`daemon/snapshots.py`). Any thread."""

    def kept(self) -> Any:
        """What is on the disk: a dataclass with `snapshots`, `size_bytes`, `models`."""

    def clear(self) -> Any:
        """Remove them; what they were. Raises OSError."""


class Hibernation:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(
            summary="What prompts models keep on the disk", tag=Tag.STORE, answer=HibernationAnswer
        ),
        "DELETE": Operation(
            summary="Remove them",
            tag=Tag.STORE,
            answer=HibernationAnswer,
            about="What is in memory stays, and is written again. The answer tells what was there.",
        ),
    }

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        reply(resp, asdict(self._snapshots.kept()))

    def on_delete(self, _req: falcon.Request, resp: falcon.Response) -> None:
        reply(resp, asdict(self._snapshots.clear()))
