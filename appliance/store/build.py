"""Building a model: a base and a Modelfile become one artifact, of which only what is new costs bytes.

FROM … ─► base parts ─► amended by the Modelfile ─► quantised, where asked ─► composed
─► small blobs put ─► admitted ─► published
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from appliance.errors import ModelfileInvalid, Unsupported
from appliance.gguf.header import read_header
from appliance.gguf.quantized_size import quantized_bytes
from appliance.modelfile import Modelfile
from appliance.store import admission
from appliance.store.admission import GgufFacts, GgufKind
from appliance.store.adopt import require_room
from appliance.store.amend import amended, merged
from appliance.store.artifact import Composed, Parts, compose
from appliance.store.capabilities import config_of
from appliance.store.content import Progress, Report, Wanted
from appliance.store.copy import Foresee
from appliance.store.descriptor import Descriptor, Resolved
from appliance.store.gate import Gate
from appliance.store.layout import Layout
from appliance.store.model import StoredModel
from appliance.store.model_config import ModelConfig
from appliance.store.quantizing import check_source, foreseen
from appliance.store.reference import Reference
from appliance.store.shelf import Shelf
from appliance.store.sources import PARSING, Local, Sources

WRITING: Final = "writing manifest"


class Quantize(Protocol):
    """llama.cpp's quantiser, in a process of its own."""

    def check(self, kind: str) -> str:
        """llama.cpp's name of it. Raises InvalidRequest with the list of them."""

    def __call__(
        self,
        sources: Sequence[Path],
        target: Path,
        kind: str,
        *,
        model: str,
        report: Callable[[float], None],
        wanted: Wanted,
    ) -> None:
        """From a GGUF, or all parts of one, to a file that is there and empty; `report` hears the share that
        is done. Raises InvalidRequest for a source that is quantised already, ModelInvalid where it fails,
        and what `report` and `wanted` raise.
        """


Find = Callable[[Reference, Report, Foresee | None], StoredModel]
"""A model by its name; pulled where it is not there and may be, unless that is foreseen to be in vain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be built."""

    reference: Reference
    recipe: Modelfile
    base_dir: Path | None = None
    """What its paths are relative to; None: it may have none."""
    quantize: str | None = None
    link: bool = False
    """Adopt files in place where the disk can."""


