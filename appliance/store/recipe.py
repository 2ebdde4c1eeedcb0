"""A stored model as the Modelfile that makes it again: what `show --modelfile` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from appliance.errors import ModelfileInvalid
from appliance.modelfile import PARAMETERS, Message, Modelfile, Source, render
from appliance.modelfile.compatibility import is_met, is_spoken
from appliance.modelfile.facts import ParameterValue
from appliance.modelfile.render import parameter_text
from appliance.store.descriptor import Descriptor
from appliance.store.model import StoredModel
from appliance.store.template import ServedTemplate


def modelfile_of(model: StoredModel, served: ServedTemplate, *, name: str) -> str:
    """`create -f` of it gives a model that serves the same, as long as its blobs are in the store. What
    `create` would refuse, and a template that is not the one served, stand in comments.
    """
    reader = _Reader(model, served)
    recipe = reader.recipe()
    head = f"# To build on this model, replace the FROM lines with:\n# FROM {name}\n\n"
    if reader.left_out:
        lines = "".join(f"# {line}\n" for text in reader.left_out for line in _lines(text))
        head += f"# Left out, since it has no effect here:\n{lines}\n"
    try:
        return head + render(recipe)
    except ModelfileInvalid as error:
        return f"{head}# {error.message}\n"


class _Reader:
    """Sorts what a model has into what counts and what is left out. Lives inside one call."""

    def __init__(self, model: StoredModel, served: ServedTemplate) -> None:
        self._model = model
        self._served = served
        self.left_out: list[str] = []

    def recipe(self) -> Modelfile:
        model, facts = self._model, self._model.facts
        projector = (model.projector,) if model.projector else ()
        return Modelfile(
            from_=tuple(_source(blob) for blob in (*model.weights, *projector)),
            adapters=tuple(_source(blob) for blob in model.adapters),
            parameters=tuple(self._parameters()),
            template=self._template(),
            system=model.system,
            messages=tuple(Message(role=one.role, content=one.content) for one in model.messages),
            licences=model.licences,
            requires=self._kept("REQUIRES", facts.requires, holds=is_met),
            draft=_source(model.draft) if model.draft else None,
            renderer=self._kept("RENDERER", facts.renderer, holds=is_spoken),
            parser=self._kept("PARSER", facts.parser, holds=is_spoken),
        )

    def _parameters(self) -> Iterator[tuple[str, ParameterValue]]:
        for name, value in self._model.params.items():
            for one in value if isinstance(value, tuple) else (value,):
                try:
                    yield name, PARAMETERS[name].check(one)
                except (KeyError, ValueError):
                    self.left_out.append(f"PARAMETER {name} {parameter_text(one)}")

    def _template(self) -> str | None:
        """One in Go counts in a Modelfile; of a stored model, only where the GGUF has none and it can be
        converted.
        """
        model = self._model
        if model.template is None or model.template_kind == "jinja" or self._served.text is not None:
            return model.template
        self.left_out.append(f'TEMPLATE """{model.template}"""')
        return None

    def _kept(self, instruction: str, text: str | None, *, holds: Callable[[str], bool]) -> str | None:
        if text is None or holds(text):
            return text
        self.left_out.append(f"{instruction} {text}")
        return None


def _source(blob: Descriptor) -> Source:
    return Source(text=blob.digest)


def _lines(text: str) -> list[str]:
    """Fit for comments, whatever a publisher wrote."""
    return ["".join(char if char.isprintable() else " " for char in line) for line in text.splitlines()]
