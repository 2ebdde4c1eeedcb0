"""The static check of GGUF files, before any of them reaches llama.cpp: pure reading, no inference code.

What llama.cpp answers with an abort (it cannot be caught) is refused here with a sentence; what it answers
with a clean error may pass, because the probe load that follows finds it. Kinds of files and the tables of
their rules:

    model       weights with a vocabulary: generators, encoders, embedders, rerankers; also as a set of splits
    adapter     LoRA, by general.type
    projector   mmproj, by its architecture `clip`

Each rule is a function of one header that returns what is wrong, or None. Stands in flow 2 (import) and in
pull and create: after the digest is verified, before the probe and before a name points to the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from appliance.errors import ModelInvalid
from appliance.gguf.architectures import PROJECTOR
from appliance.gguf.header import Header, read_header
from appliance.gguf.quantization import quantization_of
from appliance.gguf.shape import ModelShape, parameter_count, read_shape, weight_bytes
from appliance.store import admission_asserts as asserts
from appliance.store import admission_companions as companions
from appliance.store import admission_container as container
from appliance.store import admission_dialect as dialect
from appliance.store import admission_shape as shape
from appliance.store import admission_splits as splits
from appliance.store import admission_tensors as tensors
from appliance.store import admission_tokenizer as tokenizer

Rule = Callable[[Header], str | None]

FILE_RULES: Final[tuple[Rule, ...]] = (
    container.version,
    container.alignment,
    container.offsets,
    container.floats,
    container.templates,
)
"""For every file, each split of a set alone."""

MODEL_RULES: Final[tuple[Rule, ...]] = (
    dialect.foreign,
    shape.architecture,
    shape.layers,
    shape.blocks,
    shape.bounds,
    shape.heads,
    shape.rope,
    shape.epsilons,
    shape.experts,
    asserts.widths,
    asserts.experts,
    asserts.sections,
    asserts.states,
    asserts.least,
    tokenizer.model,
    tokenizer.tokens,
    tokenizer.token_types,
    tokenizer.scores,
    tokenizer.byte_tokens,
    tokenizer.special_ids,
    tokenizer.needed_ids,
    tokenizer.character_map,
    tensors.embedding,
    tensors.types,
)
"""For the model as a whole: metadata of the first split, tensors of all."""

ADAPTER_RULES: Final[tuple[Rule, ...]] = (
    companions.adapter_metadata,
    companions.adapter_pairs,
    tensors.types,
)
PROJECTOR_RULES: Final[tuple[Rule, ...]] = (
    companions.projector_metadata,
    companions.projector_bounds,
    companions.projector_tensors,
)


class GgufKind(StrEnum):
    MODEL = "model"
    ADAPTER = "adapter"
    PROJECTOR = "projector"


RULES: Final = {
    GgufKind.MODEL: MODEL_RULES,
    GgufKind.ADAPTER: ADAPTER_RULES,
    GgufKind.PROJECTOR: PROJECTOR_RULES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufFacts:
    """What an admitted file, or set of splits, is."""

    kind: GgufKind
    architecture: str
    parameters: int
    quantization: str | None
    context_length: int | None
    size_bytes: int
    """Of the files."""
    weight_bytes: int
    """Of the tensors alone."""
    chat_template: str | None
    shape: ModelShape | None
    """None for companions."""
    notes: tuple[str, ...]
    """What a person should know of a file that is admitted all the same; a sentence each."""


def check(paths: Sequence[Path], *, model: str, kind: GgufKind | None = None) -> GgufFacts:
    """Facts of a GGUF, or of all splits of one in order. Raises ModelInvalid with the first rule that fails;
    also for another kind of file than `kind`.

    Reads the headers only (a few megabytes each), blocks for 0.1 s with a vocabulary of 50,000 tokens.
    """
    numbers = range(1, len(paths) + 1) if len(paths) > 1 else (None,)
    facts = judge(
        [read(path, model=model, split=number) for number, path in zip(numbers, paths, strict=True)],
        model=model,
    )
    if kind is not None:
        require_kind(facts, kind, model=model)
    return facts


def read(path: Path, *, model: str, split: int | None = None) -> Header:
    """One file by the rules for any file. `split`: its number in its set, from 1. Raises ModelInvalid,
    FileUnreadable.
    """
    return sound(read_header(path, model=model), model=model, split=split)


def sound(header: Header, *, model: str, split: int | None = None) -> Header:
    """As `read`, of a header that was read already. Raises ModelInvalid."""
    _apply(FILE_RULES, header, model=model, where=f"split {split}: " if split is not None else "")
    return header


def judge(headers: Sequence[Header], *, model: str) -> GgufFacts:
    """Facts of what `read` gave: one file, or all splits in order. Raises ModelInvalid with the first rule
    that fails.
    """
    reason = splits.fault(headers)
    if reason is not None:
        raise ModelInvalid(model=model, reason=reason)
    whole = _joined(headers)
    found = kind_of(whole)
    _apply(RULES[found], whole, model=model, where="")
    return _facts(whole, found)


def require_kind(facts: GgufFacts, kind: GgufKind, *, model: str) -> None:
    """Raises ModelInvalid: whoever named the file is wrong, not the file."""
    if facts.kind is not kind:
        raise ModelInvalid(model=model, reason=f"it is a GGUF of the kind '{facts.kind}', not '{kind}'")


def kind_of(header: Header) -> GgufKind:
    if header.text("general.type") == "adapter":
        return GgufKind.ADAPTER
    return GgufKind.PROJECTOR if header.architecture == PROJECTOR else GgufKind.MODEL


def _apply(rules: Sequence[Rule], header: Header, *, model: str, where: str) -> None:
    for rule in rules:
        reason = rule(header)
        if reason is not None:
            raise ModelInvalid(model=model, reason=where + reason)


def _joined(headers: Sequence[Header]) -> Header:
    """The first header with the tensors of all; its offsets are each file's own."""
    if len(headers) == 1:
        return headers[0]
    return replace(
        headers[0],
        tensors=tuple(tensor for header in headers for tensor in header.tensors),
        file_bytes=sum(header.file_bytes for header in headers),
    )


def _facts(header: Header, kind: GgufKind) -> GgufFacts:
    is_model = kind is GgufKind.MODEL
    found = read_shape(header) if is_model else None
    return GgufFacts(
        kind=kind,
        architecture=header.architecture or "",
        parameters=parameter_count(header),
        quantization=quantization_of(header),
        context_length=found.n_ctx_train if found is not None else None,
        size_bytes=header.file_bytes,
        weight_bytes=weight_bytes(header),
        chat_template=header.text("tokenizer.chat_template"),
        shape=found,
        notes=dialect.notes(header) if is_model else (),
    )
