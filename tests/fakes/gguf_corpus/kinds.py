"""Hand-made hostile files by name, in families:

    a container · b tensor table · c dimensions · d tokenizer · e template · f resource bombs · g companions
    h published exploits, by class · i weights

A superset, by name, of the kinds that llama.cpp forges itself (`tests/test-gguf.cpp`: those of family `a` and `b`
that begin with `header_`, `kv_`, `tensors_` and `data_`). A file that shrinks while it is read (family j) is a test
of the reader.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from appliance.gguf.values import ValueType
from tests.fakes.gguf_corpus import seeds
from tests.fakes.gguf_corpus.raw import Item, RawGguf, RawPair, RawString, RawTensor

Forge = Callable[[RawGguf], object]

_U8, _U16, _U32, _I32, _F32, _STRING, _BOOL, _U64, _F64 = (
    ValueType.UINT8,
    ValueType.UINT16,
    ValueType.UINT32,
    ValueType.INT32,
    ValueType.FLOAT32,
    ValueType.STRING,
    ValueType.BOOL,
    ValueType.UINT64,
    ValueType.FLOAT64,
)
_NAN, _INF = float("nan"), float("inf")
_TOKENS, _TYPES, _SCORES = (f"tokenizer.ggml.{name}" for name in ("tokens", "token_type", "scores"))
_Q: Final = "blk.0.attn_q.weight"


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


# ── forging, in short words ─────────────────────────────────────────────────────────────────────────────────


def _field(name: str, value: object) -> Forge:
    return lambda raw: setattr(raw, name, value)


def _set(key: str, kind: ValueType, value: Item) -> Forge:
    return lambda raw: raw.set(key, kind, value)


def _llama(key: str, value: Item, kind: ValueType = _U32) -> Forge:
    return _set(f"llama.{key}", kind, value)


def _drop(key: str) -> Forge:
    return lambda raw: raw.drop(key)


def _on_pair(key: str, name: str, value: object) -> Forge:
    return lambda raw: setattr(raw.pair(key), name, value)


def _on_tensor(name: str, value: object, tensor: str = _Q) -> Forge:
    return lambda raw: setattr(raw.tensor(tensor), name, value)


def _both(*forges: Forge) -> Forge:
    def forge(raw: RawGguf) -> None:
        for one in forges:
            one(raw)

    return forge


def _bare(raw: RawGguf) -> None:
    raw.pairs, raw.tensors = [], []


def _no_tensors(raw: RawGguf) -> None:
    raw.tensors = []


def _append(pair: RawPair) -> Forge:
    return lambda raw: raw.pairs.append(pair)


def _key(raw: RawGguf, key: RawString) -> None:
    raw.pairs[1].key = key


def _tensor(name: str, shape: list[int], kind: int = 0, data: bytes = bytes(64)) -> Forge:
    return lambda raw: raw.tensors.append(RawTensor(RawString(name.encode()), shape, kind, data))


def _only_tensors(*tensors: tuple[list[int], int]) -> Forge:
    def forge(raw: RawGguf) -> None:
        raw.tensors = [
            RawTensor(RawString(b"t%d" % index), shape, kind, b"")
            for index, (shape, kind) in enumerate(tensors)
        ]

    return forge


def _align(value: int, *, kind: ValueType = _U32, follow: bool = False) -> Forge:
    def forge(raw: RawGguf) -> None:
        raw.set("general.alignment", kind, value)
        raw.alignment = value if follow else raw.alignment

    return forge


def _tokens(change: Callable[[list[str]], None], *, lists: bool = True) -> Forge:
    """Change the seed's tokens; with `lists`, types and scores follow their number."""

    def forge(raw: RawGguf) -> None:
        tokens = [f"<0x{byte:02X}>" for byte in range(256)]
        rest = [chr(code) for code in range(0x21, 0x7F)]
        texts = ["<unk>", "<s>", "</s>", *tokens, "▁", *rest]
        change(texts)
        raw.set_array(_TOKENS, _STRING, texts)
        if lists:
            types = [6 if text.startswith("<0x") and len(text) == 6 else 1 for text in texts]
            raw.set_array(_TYPES, _I32, types)
            raw.set_array(_SCORES, _F32, [0.0] * len(texts))

    return forge


