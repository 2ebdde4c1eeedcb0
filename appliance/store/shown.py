"""Gathers what `outpost show` tells: the parts of a model, and the header of its GGUF."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from appliance import modelfile as recipes
from appliance.errors import ModelfileInvalid
from appliance.gguf.header import Header, read_header
from appliance.gguf.shape import read_shape
from appliance.modelfile import Modelfile, Source
from appliance.modelfile.facts import ParameterValue
from appliance.store.capabilities import capabilities_of
from appliance.store.choosing import CHOICE
from appliance.store.descriptor import Descriptor
from appliance.store.layout import Layout
from appliance.store.listing import ListedModel
from appliance.store.model import StoredModel
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
        modelfile=modelfile_of(model, name=listed.name),
        parameters=model.params,
        template=template,
        template_note=served.note if template or model.template else "the GGUF has none",
        system=model.system,
        messages=tuple((message.role, message.content) for message in model.messages),
        licences=model.licences,
        capabilities=capabilities_of(header, template=template, has_projector=model.projector is not None),
        context_length=shape.n_ctx_train or model.facts.context_length,
        embedding_length=shape.n_embd or model.facts.embedding_length,
        metadata=plain_metadata(header),
        projector=_projector(layout, model),
        tensors=_tensors(layout, model, header),
        variant=named.annotations.get(CHOICE),
    )


def modelfile_of(model: StoredModel, *, name: str) -> str:
    """`create -f` of it gives the same model, as long as its blobs are in the store."""
    head = f"# To build on this model, replace the FROM lines with:\n# FROM {name}\n\n"
    projector = (model.projector,) if model.projector else ()
    recipe = Modelfile(
        from_=tuple(_source(blob) for blob in (*model.weights, *projector)),
        adapters=tuple(_source(blob) for blob in model.adapters),
        parameters=tuple(_parameters(model)),
        template=model.template,
        system=model.system,
        messages=tuple(recipes.Message(role=one.role, content=one.content) for one in model.messages),
        licences=model.licences,
        requires=model.facts.requires,
        draft=_source(model.draft) if model.draft else None,
        renderer=model.facts.renderer,
        parser=model.facts.parser,
    )
    try:
        return head + recipes.render(recipe)
    except ModelfileInvalid as error:
        return f"{head}# {error.message}\n"


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


def _source(blob: Descriptor) -> Source:
    return Source(text=blob.digest)


def _parameters(model: StoredModel) -> list[tuple[str, ParameterValue]]:
    told: list[tuple[str, ParameterValue]] = []
    for name, value in model.params.items():
        told += [(name, item) for item in value] if isinstance(value, tuple) else [(name, value)]
    return told


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
