"""Which chat template a stored model is served with.

1. One in Jinja that came with it (or that its Modelfile gave).
2. One in Go: the GGUF's own is preferred, because a conversion may differ in a blank; what cannot be
converted and
   has no other leaves a model that does not chat, and says so.
3. None came with it: the GGUF's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import TemplateInvalid
from appliance.gguf.header import read_header
from appliance.go_template import to_jinja
from appliance.store.model import StoredModel

TEMPLATE_KEY: Final = "tokenizer.chat_template"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedTemplate:
    text: str | None
    """Jinja that replaces the GGUF's own; None: the GGUF's own, if it has one."""
    note: str
    """Where it is from, in words."""


def served_template(stored: StoredModel, weights: Path) -> ServedTemplate:
    """`weights`: the first file of the model; its header is read only for a template in Go."""
    if stored.template is None:  # 3
        return ServedTemplate(text=None, note="the GGUF's own")
    if stored.template_kind == "jinja":  # 1
        return ServedTemplate(text=stored.template, note="stored with the model")
    if read_header(weights).text(TEMPLATE_KEY) is not None:  # 2
        return ServedTemplate(text=None, note="the GGUF's own, preferred to the stored one in Go")
    try:
        return ServedTemplate(text=to_jinja(stored.template), note="converted from Go")
    except TemplateInvalid as error:
        return ServedTemplate(text=None, note=error.message)
