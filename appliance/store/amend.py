"""What a Modelfile makes of its base: parts in, parts out. Pure.

An instruction that is there replaces what the base has; licences and adapters are added. An empty text takes
away.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from appliance.errors import ModelfileInvalid
from appliance.go_template import to_jinja
from appliance.modelfile import Modelfile
from appliance.store.admission import GgufKind
from appliance.store.artifact import Parts
from appliance.store.descriptor import Descriptor
from appliance.store.model import Message, ParameterValue, StoredModel, TemplateKind
from appliance.store.sources import Base

_GO_ACTION: Final = re.compile(
    r"\{\{-?\s*(?:[.$]|/\*|(?:if|range|with|end|else|define|template|block|break|continue)\b|[a-z]\w*\s+[.$])"
)
_JINJA_ACTION: Final = re.compile(r"\{[{%#]")


def merged(base: Base, *, line: int) -> Parts:
    """Of several FROM lines: the model that was named, with what the files add or replace. Raises
    ModelfileInvalid for two models, two projectors, or none.
    """
    models = _of_kind(base, GgufKind.MODEL)
    projectors = _of_kind(base, GgufKind.PROJECTOR)
    if len(models) > 1 or len(projectors) > 1 or (models and base.model):
        raise ModelfileInvalid(line=line, reason="FROM gives more than one model or projector")
    parts = base.model or (StoredModel(weights=models[0]) if models else None)
    if parts is None:
        raise ModelfileInvalid(line=line, reason="FROM gives no model")
    adapters = [blob for blobs in _of_kind(base, GgufKind.ADAPTER) for blob in blobs]
    return replace(
        parts,
        projector=projectors[0][0] if projectors else parts.projector,
        adapters=(*parts.adapters, *adapters),
    )


def amended(base: Parts, recipe: Modelfile) -> Parts:
    """Raises TemplateInvalid for a TEMPLATE in Go that cannot be converted."""
    template, kind = base.template, base.template_kind
    if recipe.template is not None:
        template, kind = jinja_of(recipe.template)
    return replace(
        base,
        template=template,
        template_kind=kind,
        system=base.system if recipe.system is None else recipe.system or None,
        params={**base.params, **_parameters(recipe)},
        messages=tuple(Message(role=one.role, content=one.content) for one in recipe.messages)
        or base.messages,
        licences=(*base.licences, *(text for text in recipe.licences if text not in base.licences)),
        facts=replace(
            base.facts,
            renderer=recipe.renderer or base.facts.renderer,
            parser=recipe.parser or base.facts.parser,
            requires=recipe.requires or base.facts.requires,
        ),
    )


def jinja_of(text: str) -> tuple[str | None, TemplateKind | None]:
    """A TEMPLATE in either language, as it is stored."""
    if not text:
        return None, None
    return (text if is_jinja(text) else to_jinja(text)), "jinja"


def is_jinja(text: str) -> bool:
    """Go's actions begin with a dot, a dollar or a word of its own. Text without any action is Go's: there
    the answer follows it.
    """
    return bool(_JINJA_ACTION.search(text)) and not _GO_ACTION.search(text)


def _of_kind(base: Base, kind: GgufKind) -> list[tuple[Descriptor, ...]]:
    return [found.blobs for found in base.files if found.kind is kind]


def _parameters(recipe: Modelfile) -> dict[str, ParameterValue]:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in recipe.options.items()
    }
