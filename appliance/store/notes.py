"""What a person should know of a stored model that is let in all the same, a sentence each. Pure.

The gate tells them as warnings when a model comes in, and `show` whenever it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from appliance.modelfile import PARAMETERS, Use
from appliance.modelfile.compatibility import unmet
from appliance.modelfile.parameters import warning
from appliance.store.model import StoredModel

_PROJECTOR: Final = "its projector is stored, not served yet: it answers text and refuses images"
_MAX_CHARS: Final = 80
_MAX_UNKNOWN: Final = 8
"""A megabyte of parameters is no news to be told one by one."""


def notes_of(stored: StoredModel, header: Sequence[str]) -> tuple[str, ...]:
    """`header`: what is to be said of its GGUF (`GgufFacts.notes`)."""
    facts = stored.facts
    asked = unmet(renderer=facts.renderer, parser=facts.parser, requires=facts.requires)
    projector = () if stored.projector is None else (_PROJECTOR,)
    return (*header, *asked, *_parameters(stored.params), *projector)


def _parameters(params: Mapping[str, object]) -> Iterator[str]:
    """Those of other servers, which a pulled model may have."""
    unknown = [name for name in params if name not in PARAMETERS]
    for name in unknown[:_MAX_UNKNOWN]:
        yield f"parameter {name[:_MAX_CHARS]!r} has no effect: it is not known here"
    if len(unknown) > _MAX_UNKNOWN:
        yield f"{len(unknown) - _MAX_UNKNOWN} more parameters have no effect: they are not known here"
    for name in params:
        known = PARAMETERS.get(name)
        if known is not None and known.use is Use.NONE:
            yield warning(known)
