"""The sampling parameters a user may name, declared once: they make the flags of `run` and the words of `/set
parameter`.

The bounds are the daemon's to check; here a value only gets its type, so that a typo is caught before a
request is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from appliance.cli.exits import Exit, Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    name: str
    """As in the request body."""
    kind: Callable[[str], Any]
    text: str
    metavar: str = "N"
    many: bool = False
    """Given several times, it becomes a list."""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def parse(self, text: str) -> Any:
        """Raises ValueError with what was expected."""
        try:
            return self.kind(text)
        except ValueError as error:
            expected = "a whole number" if self.kind is int else "a number"
            raise ValueError(f"'{text}' is not {expected}") from error


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


PARAMETERS: Final = {
    row.name: row
    for row in (
        Parameter(name="temperature", kind=_number, text="randomness; 0 always takes the likeliest token"),
        Parameter(name="top_p", kind=_number, text="keep the likeliest tokens up to this total probability"),
        Parameter(name="top_k", kind=int, text="keep this many of the likeliest tokens"),
        Parameter(
            name="min_p", kind=_number, text="drop tokens less likely than this share of the likeliest"
        ),
        Parameter(name="seed", kind=int, text="same seed, same answer"),
        Parameter(name="max_tokens", kind=int, text="end the answer after so many tokens"),
        Parameter(
            name="stop",
            kind=str,
            text="end the answer before this text; may be repeated",
            metavar="TEXT",
            many=True,
        ),
        Parameter(name="repeat_penalty", kind=_number, text="above 1: avoid tokens that came lately"),
        Parameter(name="presence_penalty", kind=_number, text="above 0: avoid tokens that came at all"),
        Parameter(name="frequency_penalty", kind=_number, text="above 0: avoid tokens the more they came"),
    )
}

_OTHER_NAMES: Final = {"num_predict": "max_tokens"}


def changed(parameters: Mapping[str, Any], name: str, values: list[str]) -> dict[str, Any]:
    """`parameters` with one more set, as `/set parameter NAME VALUE…` asks. Raises Failure with the sentence
    to show.
    """
    parameter = PARAMETERS.get(_OTHER_NAMES.get(name, name))
    if name == "num_ctx":
        raise Failure(
            Exit.USAGE,
            "the context is fixed when a model is loaded; start the daemon with: outpost serve --ctx N",
        )
    if parameter is None:
        raise Failure(Exit.USAGE, f"no parameter '{name}'; there are: {', '.join(PARAMETERS)}")
    if not values or (len(values) > 1 and not parameter.many):
        raise Failure(Exit.USAGE, f"usage: /set parameter {parameter.name} {parameter.metavar}")
    try:
        parsed = [parameter.parse(value) for value in values]
    except ValueError as error:
        raise Failure(Exit.USAGE, f"{parameter.name}: {error}") from error
    return {**parameters, parameter.name: parsed if parameter.many else parsed[0]}
