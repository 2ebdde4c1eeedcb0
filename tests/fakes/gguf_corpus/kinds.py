"""Hand-made hostile files by name, in families.

    a container · b tensor table · c dimensions · d tokenizer · e template · f resource bombs · g companions
    h published exploits, by class · i weights

A superset, by name, of the kinds that llama.cpp forges itself (`tests/test-gguf.cpp`: those that begin with
`header_`, `kv_`, `tensors_` and `data_`). A file that shrinks while it is read (family j) is a test of the
reader.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import Final

from appliance.gguf.values import ValueType
from tests.fakes.gguf_corpus import seeds
from tests.fakes.gguf_corpus.forging import (
    QUERY,
    SCORES,
    TOKENS,
    TYPES,
    Kind,
    aligned,
    bare,
    both,
    field_is,
    filled,
    key_is,
    kinds,
    llama_is,
    no_tensors,
    only_tensors,
    pair_has,
    put,
    put_all,
    renamed,
    retyped,
    tensor_has,
    tokens_are,
    value_is,
    value_replaces,
    with_pair,
    with_tensor,
    without,
)
from tests.fakes.gguf_corpus.raw import RawPair, RawString

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
CONTAINER: Final = (
    *kinds(
        header_bad_magic=field_is("magic", b"FUGG"),
        header_bad_version_0=field_is("version", 0),
        header_bad_version_1=field_is("version", 1),
        header_bad_version_future=field_is("version", 4),
        header_big_endian=field_is("version", 3 << 24),
        header_bad_n_tensors=field_is("n_tensors", -1),
        header_bad_n_kv=field_is("n_pairs", -1),
        header_huge_n_kv=field_is("n_pairs", 2**62),
        header_empty=bare,
        header_truncated=field_is("keep_bytes", 23),
        header_no_bytes=field_is("keep_bytes", 0),
        kv_bad_key_size=partial(key_is, key=RawString(b"x", 2**64 - 1)),
        kv_huge_key_size=partial(key_is, key=RawString(b"x", 2**63)),
        kv_empty_key=partial(key_is, key=RawString(b"")),
        kv_key_with_control_characters=partial(key_is, key=RawString(b"a\n\x00b")),
        kv_bad_type=pair_has("general.name", "type", 13),
        kv_bad_value_size=with_pair(RawPair(RawString(b"big"), _STRING, struct.pack("<Q", 2**40))),
        kv_duplicate_key=with_pair(RawPair(RawString(b"general.name"), _U32, bytes(4))),
        kv_bad_align=aligned(33),
        kv_wrong_type_align=aligned(32, kind=_U64),
        kv_nested_array=with_pair(RawPair(RawString(b"nested"), 9, bytes(64), 9, 2)),
        kv_array_of_unknown_type=with_pair(RawPair(RawString(b"odd"), 9, bytes(64), 77, 2)),
        kv_array_longer_than_file=with_pair(RawPair(RawString(b"long"), 9, b"", _U8, 2**30)),
        kv_bool_of_seven=with_pair(RawPair(RawString(b"seven"), _BOOL, b"\x07")),
        kv_truncated=field_is("keep_bytes", 300),
        kv_success=no_tensors,
        align_zero=aligned(0),
        align_one=aligned(1, follow=True),
        align_eight=aligned(8, follow=True),
        align_huge=aligned(2**31),
    ),
)

TENSOR_TABLE: Final = (
    *kinds(
        tensors_bad_name_size=lambda raw: setattr(raw.tensor(QUERY), "name", RawString(b"x", 2**64 - 1)),
        tensors_long_name=lambda raw: setattr(raw.tensor(QUERY), "name", RawString(b"n" * 64)),
        tensors_empty_name=lambda raw: setattr(raw.tensor(QUERY), "name", RawString(b"")),
        tensors_bad_n_dims=tensor_has("n_dims", 5),
        tensors_no_dims=tensor_has("n_dims", 0),
        tensors_bad_shape=tensor_has("shape", [-1, 32]),
        tensors_zero_dim=tensor_has("shape", [0, 32]),
        tensors_ne_too_big=tensor_has("shape", [2**40, 2**40]),
        tensors_nbytes_too_big=tensor_has("shape", [2**31, 2**31]),
        tensors_nbytes_pad_wrap=only_tensors(([4, 1073741823, 1073741825], 0)),
        tensors_bad_type=tensor_has("type", 43),
        tensors_removed_type=tensor_has("type", 31),
        tensors_bad_offset=tensor_has("offset", 17),
        tensors_overlap=tensor_has("offset", 0),
        tensors_offset_past_the_end=tensor_has("offset", 2**62),
        tensors_duplicate_name=with_tensor(QUERY, [16]),
        tensors_bad_align=aligned(33, follow=True),
        tensors_inconsistent_align=aligned(64),
        tensors_not_a_whole_block=tensor_has("type", 12),
        tensors_without_embedding=lambda raw: raw.tensors.pop(0),
        tensors_success=both(bare, with_tensor("t", [16])),
        data_not_enough_data=lambda raw: setattr(raw, "keep_bytes", len(raw.render()) - 4096),
        data_bad_align=aligned(48, follow=True),
        data_inconsistent_align=aligned(128),
        data_mem_size_overflow=only_tensors(([0x7FFFFFFFFFFFFFC0], 24), ([0x7FFFFFFFFFFFFFC0], 24)),
        norm_of_half_floats=retyped("blk.0.attn_norm.weight", 1, [seeds.WIDTH], 2 * seeds.WIDTH),
    ),
    *kinds(
        admitted=True,
        tensors_custom_align=aligned(64, follow=True),
        data_custom_align=aligned(4096, follow=True),
        data_success=lambda raw: raw,
        data_with_a_tail=field_is("tail", b"tail" * 100),
        tensors_missing=lambda raw: raw.tensors.pop(1),
        matrix_with_swapped_dims=tensor_has("shape", [seeds.FF, seeds.WIDTH], "blk.0.ffn_gate.weight"),
        tensor_nobody_asked_for=with_tensor("surplus.weight", [16]),
    ),
)

DIMENSIONS: Final = (
    *kinds(
        no_architecture=without("general.architecture"),
        wrong_architecture=value_is("general.architecture", _STRING, "llama5"),
        architecture_is_a_number=value_is("general.architecture", _U32, 1),
        architecture_of_projectors=value_is("general.architecture", _STRING, "clip_"),
        layers_0=llama_is("block_count", 0),
        layers_2_31=llama_is("block_count", 2**31),
        layers_2=llama_is("block_count", 2),
        layers_513=llama_is("block_count", 513),
        layers_a_float=llama_is("block_count", 1.0, _F32),
        heads_many=llama_is("attention.head_count", 2**20),
        kv_heads_7=llama_is("attention.head_count_kv", 7),
        width_0=llama_is("embedding_length", 0),
        width_2_31=llama_is("embedding_length", 2**31),
        context_0=llama_is("context_length", 0),
        rope_65=llama_is("rope.dimension_count", 65),
        rope_2_31=llama_is("rope.dimension_count", 2**31),
        rope_scaling_unknown=llama_is("rope.scaling.type", "sideways", _STRING),
        eps_nan=llama_is("attention.layer_norm_rms_epsilon", _NAN, _F32),
        eps_minus_1=llama_is("attention.layer_norm_rms_epsilon", -1.0, _F32),
        eps_0=llama_is("attention.layer_norm_rms_epsilon", 0.0, _F32),
        eps_infinite=llama_is("attention.layer_norm_rms_epsilon", _INF, _F32),
        frequency_base_nan=llama_is("rope.freq_base", _NAN, _F32),
        experts_1e6=llama_is("expert_count", 10**6),
        experts_used_without_any=llama_is("expert_used_count", 2),
    ),
    *kinds(
        seed=seeds.mixture,
        experts_none_used=llama_is("expert_used_count", 0),
        experts_more_used_than_there=llama_is("expert_used_count", 5),
        experts_in_too_many_groups=llama_is("expert_group_count", 4),
        experts_in_uneven_groups=llama_is("expert_group_count", 3),
    ),
    *kinds(
        admitted=True,
        heads_missing=without("llama.attention.head_count"),
        eps_missing=without("llama.attention.layer_norm_rms_epsilon"),
    ),
)

TOKENIZER: Final = (
    *kinds(
        tokens_missing=without(TOKENS),
        tokens_none=lambda raw: raw.set_array(TOKENS, _STRING, []),
        tokens_of_numbers=lambda raw: raw.set_array(TOKENS, _I32, [1, 2, 3]),
        tokens_half=tokens_are(lambda texts: texts.__delitem__(slice(150, None))),
        token_twice=tokens_are(put(300, "!")),
        token_called_as_an_empty_one=tokens_are(put_all({300: "", 301: "[EMPTY_300]"})),
        token_of_a_mebibyte=tokens_are(put(300, "x" * 2**20)),
        byte_token_missing=tokens_are(put(13, "<newline>")),
        byte_token_misspelt=lambda raw: raw.set_array(TYPES, _I32, [6] * 350),
        types_short=lambda raw: raw.set_array(TYPES, _I32, [1] * 10),
        types_of_floats=lambda raw: raw.set_array(TYPES, _F32, [1.0] * 354),
        types_out_of_range=lambda raw: raw.set_array(TYPES, _I32, [99] * 354),
        scores_short=lambda raw: raw.set_array(SCORES, _F32, [1.0] * 10),
        scores_nan=lambda raw: raw.set_array(SCORES, _F32, [_NAN] * 354),
        scores_of_texts=lambda raw: raw.set_array(SCORES, _STRING, ["1"] * 354),
        bos_out_of_range=value_is("tokenizer.ggml.bos_token_id", _U32, 10**6),
        eos_a_text=value_is("tokenizer.ggml.eos_token_id", _STRING, "</s>"),
        tokenizer_missing=without("tokenizer.ggml.model"),
        tokenizer_none=value_is("tokenizer.ggml.model", _STRING, "none"),
        tokenizer_no_vocab=value_is("tokenizer.ggml.model", _STRING, "no_vocab"),
        tokenizer_unknown=value_is("tokenizer.ggml.model", _STRING, "klingon"),
        tokenizer_of_another_kind=value_is("tokenizer.ggml.model", _STRING, "bert"),
    ),
    *kinds(
        seed=seeds.encoder,
        wordpiece_with_byte_types=lambda raw: raw.set_array(TYPES, _I32, [6] * 21),
        wordpiece_without_separator=without("tokenizer.ggml.seperator_token_id"),
    ),
    *kinds(
        admitted=True,
        token_of_broken_utf8=value_replaces(TOKENS, "▁".encode(), b"\xff\xfe\xfd"),
        eos_is_none=value_is("tokenizer.ggml.eos_token_id", _U32, 2**32 - 1),
        byte_pairs_of_the_wrong_kind=value_is("tokenizer.ggml.model", _STRING, "gpt2"),
    ),
)

TEMPLATE: Final = (
    *kinds(
        template_of_a_mebibyte=value_is("tokenizer.chat_template", _STRING, "x" * (2**20 - 1)),
        template_a_number=value_is("tokenizer.chat_template", _U32, 7),
        named_template_too_long=value_is("tokenizer.chat_template.tool_use", _STRING, "x" * 300_000),
    ),
    *kinds(
        admitted=True,
        template_that_does_not_compile=value_is("tokenizer.chat_template", _STRING, "{% for %}"),
    ),
)

BOMBS: Final = kinds(
    context_2_31=llama_is("context_length", 2**31),
    pairs_beyond_the_limit=lambda raw: [raw.add(f"spam.{index}", _U32, 1) for index in range(1001)],
    tensors_beyond_the_limit=field_is("n_tensors", 10_001),
    strings_beyond_the_limit=with_pair(
        RawPair(RawString(b"many"), 9, bytes(8 * 1_000_001), _STRING, 1_000_001)
    ),
    string_beyond_the_limit=value_is("general.description", _STRING, "x" * (2**20 + 1)),
    tokens_of_four_kibibytes=tokens_are(
        lambda texts: texts.extend(f"{index:05}" + "y" * 4091 for index in range(12_400))
    ),
)

COMPANIONS: Final = (
    *kinds(
        split_of_three=both(value_is("split.count", _U16, 3), value_is("split.no", _U16, 0)),
        split_count_of_another_type=value_is("split.count", _U32, 1),
        type_of_adapter_without_pairs=value_is("general.type", _STRING, "adapter"),
    ),
    *kinds(
        seed=seeds.adapter,
        adapter_half_a_pair=lambda raw: raw.tensors.pop(),
        adapter_with_other_ranks=tensor_has("shape", [2, 64], "blk.0.attn_q.weight.lora_b"),
        adapter_alpha_an_integer=value_is("adapter.lora.alpha", _U32, 4),
        adapter_of_another_type=value_is("adapter.type", _STRING, "ia3"),
        adapter_type_a_number=value_is("adapter.type", _U32, 1),
        adapter_of_integers=tensor_has("type", 26, "blk.0.attn_q.weight.lora_a"),
        adapter_without_tensors=no_tensors,
    ),
    *kinds(
        seed=seeds.projector,
        projector_without_tensors=no_tensors,
        projector_of_integers=tensor_has("type", 26, "v.blk.0.attn_q.weight"),
        projector_of_removed_type=tensor_has("type", 31, "v.blk.0.attn_q.weight"),
        projector_tower_a_number=value_is("clip.has_vision_encoder", _U32, 1),
        projector_type_a_number=value_is("clip.projector_type", _U32, 1),
        projector_patch_of_0=value_is("clip.vision.patch_size", _U32, 0),
        projector_patch_as_text=value_is("clip.vision.patch_size", _STRING, "14"),
        projector_image_of_2_31=value_is("clip.vision.image_size", _U32, 2**31),
        projector_width_0=value_is("clip.vision.embedding_length", _U32, 0),
        projector_layers_2_31=value_is("clip.vision.block_count", _U32, 2**31),
        projector_heads_2_32=value_is("clip.vision.attention.head_count", _U32, 2**32 - 1),
        projector_epsilon_nan=value_is("clip.vision.attention.layer_norm_epsilon", _F32, _NAN),
        projector_epsilon_negative=value_is("clip.vision.attention.layer_norm_epsilon", _F32, -1.0),
        projector_mean_infinite=lambda raw: raw.set_array("clip.vision.image_mean", _F32, [_INF] * 3),
        projector_past_the_end=tensor_has("offset", 2**62, "mm.0.weight"),
        projector_of_2_62_numbers=tensor_has("shape", [2**31, 2**31], "mm.0.weight"),
        projector_truncated=field_is("keep_bytes", 4096),
        projector_is_a_split=both(value_is("split.count", _U16, 2), value_is("split.no", _U16, 0)),
    ),
    *kinds(
        # What llama.cpp writes of a session and of one sequence (GGSN, GGSQ), and the formats before GGUF.
        state_of_a_session=field_is("magic", b"nsgg"),
        state_of_a_sequence=field_is("magic", b"qsgg"),
        state_of_an_adapter_of_old=field_is("magic", b"algg"),
        weights_of_old=field_is("magic", b"lmgg"),
        weights_of_old_mapped=field_is("magic", b"tjgg"),
    ),
    *kinds(
        admitted=True,
        seed=seeds.projector,
        projector_of_audio=both(
            value_is("clip.has_audio_encoder", _BOOL, True),
            value_is("clip.audio.num_mel_bins", _U32, 128),
        ),
        projector_of_old_without_a_tower=without("clip.has_vision_encoder"),
        projector_of_an_unknown_type=value_is("clip.projector_type", _STRING, "nobody"),
    ),
    *kinds(
        admitted=True,
        split_of_one=both(value_is("split.count", _U16, 1), value_is("split.no", _U16, 0)),
    ),
    *kinds(
        admitted=True,
        seed=seeds.adapter,
        adapter_of_another_tensor=renamed(b"attn_q", b"nobody"),
        adapter_of_another_architecture=value_is("general.architecture", _STRING, "qwen2"),
    ),
)

EXPLOITS: Final = kinds(
    tensor_of_i8_is_multiplied=retyped(QUERY, 24, [seeds.WIDTH, seeds.WIDTH], seeds.WIDTH**2),
    tensor_of_i32_is_multiplied=tensor_has("type", 26),
    tensor_of_f64_is_multiplied=retyped(QUERY, 28, [seeds.WIDTH, seeds.WIDTH], 8 * seeds.WIDTH**2),
    tensor_of_q8_k_is_multiplied=retyped(QUERY, 15, [256, 4], 4 * 292),
    tensor_leaks_the_heap=tensor_has("shape", [seeds.WIDTH, 2**20], "token_embd.weight"),
    tensor_size_overflows_int64=tensor_has("shape", [2**62, 2, 2, 2]),
    vocabulary_larger_than_embedding=tokens_are(lambda texts: texts.append("more")),
    token_types_of_bytes=lambda raw: raw.set_array(TYPES, _U8, [1] * 354),
)

WEIGHTS: Final = kinds(
    admitted=True,
    weights_all_ones_bits=partial(filled, pattern=b"\xff"),
    weights_nan=partial(filled, pattern=struct.pack("<f", _NAN)),
    weights_zero=partial(filled, pattern=b"\0"),
)

KINDS: Final[tuple[Kind, ...]] = (
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
