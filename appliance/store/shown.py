"""Gathers what `outpost show` tells: the parts of a model, and the header of its GGUF."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from appliance.gguf.header import Header, read_header
from appliance.gguf.shape import read_shape
from appliance.store import admission_dialect
from appliance.store.capabilities import capabilities_of
from appliance.store.choosing import CHOICE
from appliance.store.descriptor import Descriptor
from appliance.store.layout import Layout
from appliance.store.listing import ListedModel
from appliance.store.model import StoredModel
from appliance.store.notes import notes_of
from appliance.store.recipe import modelfile_of
from appliance.store.show import ShownModel, ShownTensor
from appliance.store.template import TEMPLATE_KEY, ServedTemplate, served_template

_MAX_ITEMS: Final = 16
"""Longer arrays are told by their length: a vocabulary fills no screen."""


def shown(layout: Layout, listed: ListedModel, model: StoredModel, named: Descriptor) -> ShownModel:
    """Reads the headers of the GGUFs. Raises ModelBroken, ModelInvalid."""
    first = layout.path(model.weights[0].digest)
    header = read_header(first, model=listed.name)
    served = served_template(model, first)
    own = header.text(TEMPLATE_KEY)
    template = served.text or (own if _keeps_own(model, served) else None)
    shape = read_shape(header)
    return ShownModel(
        listed=listed,
        modelfile=modelfile_of(model, served, name=listed.name),
        parameters=model.params,
        template=template,
        template_note=served.note if template or model.template else "the GGUF has none",
        system=model.system,
        messages=tuple((message.role, message.content) for message in model.messages),
        licences=model.licences,
        capabilities=capabilities_of(header, template=template),
        context_length=shape.n_ctx_train or model.facts.context_length,
        embedding_length=shape.n_embd or model.facts.embedding_length,
        metadata=plain_metadata(header),
        projector=_projector(layout, model),
        tensors=_tensors(layout, model, header),
        renderer=model.facts.renderer,
        parser=model.facts.parser,
        requires=model.facts.requires,
        notes=notes_of(model, admission_dialect.notes(header)),
        variant=named.annotations.get(CHOICE),
    )


def plain_metadata(header: Header) -> Mapping[str, object]:
    """Flat, without the chat template, which is told by itself."""
    return {
        key: value if isinstance(value, str | int | float | bool) else _array(value)
        for key, value in header.metadata.items()
        if key != TEMPLATE_KEY
    }


def _array(values: object) -> object:
    items = list(values) if hasattr(values, "__iter__") else []
    return tuple(items) if len(items) <= _MAX_ITEMS else f"[{len(items)} items]"


def _keeps_own(model: StoredModel, served: ServedTemplate) -> bool:
    """No text to replace it: the GGUF's own counts, whether it was preferred or nothing else came."""
    return served.text is None and model.template_kind != "jinja"


def _projector(layout: Layout, model: StoredModel) -> Mapping[str, object]:
    if model.projector is None:
        return {}
    return plain_metadata(read_header(layout.path(model.projector.digest)))


def _tensors(layout: Layout, model: StoredModel, first: Header) -> tuple[ShownTensor, ...]:
    rest = [read_header(layout.path(blob.digest)) for blob in model.weights[1:]]
    return tuple(
        ShownTensor(name=tensor.name, type=tensor.type.name, shape=tensor.shape)
        for header in (first, *rest)
        for tensor in header.tensors
    )