def _puts(changes: dict[int, str]) -> Callable[[list[str]], None]:
    def change(texts: list[str]) -> None:
        for index, text in changes.items():
            texts[index] = text

    return change


def _put(index: int, text: str) -> Callable[[list[str]], None]:
    return _puts({index: text})


def _fill(raw: RawGguf, pattern: bytes) -> None:
    for tensor in raw.tensors:
        tensor.data = (pattern * (len(tensor.data) // len(pattern) + 1))[: len(tensor.data)]


def _retype(tensor: str, kind: int, shape: list[int], size_bytes: int) -> Forge:
    def forge(raw: RawGguf) -> None:
        one = raw.tensor(tensor)
        one.type, one.shape, one.data = kind, shape, bytes(size_bytes)

    return forge


def _kinds(
    admitted: bool = False, seed: Callable[[], RawGguf] = seeds.generator, **forges: Forge
) -> tuple[Kind, ...]:
    return tuple(Kind(name=name, forge=forge, seed=seed, admitted=admitted) for name, forge in forges.items())


# ── families ────────────────────────────────────────────────────────────────────────────────────────────────

CONTAINER: Final = (
    *_kinds(
        header_bad_magic=_field("magic", b"FUGG"),
        header_bad_version_0=_field("version", 0),
        header_bad_version_1=_field("version", 1),
        header_bad_version_future=_field("version", 4),
        header_big_endian=_field("version", 3 << 24),
        header_bad_n_tensors=_field("n_tensors", -1),
        header_bad_n_kv=_field("n_pairs", -1),
        header_huge_n_kv=_field("n_pairs", 2**62),
        header_empty=_bare,
        header_truncated=_field("keep_bytes", 23),
        header_no_bytes=_field("keep_bytes", 0),
        kv_bad_key_size=partial(_key, key=RawString(b"x", 2**64 - 1)),
        kv_huge_key_size=partial(_key, key=RawString(b"x", 2**63)),
        kv_empty_key=partial(_key, key=RawString(b"")),
        kv_key_with_control_characters=partial(_key, key=RawString(b"a\n\x00b")),
        kv_bad_type=_on_pair("general.name", "type", 13),
        kv_bad_value_size=_append(RawPair(RawString(b"big"), _STRING, struct.pack("<Q", 2**40))),
        kv_duplicate_key=_append(RawPair(RawString(b"general.name"), _U32, bytes(4))),
        kv_bad_align=_align(33),
        kv_wrong_type_align=_align(32, kind=_U64),
        kv_nested_array=_append(RawPair(RawString(b"nested"), 9, bytes(64), 9, 2)),
        kv_array_of_unknown_type=_append(RawPair(RawString(b"odd"), 9, bytes(64), 77, 2)),
        kv_array_longer_than_file=_append(RawPair(RawString(b"long"), 9, b"", _U8, 2**30)),
        kv_bool_of_seven=_append(RawPair(RawString(b"seven"), _BOOL, b"\x07")),
        kv_truncated=_field("keep_bytes", 300),
        kv_success=_no_tensors,
        align_zero=_align(0),
        align_one=_align(1, follow=True),
        align_eight=_align(8, follow=True),
        align_huge=_align(2**31),
    ),
)

TENSOR_TABLE: Final = (
    *_kinds(
        tensors_bad_name_size=lambda raw: setattr(raw.tensor(_Q), "name", RawString(b"x", 2**64 - 1)),
        tensors_long_name=lambda raw: setattr(raw.tensor(_Q), "name", RawString(b"n" * 64)),
        tensors_empty_name=lambda raw: setattr(raw.tensor(_Q), "name", RawString(b"")),
        tensors_bad_n_dims=_on_tensor("n_dims", 5),
        tensors_no_dims=_on_tensor("n_dims", 0),
        tensors_bad_shape=_on_tensor("shape", [-1, 32]),
        tensors_zero_dim=_on_tensor("shape", [0, 32]),
        tensors_ne_too_big=_on_tensor("shape", [2**40, 2**40]),
        tensors_nbytes_too_big=_on_tensor("shape", [2**31, 2**31]),
        tensors_nbytes_pad_wrap=_only_tensors(([4, 1073741823, 1073741825], 0)),
        tensors_bad_type=_on_tensor("type", 43),
        tensors_removed_type=_on_tensor("type", 31),
        tensors_bad_offset=_on_tensor("offset", 17),
        tensors_overlap=_on_tensor("offset", 0),
        tensors_offset_past_the_end=_on_tensor("offset", 2**62),
        tensors_duplicate_name=_tensor(_Q, [16]),
        tensors_bad_align=_align(33, follow=True),
        tensors_inconsistent_align=_align(64),
        tensors_not_a_whole_block=_on_tensor("type", 12),
        tensors_without_embedding=lambda raw: raw.tensors.pop(0),
        tensors_success=_both(_bare, _tensor("t", [16])),
        data_not_enough_data=lambda raw: setattr(raw, "keep_bytes", len(raw.render()) - 4096),
        data_bad_align=_align(48, follow=True),
        data_inconsistent_align=_align(128),
        data_mem_size_overflow=_only_tensors(([0x7FFFFFFFFFFFFFC0], 24), ([0x7FFFFFFFFFFFFFC0], 24)),
        norm_of_half_floats=_retype("blk.0.attn_norm.weight", 1, [seeds.WIDTH], 2 * seeds.WIDTH),
    ),
    *_kinds(
        admitted=True,
        tensors_custom_align=_align(64, follow=True),
        data_custom_align=_align(4096, follow=True),
        data_success=lambda raw: raw,
        data_with_a_tail=_field("tail", b"tail" * 100),
        tensors_missing=lambda raw: raw.tensors.pop(1),
        matrix_with_swapped_dims=_on_tensor("shape", [seeds.FF, seeds.WIDTH], "blk.0.ffn_gate.weight"),
        tensor_nobody_asked_for=_tensor("surplus.weight", [16]),
    ),
)

DIMENSIONS: Final = (
    *_kinds(
        no_architecture=_drop("general.architecture"),
        wrong_architecture=_set("general.architecture", _STRING, "llama5"),
        architecture_is_a_number=_set("general.architecture", _U32, 1),
        architecture_of_projectors=_set("general.architecture", _STRING, "clip_"),
        layers_0=_llama("block_count", 0),
        layers_2_31=_llama("block_count", 2**31),
        layers_2=_llama("block_count", 2),
        layers_513=_llama("block_count", 513),
        layers_a_float=_llama("block_count", 1.0, _F32),
        heads_many=_llama("attention.head_count", 2**20),
        kv_heads_7=_llama("attention.head_count_kv", 7),
        width_0=_llama("embedding_length", 0),
        width_2_31=_llama("embedding_length", 2**31),
        context_0=_llama("context_length", 0),
        rope_65=_llama("rope.dimension_count", 65),
        rope_2_31=_llama("rope.dimension_count", 2**31),
        rope_scaling_unknown=_llama("rope.scaling.type", "sideways", _STRING),
        eps_nan=_llama("attention.layer_norm_rms_epsilon", _NAN, _F32),
        eps_minus_1=_llama("attention.layer_norm_rms_epsilon", -1.0, _F32),
        eps_0=_llama("attention.layer_norm_rms_epsilon", 0.0, _F32),
        eps_infinite=_llama("attention.layer_norm_rms_epsilon", _INF, _F32),
        frequency_base_nan=_llama("rope.freq_base", _NAN, _F32),
        experts_1e6=_llama("expert_count", 10**6),
        experts_used_without_any=_llama("expert_used_count", 2),
    ),
    *_kinds(
        seed=seeds.mixture,
        experts_none_used=_llama("expert_used_count", 0),
        experts_more_used_than_there=_llama("expert_used_count", 5),
        experts_in_too_many_groups=_llama("expert_group_count", 4),
        experts_in_uneven_groups=_llama("expert_group_count", 3),
    ),
    *_kinds(
        admitted=True,
        heads_missing=_drop("llama.attention.head_count"),
        eps_missing=_drop("llama.attention.layer_norm_rms_epsilon"),
    ),
)

TOKENIZER: Final = (
    *_kinds(
        tokens_missing=_drop(_TOKENS),
        tokens_none=lambda raw: raw.set_array(_TOKENS, _STRING, []),
        tokens_of_numbers=lambda raw: raw.set_array(_TOKENS, _I32, [1, 2, 3]),
        tokens_half=_tokens(lambda texts: texts.__delitem__(slice(150, None))),
        token_twice=_tokens(_put(300, "!")),
        token_called_as_an_empty_one=_tokens(_puts({300: "", 301: "[EMPTY_300]"})),
        token_of_a_mebibyte=_tokens(_put(300, "x" * 2**20)),
        byte_token_missing=_tokens(_put(13, "<newline>")),
        byte_token_misspelt=lambda raw: raw.set_array(_TYPES, _I32, [6] * 350),
        types_short=lambda raw: raw.set_array(_TYPES, _I32, [1] * 10),
        types_of_floats=lambda raw: raw.set_array(_TYPES, _F32, [1.0] * 354),
        types_out_of_range=lambda raw: raw.set_array(_TYPES, _I32, [99] * 354),
        scores_short=lambda raw: raw.set_array(_SCORES, _F32, [1.0] * 10),
        scores_nan=lambda raw: raw.set_array(_SCORES, _F32, [_NAN] * 354),
        scores_of_texts=lambda raw: raw.set_array(_SCORES, _STRING, ["1"] * 354),
        bos_out_of_range=_set("tokenizer.ggml.bos_token_id", _U32, 10**6),
        eos_a_text=_set("tokenizer.ggml.eos_token_id", _STRING, "</s>"),
        tokenizer_missing=_drop("tokenizer.ggml.model"),
        tokenizer_none=_set("tokenizer.ggml.model", _STRING, "none"),
        tokenizer_no_vocab=_set("tokenizer.ggml.model", _STRING, "no_vocab"),
        tokenizer_unknown=_set("tokenizer.ggml.model", _STRING, "klingon"),
        tokenizer_of_another_kind=_set("tokenizer.ggml.model", _STRING, "bert"),
    ),
    *_kinds(
        seed=seeds.encoder,
        wordpiece_with_byte_types=lambda raw: raw.set_array(_TYPES, _I32, [6] * 21),
        wordpiece_without_separator=_drop("tokenizer.ggml.seperator_token_id"),
    ),
    *_kinds(
        admitted=True,
        token_of_broken_utf8=lambda raw: raw.pair(_TOKENS).__setattr__(
            "value", raw.pair(_TOKENS).value.replace("▁".encode(), b"\xff\xfe\xfd")
        ),
        eos_is_none=_set("tokenizer.ggml.eos_token_id", _U32, 2**32 - 1),
        byte_pairs_of_the_wrong_kind=_set("tokenizer.ggml.model", _STRING, "gpt2"),
    ),
)

TEMPLATE: Final = (
    *_kinds(
        template_of_a_mebibyte=_set("tokenizer.chat_template", _STRING, "x" * (2**20 - 1)),
        template_a_number=_set("tokenizer.chat_template", _U32, 7),
        named_template_too_long=_set("tokenizer.chat_template.tool_use", _STRING, "x" * 300_000),
    ),
    *_kinds(
        admitted=True, template_that_does_not_compile=_set("tokenizer.chat_template", _STRING, "{% for %}")
    ),
)

BOMBS: Final = _kinds(
    context_2_31=_llama("context_length", 2**31),
    pairs_beyond_the_limit=lambda raw: [raw.add(f"spam.{index}", _U32, 1) for index in range(1001)],
    tensors_beyond_the_limit=_field("n_tensors", 10_001),
    strings_beyond_the_limit=_append(
        RawPair(RawString(b"many"), 9, bytes(8 * 1_000_001), _STRING, 1_000_001)
    ),
    string_beyond_the_limit=_set("general.description", _STRING, "x" * (2**20 + 1)),
    tokens_of_four_kibibytes=_tokens(
        lambda texts: texts.extend(f"{index:05}" + "y" * 4091 for index in range(17_000))
    ),
)

COMPANIONS: Final = (
    *_kinds(
        split_of_three=_both(_set("split.count", _U16, 3), _set("split.no", _U16, 0)),
        split_count_of_another_type=_set("split.count", _U32, 1),
        type_of_adapter_without_pairs=_set("general.type", _STRING, "adapter"),
    ),
    *_kinds(
        seed=seeds.adapter,
        adapter_half_a_pair=lambda raw: raw.tensors.pop(),
        adapter_with_other_ranks=lambda raw: raw.tensors[1].__setattr__("shape", [2, 64]),
        adapter_alpha_an_integer=_set("adapter.lora.alpha", _U32, 4),
        adapter_of_another_type=_set("adapter.type", _STRING, "ia3"),
        adapter_type_a_number=_set("adapter.type", _U32, 1),
        adapter_of_integers=lambda raw: raw.tensors[0].__setattr__("type", 26),
        adapter_without_tensors=_no_tensors,
    ),
    *_kinds(
        admitted=True,
        split_of_one=_both(_set("split.count", _U16, 1), _set("split.no", _U16, 0)),
    ),
    *_kinds(
        admitted=True,
        seed=seeds.adapter,
        adapter_of_another_tensor=lambda raw: [
            tensor.name.__setattr__("text", tensor.name.text.replace(b"attn_q", b"nobody"))
            for tensor in raw.tensors
        ],
        adapter_of_another_architecture=_set("general.architecture", _STRING, "qwen2"),
    ),
)

EXPLOITS: Final = _kinds(
    tensor_of_i8_is_multiplied=_retype(_Q, 24, [seeds.WIDTH, seeds.WIDTH], seeds.WIDTH**2),
    tensor_of_i32_is_multiplied=_on_tensor("type", 26),
    tensor_of_f64_is_multiplied=_retype(_Q, 28, [seeds.WIDTH, seeds.WIDTH], 8 * seeds.WIDTH**2),
    tensor_of_q8_k_is_multiplied=_retype(_Q, 15, [256, 4], 4 * 292),
    tensor_leaks_the_heap=_on_tensor("shape", [seeds.WIDTH, 2**20], "token_embd.weight"),
    tensor_size_overflows_int64=_on_tensor("shape", [2**62, 2, 2, 2]),
    vocabulary_larger_than_embedding=_tokens(lambda texts: texts.append("more")),
    token_types_of_bytes=lambda raw: raw.set_array(_TYPES, _U8, [1] * 354),
)

WEIGHTS: Final = _kinds(
    admitted=True,
    weights_all_ones_bits=partial(_fill, pattern=b"\xff"),
    weights_nan=partial(_fill, pattern=struct.pack("<f", _NAN)),
    weights_zero=partial(_fill, pattern=b"\0"),
)

KINDS: Final = (
    *CONTAINER,
    *TENSOR_TABLE,
    *DIMENSIONS,
    *TOKENIZER,
    *TEMPLATE,
    *BOMBS,
    *COMPANIONS,
    *EXPLOITS,
    *WEIGHTS,
)
