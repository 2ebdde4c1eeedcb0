"""Short words for forging a `RawGguf`: each makes a function that changes one thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from appliance.gguf.values import ValueType
from tests.fakes.gguf_corpus import seeds
from tests.fakes.gguf_corpus.raw import Item, RawGguf, RawPair, RawString, RawTensor

Forge = Callable[[RawGguf], object]

TOKENS, TYPES, SCORES = (f"tokenizer.ggml.{name}" for name in ("tokens", "token_type", "scores"))
QUERY: Final = "blk.0.attn_q.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """`admitted` is what the static check must say. The admitted ones are harmless, or found by the probe."""

    name: str
    forge: Forge
    seed: Callable[[], RawGguf] = seeds.generator
    admitted: bool = False

    def render(self) -> bytes:
        raw = self.seed()
        self.forge(raw)
        return raw.render()


def field_is(name: str, value: object) -> Forge:
    return lambda raw: setattr(raw, name, value)


def value_is(key: str, kind: ValueType, value: Item) -> Forge:
    return lambda raw: raw.set(key, kind, value)


def llama_is(key: str, value: Item, kind: ValueType = ValueType.UINT32) -> Forge:
    return value_is(f"llama.{key}", kind, value)


def without(key: str) -> Forge:
    return lambda raw: raw.drop(key)


def pair_has(key: str, name: str, value: object) -> Forge:
    return lambda raw: setattr(raw.pair(key), name, value)


def tensor_has(name: str, value: object, tensor: str = QUERY) -> Forge:
    return lambda raw: setattr(raw.tensor(tensor), name, value)


def both(*forges: Forge) -> Forge:
    def forge(raw: RawGguf) -> None:
        for one in forges:
            one(raw)

    return forge


def bare(raw: RawGguf) -> None:
    raw.pairs, raw.tensors = [], []


def no_tensors(raw: RawGguf) -> None:
    raw.tensors = []


def with_pair(pair: RawPair) -> Forge:
    return lambda raw: raw.pairs.append(pair)


def key_is(raw: RawGguf, key: RawString) -> None:
    raw.pairs[1].key = key


def with_tensor(name: str, shape: list[int], kind: int = 0, data: bytes = bytes(64)) -> Forge:
    return lambda raw: raw.tensors.append(RawTensor(RawString(name.encode()), shape, kind, data))


def only_tensors(*tensors: tuple[list[int], int]) -> Forge:
    def forge(raw: RawGguf) -> None:
        raw.tensors = [
            RawTensor(RawString(b"t%d" % index), shape, kind, b"")
            for index, (shape, kind) in enumerate(tensors)
        ]

    return forge


def aligned(value: int, *, kind: ValueType = ValueType.UINT32, follow: bool = False) -> Forge:
    def forge(raw: RawGguf) -> None:
        raw.set("general.alignment", kind, value)
        raw.alignment = value if follow else raw.alignment

    return forge


def tokens_are(change: Callable[[list[str]], None], *, lists: bool = True) -> Forge:
    """Change the seed's tokens; with `lists`, types and scores follow their number."""

    def forge(raw: RawGguf) -> None:
        tokens = [f"<0x{byte:02X}>" for byte in range(256)]
        rest = [chr(code) for code in range(0x21, 0x7F)]
        texts = ["<unk>", "<s>", "</s>", *tokens, "▁", *rest]
        change(texts)
        raw.set_array(TOKENS, ValueType.STRING, texts)
        if lists:
            types = [6 if text.startswith("<0x") and len(text) == 6 else 1 for text in texts]
            raw.set_array(TYPES, ValueType.INT32, types)
            raw.set_array(SCORES, ValueType.FLOAT32, [0.0] * len(texts))

    return forge


def put_all(changes: dict[int, str]) -> Callable[[list[str]], None]:
    def change(texts: list[str]) -> None:
        for index, text in changes.items():
            texts[index] = text

    return change


def put(index: int, text: str) -> Callable[[list[str]], None]:
    return put_all({index: text})


def filled(raw: RawGguf, pattern: bytes) -> None:
    for tensor in raw.tensors:
        tensor.data = (pattern * (len(tensor.data) // len(pattern) + 1))[: len(tensor.data)]


def retyped(tensor: str, kind: int, shape: list[int], size_bytes: int) -> Forge:
    def forge(raw: RawGguf) -> None:
        one = raw.tensor(tensor)
        one.type, one.shape, one.data = kind, shape, bytes(size_bytes)

    return forge


def kinds(
    admitted: bool = False, seed: Callable[[], RawGguf] = seeds.generator, **forges: Forge
) -> tuple[Kind, ...]:
    return tuple(Kind(name=name, forge=forge, seed=seed, admitted=admitted) for name, forge in forges.items())


def renamed(old: bytes, new: bytes) -> Forge:
    def forge(raw: RawGguf) -> None:
        for tensor in raw.tensors:
            tensor.name.text = tensor.name.text.replace(old, new)

    return forge


def value_replaces(key: str, old: bytes, new: bytes) -> Forge:
    def forge(raw: RawGguf) -> None:
        raw.pair(key).value = raw.pair(key).value.replace(old, new)

    return forge
