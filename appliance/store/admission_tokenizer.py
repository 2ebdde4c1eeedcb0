"""Admission rules for vocabularies. llama.cpp trusts them: it aborts at duplicates, at a missing byte token,
and when a token it is told to add does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from appliance.gguf.header import Header
from appliance.gguf.values import NumberArray, StringArray, ValueType

_PREFIX: Final = "tokenizer.ggml."
_MODELS: Final = frozenset(
    {"llama", "bert", "gpt2", "t5", "rwkv", "plamo2", "gemma4", "hybriddna", "whitespace"}
)
_NO_VOCABULARY: Final = frozenset({"none", "no_vocab"})
_BYTE_TOKEN: Final = re.compile(rb"<0x[0-9A-Fa-f]{2}>")
_HEX_ESCAPE: Final = re.compile(rb"\\x[0-9a-f]{2}")
_ESCAPES: Final = {b"t": 9, b"n": 10, b"r": 13}
_BYTE: Final = 6
"""Token type: the text is `<0xNN>`, the token a byte."""
_TOKEN_TYPES: Final = range(7)
"""0 is `undefined`; llama.cpp makes that of any other number, too."""
_MOST_EMPTY: Final = 64
"""llama.cpp names empty tokens itself; some vocabularies have a few, a file full of them is no vocabulary."""
_ABSENT: Final = 2**32 - 1
"""-1 in an unsigned number: converters write it for "none", and llama.cpp then keeps its default."""
_IDS: Final = (
    "bos",
    "eos",
    "eot",
    "eom",
    "unknown",
    "seperator",  # the specification's own spelling
    "padding",
    "mask",
    "cls",
    "fim_pre",
    "fim_suf",
    "fim_mid",
    "fim_pad",
    "fim_rep",
    "fim_sep",
    "prefix",
    "suffix",
    "middle",
)
_DEFAULTS: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType(
    {
        "llama": {"bos": 1, "eos": 2, "unknown": 0},
        "bert": {"bos": 101, "seperator": 102, "unknown": 100},
        "gpt2": {"bos": 11, "eos": 11},
        "hybriddna": {"bos": 11, "eos": 11},
        "whitespace": {"bos": 11, "eos": 11},
        "t5": {"eos": 1, "unknown": 2},
        "plamo2": {"bos": 1, "eos": 2, "unknown": 0},
        "rwkv": {},
        "gemma4": {},
    }
)
"""Ids that llama.cpp takes when the file names none."""
_NO_DEFAULT_BOS: Final = frozenset({"chatglm-bpe", "glm4", "glm5"})
_PRE_ADDS_BOS: Final = frozenset(
    {
        "llama3",
        "llama-v3",
        "llama-bpe",
        "falcon3",
        "falcon-h1",
        "pixtral",
        "midm-2.0",
        "lfm2",
        "jina-v5-nano",
        "tekken",
        "chameleon",
    }
)
"""Pre-tokenizers with which a vocabulary adds a first token unless the file says otherwise."""
_FORCES_BOS: Final = frozenset({"gemma4", "granite-embed-multi-311m"})
"""Pre-tokenizers with which it adds one whatever the file says."""


def model(header: Header) -> str | None:
    name = header.text(f"{_PREFIX}model")
    if name in _MODELS:
        return None
    if name is None:
        return "it has no vocabulary (tokenizer.ggml.model)"
    if name in _NO_VOCABULARY:
        return "it has no vocabulary; llama.cpp cannot read or write text with it"
    return f"its tokenizer, {name[:64]!r}, is not known to this llama.cpp"


def tokens(header: Header) -> str | None:
    """Each token once. Empty ones are counted as what llama.cpp calls them, `[EMPTY_<id>]`."""
    found = header.strings(f"{_PREFIX}tokens")
    if found is None or not len(found):
        return "its vocabulary has no tokens"
    distinct = set(found)
    empty = [index for index, text in enumerate(found) if not text] if b"" in distinct else []
    if len(empty) > _MOST_EMPTY:
        return f"{len(empty)} tokens of its vocabulary are empty"
    distinct.discard(b"")
    distinct.update(b"[EMPTY_%d]" % index for index in empty)
    missing = len(found) - len(distinct)
    return f"{missing} tokens of its vocabulary are there twice" if missing else None


def token_types(header: Header) -> str | None:
    key = f"{_PREFIX}token_type"
    if key not in header.metadata:
        return None
    kinds, texts = header.numbers(key), header.strings(f"{_PREFIX}tokens")
    if kinds is None or texts is None or kinds.item_type is not ValueType.INT32:
        return f"{key} is no array of 32-bit numbers"
    if len(kinds) != len(texts):
        return f"it has {len(texts)} tokens and {len(kinds)} token types"
    if kinds and not (min(kinds) >= _TOKEN_TYPES.start and max(kinds) < _TOKEN_TYPES.stop):
        return f"{key} holds other numbers than {_TOKEN_TYPES.start} to {_TOKEN_TYPES.stop - 1}"
    return _byte_type_fault(header, kinds, texts) if _BYTE in kinds else None


def _byte_type_fault(header: Header, kinds: NumberArray, texts: StringArray) -> str | None:
    if header.text(f"{_PREFIX}model") == "bert":
        return "it has byte tokens, which a WordPiece vocabulary cannot have"
    for index, kind in enumerate(kinds):
        if kind == _BYTE and not _BYTE_TOKEN.fullmatch(texts[index]):
            return f"token {index} is a byte and is not written as one: {texts[index][:16]!r}"
    return None


def scores(header: Header) -> str | None:
    key = f"{_PREFIX}scores"
    if key not in header.metadata:
        return None
    found, texts = header.numbers(key), header.strings(f"{_PREFIX}tokens")
    if found is None or texts is None or found.item_type not in {ValueType.FLOAT32, ValueType.INT32}:
        return f"{key} is no array of 32-bit numbers"
    return None if len(found) == len(texts) else f"it has {len(texts)} tokens and {len(found)} scores"


def byte_tokens(header: Header) -> str | None:
    """What has no token is spelt in bytes; at a missing one llama.cpp aborts, or (RWKV) never ends."""
    texts = header.strings(f"{_PREFIX}tokens")
    kind = header.text(f"{_PREFIX}model")
    if kind not in {"llama", "plamo2", "rwkv"} or texts is None:
        return None
    if kind == "rwkv":
        missing = set(range(256)).difference(_single_byte(text) for text in texts)
    else:
        written = set(texts)
        missing = {byte for byte in range(256) if b"<0x%02X>" % byte not in written}
    return f"{len(missing)} of 256 byte tokens are missing, e.g. of 0x{min(missing):02X}" if missing else None


def _single_byte(text: bytes) -> int | None:
    """The byte that an RWKV token stands for, if it is one: as itself, or escaped as Python does it."""
    if len(text) == 1 and text != b"\\":
        return text[0]
    if len(text) == 2 and text.startswith(b"\\") and text != b"\\x":
        return _ESCAPES.get(text[1:], text[1])
    return bytes.fromhex(text[2:].decode())[0] if _HEX_ESCAPE.fullmatch(text) else None


def special_ids(header: Header) -> str | None:
    count = _token_count(header)
    for name in _IDS:
        key = _id_key(name)
        if key not in header.metadata:
            continue
        found = header.integer(key)
        if found is None:
            return f"{key} is no number"
        if found not in {_ABSENT, -1} and not 0 <= found < count:
            return f"{key} is {found}, and the vocabulary has {count} tokens"
    return None


def needed_ids(header: Header) -> str | None:
    """Tokens that llama.cpp puts around every text, and asserts to exist."""
    for name in _needed(header):
        if _resolved(header, name) is None:
            return f"every text begins or ends with its '{name}' token, and the vocabulary has none"
    return None


def character_map(header: Header) -> str | None:
    """A Unigram vocabulary's normalisation: its length, a table of 32-bit units, and texts that end with a
    zero.
    """
    key = f"{_PREFIX}precompiled_charsmap"
    if header.text(f"{_PREFIX}model") != "t5" or key not in header.metadata:
        return None
    found = header.numbers(key)
    if found is None or found.item_type not in {ValueType.UINT8, ValueType.INT8}:
        return f"{key} is no array of bytes"
    content = bytes(int(one) & 0xFF for one in found)
    table_bytes = int.from_bytes(content[:4], "little")
    if len(content) < 8 or table_bytes % 4 or table_bytes + 4 >= len(content) or content[-1]:
        return f"{key} is damaged"
    return None


def _needed(header: Header) -> list[str]:
    kind, pre = header.text(f"{_PREFIX}model"), header.text(f"{_PREFIX}pre") or ""
    if kind == "bert":
        return ["bos", "seperator", "unknown"]
    if kind == "rwkv":
        return []
    forced = kind == "gemma4" or pre in _FORCES_BOS
    added = header.truth(f"{_PREFIX}add_bos_token")
    adds_bos = kind == "llama" or pre in _PRE_ADDS_BOS if added is None else added
    ended = header.truth(f"{_PREFIX}add_eos_token")
    adds_eos = kind == "t5" if ended is None else ended
    return ["bos"] * (adds_bos or forced) + ["eos"] * adds_eos + ["unknown"] * (kind == "t5")


def _resolved(header: Header, name: str) -> int | None:
    """The id that llama.cpp ends up with."""
    count = _token_count(header)
    said = header.integer(_id_key(name))
    if said is not None and 0 <= said < count:
        return said
    if name == "bos" and (header.text(f"{_PREFIX}pre") or "") in _NO_DEFAULT_BOS:
        return None
    default = _DEFAULTS.get(header.text(f"{_PREFIX}model") or "", {}).get(name)
    return default if default is not None and default < count else None


def _id_key(name: str) -> str:
    return f"{_PREFIX}{name}_token_id"


def _token_count(header: Header) -> int:
    texts = header.strings(f"{_PREFIX}tokens")
    return len(texts) if texts is not None else 0