class Builder:
    """Any thread; what outlives a call is in the layout."""

    def __init__(
        self, layout: Layout, gate: Gate, shelf: Shelf, *, find: Find, quantize: Quantize | None
    ) -> None:
        """`quantize` None: this process cannot."""
        self._layout = layout
        self._gate = gate
        self._shelf = shelf
        self._find = find
        self._quantize = quantize

    def build(self, order: Order, report: Report) -> None:
        """Returns when the name stands for it, durably. Raises ModelfileInvalid, TemplateInvalid,
        ModelInvalid, ModelNotFound, NotAllowed, Unsupported, InsufficientSpace.
        """
        if order.quantize is not None:
            if self._quantize is None:
                raise Unsupported(feature="quantize", reason="this process has no llama.cpp")
            self._quantize.check(order.quantize)
        for warning in order.recipe.warnings:
            report(Progress(status=f"warning: {warning}"))
        with ExitStack() as held:

            def hold(blob: Descriptor) -> None:
                held.enter_context(self._layout.hold([blob.digest]))

            sources = Sources(
                self._layout,
                base_dir=order.base_dir,
                link=order.link,
                report=report,
                find=lambda reference: self._find(reference, report, self._foresee(order, reference, report)),
                hold=hold,
                before=lambda local: self._check_files(local, order),
            )
            parts = self._parts(sources, order)
            if order.quantize is not None:
                parts = self._quantised(parts, order, report, hold)
            self._publish(compose(parts), order.reference, report, hold)

    # ── parts ───────────────────────────────────────────────────────────────────────────────────────

    def _parts(self, sources: Sources, order: Order) -> Parts:
        recipe = order.recipe
        for one in recipe.adapters:
            sources.require(one, GgufKind.ADAPTER)
        if recipe.draft:
            sources.require(recipe.draft, GgufKind.MODEL, is_whole=True)
        base = sources.base(recipe.from_)
        parts = merged(base, line=recipe.from_[0].line)
        if order.quantize is not None:
            self._require_quantisable(parts, order)
        if base.files and base.model is None:
            parts = replace(parts, facts=self._facts(parts.weights, model=recipe.from_[0].text))
        parts = amended(parts, recipe)
        adapters = [blob for one in recipe.adapters for blob in sources.one(one, GgufKind.ADAPTER)]
        draft = sources.one(recipe.draft, GgufKind.MODEL, is_whole=True) if recipe.draft else ()
        if recipe.draft and {blob.digest for blob in draft} & {blob.digest for blob in parts.weights}:
            raise ModelfileInvalid(line=recipe.draft.line, reason="DRAFT is the same file as FROM")
        return replace(parts, adapters=(*parts.adapters, *adapters), draft=draft[0] if draft else parts.draft)

    def _facts(self, weights: tuple[Descriptor, ...], *, model: str) -> ModelConfig:
        paths = [self._layout.path(blob.digest, to_admit=True) for blob in weights]
        return config_of(admission.check(paths, model=model))

    def _check_files(self, local: Sequence[Local], order: Order) -> None:
        """Before a byte of them is copied. Raises InvalidRequest, InsufficientSpace."""
        made_bytes = 0
        for one in local:
            if order.quantize is not None and one.facts.kind is GgufKind.MODEL:
                name = one.paths[0].name
                made_bytes += self._result_bytes(one.facts, one.paths, order.quantize, model=name)
        if not local:
            return
        layout, paths = self._layout, [path for one in local for path in one.paths]
        require_room(layout.places, layout.files, layout.space, paths, link=order.link, more_bytes=made_bytes)

    def _foresee(self, order: Order, reference: Reference, report: Report) -> Foresee | None:
        """Of a model that has to be pulled first."""
        if order.quantize is None or self._quantize is None:
            return None
        news = Progress(status=PARSING)
        return foreseen(
            self._quantize.check(order.quantize), model=reference.display, wanted=lambda: report(news)
        )

    def _require_quantisable(self, parts: Parts, order: Order) -> None:
        """Before adapters are copied. Raises InvalidRequest, ModelInvalid."""
        assert self._quantize is not None
        paths = [self._layout.path(blob.digest, to_admit=True) for blob in parts.weights]
        base, kind = order.recipe.from_[0].text, self._quantize.check(order.quantize or "")
        check_source(admission.check(paths, model=base).quantization, kind, model=base)

    # ── quantising ──────────────────────────────────────────────────────────────────────────────────

    def _quantised(
        self, parts: Parts, order: Order, report: Report, hold: Callable[[Descriptor], None]
    ) -> Parts:
        """The weights in another type; everything else stays. Blocks for minutes with a large model."""
        assert self._quantize is not None
        kind = self._quantize.check(order.quantize or "")
        total = sum(blob.size for blob in parts.weights)
        sources = [self._layout.path(blob.digest, to_admit=True) for blob in parts.weights]
        base = order.recipe.from_[0].text
        needed = self._result_bytes(admission.check(sources, model=base), sources, kind, model=base)
        status = f"quantizing {parts.facts.quantization or 'the'} model to {kind}"
        news = Progress(status=status, total_bytes=total, completed_bytes=0)

        with self._layout.space.room() as room, self._temporary() as target:
            room.require(needed)

            def told(share: float) -> None:
                nonlocal news
                room.keep(needed - target.stat().st_blocks * 512)
                news = replace(news, completed_bytes=int(total * share))
                report(news)

            self._quantize(
                sources,
                target,
                kind,
                model=order.reference.display,
                report=told,
                wanted=lambda: report(news),
            )
            room.keep(0)
            made = self._layout.adopt(target, link=True, report=report)
        hold(made)
        facts = self._facts((made,), model=order.reference.display)
        about = replace(parts.facts, quantization=facts.quantization, parameters=facts.parameters)
        return replace(parts, weights=(made,), facts=about)

    def _result_bytes(self, facts: GgufFacts, paths: Sequence[Path], kind: str, *, model: str) -> int:
        """At most. Raises InvalidRequest for weights that cannot be quantised."""
        assert self._quantize is not None
        exact = self._quantize.check(kind)
        check_source(facts.quantization, exact, model=model)
        return quantized_bytes([read_header(path) for path in paths], exact)

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        """An empty file in the store that is gone afterwards, also after a crash."""
        path = self._layout.places.temporary(f"quantized-{secrets.token_hex(8)}")
        files = self._layout.files
        os.close(files.create(path))
        try:
            yield path
        finally:
            files.unlink(path)

    # ── publishing ──────────────────────────────────────────────────────────────────────────────────

    def _publish(
        self, composed: Composed, reference: Reference, report: Report, hold: Callable[[Descriptor], None]
    ) -> None:
        for descriptor, content in composed.blobs:
            is_there = self._layout.has(descriptor)
            hold(self._layout.put(content, descriptor.media_type))
            report(
                Progress(
                    status=f"{'using existing' if is_there else 'creating new'} layer {descriptor.digest}"
                )
            )
        self._gate.admit(composed.manifest, model=reference.display, report=report)
        report(Progress(status=WRITING))
        self._shelf.publish(reference, Resolved(descriptor=composed.descriptor, content=composed.content))
