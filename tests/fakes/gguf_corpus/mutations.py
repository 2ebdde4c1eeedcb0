"""Random hostile files: each is a function of its number, so that a failing one can be made again.

field_mutation   one to three fields of a seed are forged: numbers at their bounds, types, names, counts,
offsets byte_mutation    one to eight bytes of a seed's header are overwritten
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from typing import Final

from appliance.gguf.tensor_types import TENSOR_TYPES
from appliance.gguf.values import CODES, ValueType
from tests.fakes.gguf_corpus.raw import RawGguf, RawPair, RawString, RawTensor
from tests.fakes.gguf_corpus.seeds import SEEDS, projector

_WEIGHTS: Final = {"generator": 10, "byte_pairs": 3, "mixture": 3, "encoder": 3, "adapter": 1}
_INTEGERS: Final = (
    *range(10),
    16,
    31,
    33,
    64,
    255,
    256,
    257,
    512,
    513,
    1023,
    1025,
    2**16 - 1,
    2**16,
    2**20,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
_FLOATS: Final = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    1e-5,
    1e-30,
    1e30,
    -1e30,
    0.5,
    float("nan"),
    float("inf"),
    -float("inf"),
)
_TEXTS: Final = (
    b"",
    b"llama",
    b"bert",
    b"gpt2",
    b"none",
    b"t5",
    b"rwkv",
    b"qwen2",
    b"mamba",
    b"clip",
    b"default",
    b"tekken",
    b"linear",
    b"<0x41>",
    b"\xff\xfe",
    b"x" * 300,
    b"{% for",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    name: str
    seed: str
    content: bytes


def field_mutation(number: int) -> Mutation:
    rng = random.Random(f"field {number}")
    seed = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    raw = _forged(SEEDS[seed](), rng)
    return Mutation(name=f"field {number} of {seed}", seed=seed, content=raw.render())


def projector_mutation(number: int) -> Mutation:
    """As `field_mutation`, of a file that nothing of ours loads yet."""
    raw = _forged(projector(), random.Random(f"projector {number}"))
    return Mutation(name=f"field {number} of projector", seed="projector", content=raw.render())


def byte_mutation(number: int) -> Mutation:
    rng = random.Random(f"byte {number}")
    seed = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    raw = SEEDS[seed]()
    content = bytearray(raw.render())
    header_bytes = len(raw.header())
    for _ in range(rng.randint(1, 8)):
        content[rng.randrange(header_bytes)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return Mutation(name=f"byte {number} of {seed}", seed=seed, content=bytes(content))


def _forged(raw: RawGguf, rng: random.Random) -> RawGguf:
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choices((_pair, _array, _tensor, _frame), (10, 5, 6, 1))[0](raw, rng)
    return raw


# ── what is forged ──────────────────────────────────────────────────────────────────────────────────────────


def _pair(raw: RawGguf, rng: random.Random) -> None:
    pair = rng.choice(raw.pairs)
    match rng.randrange(8):
        case 0:
            pair.type = rng.randrange(15)
        case 1:
            pair.key.text = rng.choice((*_TEXTS, rng.choice(raw.pairs).key.text))
        case 2:
            pair.key.length = rng.choice(_INTEGERS)
        case 3:
            raw.pairs.remove(pair)
        case _:
            _value(pair, rng)


def _value(pair: RawPair, rng: random.Random) -> None:
    """Another value of the same type, at a bound of it."""
    if pair.type == ValueType.STRING:
        length = rng.choice((None, None, None, rng.choice(_INTEGERS)))
        pair.value = RawString(rng.choice(_TEXTS), length).render()
    elif pair.type == ValueType.ARRAY:
        pair.count = rng.choice(_INTEGERS)
    elif pair.type < len(ValueType):
        pair.value = _number(ValueType(pair.type), rng)


def _number(kind: ValueType, rng: random.Random) -> bytes:
    if kind in {ValueType.FLOAT32, ValueType.FLOAT64}:
        return struct.pack(f"<{CODES[kind]}", rng.choice(_FLOATS))
    whole: bytes = rng.choice(_INTEGERS).to_bytes(8, "little")
    return whole[: struct.calcsize(CODES[kind])]


def _array(raw: RawGguf, rng: random.Random) -> None:
    """One item, the length, or the type of items of an array."""
    arrays = [pair for pair in raw.pairs if pair.item_type is not None and pair.count]
    if not arrays:
        return
    pair = rng.choice(arrays)
    assert pair.item_type is not None
    assert pair.count is not None
    match rng.randrange(6):
        case 0:
            pair.item_type = rng.randrange(15)
        case 1:
            pair.count = max(0, pair.count + rng.choice((-1, 1)))
        case _ if pair.item_type == ValueType.STRING:
            _token(pair, rng)
        case _ if pair.item_type in CODES:
            size = struct.calcsize(CODES[ValueType(pair.item_type)])
            at = rng.randrange(pair.count) * size
            number = _number(ValueType(pair.item_type), rng)
            pair.value = pair.value[:at] + number + pair.value[at + size :]


def _token(pair: RawPair, rng: random.Random) -> None:
    """One token becomes empty, another's copy, or odd bytes."""
    texts, at = [], 0
    while at < len(pair.value):
        (length,) = struct.unpack_from("<Q", pair.value, at)
        texts.append(pair.value[at + 8 : at + 8 + length])
        at += 8 + length
    if texts:
        texts[rng.randrange(len(texts))] = rng.choice((rng.choice(texts), *_TEXTS))
    pair.value = b"".join(RawString(text).render() for text in texts)


def _tensor(raw: RawGguf, rng: random.Random) -> None:
    if not raw.tensors:
        return
    tensor = rng.choice(raw.tensors)
    match rng.randrange(7):
        case 0:
            tensor.type = rng.choice((*TENSOR_TYPES, *range(45)))
        case 1:
            tensor.shape[rng.randrange(len(tensor.shape))] = rng.choice(_INTEGERS)
        case 2:
            tensor.offset = rng.choice(_INTEGERS)
        case 3:
            tensor.name.text = rng.choice(
                (*_TEXTS, rng.choice(raw.tensors).name.text, b"blk.1.attn_q.weight")
            )
        case 4:
            raw.tensors.remove(tensor)
        case 5:
            _retype(tensor, rng)
        case _:
            tensor.n_dims = rng.choice((0, 1, 3, 5, 2**31))


def _retype(tensor: RawTensor, rng: random.Random) -> None:
    """Another type, with as much data as it needs: the table stays true."""
    fitting = [one for one in TENSOR_TYPES.values() if tensor.shape[0] % one.block_items == 0]
    kind = rng.choice(fitting)
    elements = 1
    for length in tensor.shape:
        elements *= length
    if elements < 2**20:
        tensor.type = kind.number
        tensor.data = bytes(elements // kind.block_items * kind.block_bytes)


def _frame(raw: RawGguf, rng: random.Random) -> None:
    match rng.randrange(6):
        case 0:
            raw.version = rng.choice(_INTEGERS) % 2**32
        case 1:
            raw.n_tensors = rng.choice(_INTEGERS)
        case 2:
            raw.n_pairs = rng.choice(_INTEGERS)
        case 3:
            alignment = rng.choice((1, 2, 8, 16, 32, 64, 4096, 8192))
            raw.set("general.alignment", ValueType.UINT32, alignment)
            raw.alignment = alignment
        case 4:
            raw.keep_bytes = rng.randrange(len(raw.render()))
        case _:
            raw.tail = rng.randbytes(64)
