"""What a desk needs of others: of those who wait at it, and of what carries its wishes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from appliance.errors import OutpostError
from appliance.supervisor.history import FileStamp
from appliance.supervisor.turn import Standing, Turn

if TYPE_CHECKING:
    from appliance.supervisor.desk import Desk

R = TypeVar("R")
"""The runner: opaque here, an identity that is granted and stopped."""
R_contra = TypeVar("R_contra", contravariant=True)


class Waiter(Protocol[R_contra]):
    """What the desk needs of a ticket (`ticket.Ticket`)."""

    arrived_s: float | None
    granted_at_s: float
    first_standing: Standing | None
    standing: Standing | None

    @property
    def owner(self) -> str: ...

    @property
    def turn(self) -> Turn: ...

    @property
    def keep_alive_s(self) -> float | None: ...

    def answer(self, answer: R_contra | OutpostError, /) -> None: ...


class Effects(Protocol[R]):
    """What a decision may cause. None of these blocks."""

    def start_runner(self, desk: Desk[R], /) -> None:
        """Spawn and load. Answered by `started`, then `ready` or `gone`; or by `gone` alone with None for a
        runner.
        """

    def stop_runner(self, runner: R, error: OutpostError | None) -> None:
        """Tell it to end; its open requests fail with `error`. Answered by `gone`."""

    def stamp(self, path: str) -> FileStamp | None: ...
