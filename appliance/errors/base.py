"""The root of the tree."""

from __future__ import annotations

from typing import Any


class OutpostError(Exception):
    """Root of the tree. `fields` are the keyword arguments of the constructor, so that it can be rebuilt from
    the wire.
    """

    fields: dict[str, Any]

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.fields = fields

    @property
    def message(self) -> str:
        return str(self.args[0])

    @property
    def param(self) -> str | None:
        """The request field at fault, where there is one."""
        value = self.fields.get("param")
        return value if isinstance(value, str) else None


def leaves(root: type[OutpostError]) -> list[type[OutpostError]]:
    """All types below `root` that have no subtype of their own."""
    below = root.__subclasses__()
    return [leaf for sub in below for leaf in leaves(sub)] if below else [root]
