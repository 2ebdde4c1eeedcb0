"""What a scenario has promised by the moment of a cut, read from the lines it said.

    TRY name digest     from here on the name may stand for what it stood for, or for this; `-`: for nothing
    HAVE name digest    acknowledged: it stands for this manifest
    GONE name           acknowledged: the name is not there

Each line fills a sector, so that on the logged disk it can be a write among the others (`block_log`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.crash.models import Model

LINE_BYTES: Final = 512
_ABSENT: Final = "-"


def say(line: str) -> None:
    """In one write, so that its place among the operations is known."""
    os.write(1, line.encode().ljust(LINE_BYTES - 1) + b"\n")


def say_try(name: str, digest: str | None) -> None:
    say(f"TRY {name} {digest or _ABSENT}")


def say_have(name: str, digest: str) -> None:
    say(f"HAVE {name} {digest}")


def say_gone(name: str) -> None:
    say(f"GONE {name}")


@dataclass(slots=True)
class Promises:
    """For each name the digests of the manifests it may stand for; None among them: it may be absent."""

    allowed: dict[str, frozenset[str | None]] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    """Names of which the last word was HAVE."""

    def hear(self, line: str) -> None:
        word, name, *rest = line.split()
        match word, rest:
            case "TRY", [tried]:
                old = self.allowed.get(name, frozenset({None}))
                self.allowed[name] = old | {None if tried == _ABSENT else tried}
            case "HAVE", [digest]:
                self.allowed[name] = frozenset({digest})
                self.acknowledged.add(name)
            case "GONE", []:
                self.allowed[name] = frozenset({None})
            case _:
                raise ValueError(f"no promise: {line!r}")


def promises(before: Iterable[Model], said: Sequence[str]) -> Promises:
    found = Promises({model.name: frozenset({model.digest}) for model in before})
    for line in said:
        found.hear(line)
    return found
