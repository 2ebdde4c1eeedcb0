"""Names of models that a key may not see, left out of what it is told about memory: that somebody is in the
way stays, who it is does not. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec.structs import replace

from appliance.errors import InsufficientMemory
from appliance.planner.choice import Chosen, Wait
from appliance.planner.fit_answer import FitAnswer

OTHER: Final = "another model"

Sees = Callable[[str], bool]


def fit_for(answer: FitAnswer, sees: Sees) -> FitAnswer:
    outcome = answer.outcome
    match outcome:
        case Chosen():
            return replace(answer, outcome=replace(outcome, evict=_seen(outcome.evict, sees)))
        case Wait():
            return replace(answer, outcome=replace(outcome, busy=_seen(outcome.busy, sees)))
        case InsufficientMemory():
            return replace(answer, outcome=refusal_for(outcome, sees))


def refusal_for(error: InsufficientMemory, sees: Sees) -> InsufficientMemory:
    """The same numbers; the message is made anew."""
    fields: dict[str, Any] = dict(error.fields)
    if fields.get("pinned"):
        fields["pinned"] = list(_seen(fields["pinned"], sees))
    return InsufficientMemory(**fields)


def _seen(names: Iterable[str], sees: Sees) -> tuple[str, ...]:
    """Those that are not are told once."""
    return tuple(dict.fromkeys(name if sees(name) else OTHER for name in names))
