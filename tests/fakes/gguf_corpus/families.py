"""Well-formed headers of the model families that people use, small in all dimensions: what must never be
refused.

Keys, tensor names and shapes follow what llama.cpp's converter writes for each; a few tensors a layer stand
for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Final

from appliance.gguf.values import ValueType
from tests.fakes.gguf_corpus.raw import Item, RawGguf

_WIDTH: Final = 64
_TOKENS: Final = 400
_F32, _Q8_0, _I64, _MXFP4 = 0, 8, 27, 39
_BLOCKS: Final = {_F32: (1, 4), _Q8_0: (32, 34), _I64: (1, 8), _MXFP4: (32, 17)}
_DENSE: Final = {
    "attn_norm.weight": (_WIDTH,),
    "attn_q.weight": (_WIDTH, _WIDTH),
    "attn_k.weight": (_WIDTH, 32),
    "ffn_norm.weight": (_WIDTH,),
    "ffn_up.weight": (_WIDTH, 128),
}
_EXPERTS: Final = {
    "ffn_gate_inp.weight": (_WIDTH, 8),
    "ffn_up_exps.weight": (_WIDTH, 32, 8),
    "exp_probs_b.bias": (8,),
}

Pairs = Mapping[str, Item | list[Item]]
Shapes = Mapping[str, tuple[int, ...]]


def qwen2() -> RawGguf:
    blocks = {**_DENSE, "attn_q.bias": (_WIDTH,)}
    return _model("qwen2", {"rope.freq_base": 1e6, "attention.layer_norm_rms_epsilon": 1e-6}, blocks)


def qwen3moe() -> RawGguf:
    pairs: Pairs = {
        "expert_count": 8,
        "expert_used_count": 2,
        "expert_feed_forward_length": 32,
        "attention.key_length": 32,
        "attention.value_length": 32,
        "attention.layer_norm_rms_epsilon": 1e-6,
    }
    return _model("qwen3moe", pairs, {**_DENSE, **_EXPERTS, "attn_q_norm.weight": (32,)})


def gemma3() -> RawGguf:
    pairs: Pairs = {
        "attention.sliding_window": 512,
        "attention.key_length": 32,
        "attention.value_length": 32,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 1e6,
        "rope.scaling.type": "linear",
        "rope.scaling.factor": 8.0,
    }
    return _model("gemma3", pairs, {**_DENSE, "post_ffw_norm.weight": (_WIDTH,)}, vocabulary="llama")


def phi3() -> RawGguf:
    pairs: Pairs = {
        "rope.scaling.original_context_length": 4096,
        "rope.scaling.attn_factor": 1.19,
        "attention.sliding_window": 262_144,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": 16,
    }
    raw = _model("phi3", pairs, {"attn_qkv.weight": (_WIDTH, 128)}, vocabulary="llama")
    return _tensors(raw, {"rope_factors_long.weight": (8,), "rope_factors_short.weight": (8,)})


def gpt_oss() -> RawGguf:
    pairs: Pairs = {
        "expert_count": 8,
        "expert_used_count": 4,
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 32.0,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "attention.sliding_window": 128,
    }
    raw = _model("gpt-oss", pairs, {**_DENSE, "attn_sinks.weight": (4,)})
    return _tensors(raw, {"blk.0.ffn_up_exps.weight": (_WIDTH, 32, 8)}, kind=_MXFP4)


def deepseek2() -> RawGguf:
    pairs: Pairs = {
        "attention.head_count_kv": 1,
        "attention.kv_lora_rank": 48,
        "attention.key_length": 64,
        "attention.value_length": 48,
        "attention.key_length_mla": 32,
        "attention.value_length_mla": 16,
        "rope.dimension_count": 16,
        "expert_count": 8,
        "expert_used_count": 2,
        "expert_group_count": 4,
        "expert_group_used_count": 2,
        "expert_shared_count": 1,
        "leading_dense_block_count": 1,
        "rope.scaling.yarn_log_multiplier": 0.0707,
        "attention.layer_norm_rms_epsilon": 1e-6,
    }
    return _model("deepseek2", pairs, {**_DENSE, **_EXPERTS, "attn_kv_a_norm.weight": (48,)})


def mamba() -> RawGguf:
    pairs: Pairs = {
        "attention.head_count": 0,
        "feed_forward_length": 0,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": 128,
        "ssm.state_size": 16,
        "ssm.time_step_rank": 4,
        "attention.layer_norm_rms_epsilon": 1e-5,
    }
    blocks = {
        "ssm_in.weight": (_WIDTH, 256),
        "ssm_conv1d.weight": (4, 128),
        "ssm_a": (16, 128),
        "ssm_d": (128,),
    }
    return _model("mamba", pairs, blocks)


def lfm2() -> RawGguf:
    pairs: Pairs = {
        "attention.head_count_kv": [0, 2, 0],
        "shortconv.l_cache": 3,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "block_count": 3,
    }
    blocks = {**_DENSE, "shortconv.conv.weight": (3, _WIDTH)}
    raw = _model("lfm2", pairs, blocks, layers=3)
    raw.tensors = [one for one in raw.tensors if one.name.text != b"output_norm.weight"]
    return _tensors(raw, {"token_embd_norm.weight": (_WIDTH,)})


def jamba() -> RawGguf:
    pairs: Pairs = {
        "attention.head_count_kv": [0, 2],
        "ssm.conv_kernel": 4,
        "ssm.inner_size": 128,
        "ssm.state_size": 16,
        "ssm.time_step_rank": 4,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "expert_count": 8,
        "expert_used_count": 2,
        "block_count": 2,
    }
    return _model(
        "jamba", pairs, {**_DENSE, **_EXPERTS, "ssm_conv1d.weight": (4, 128)}, layers=2, vocabulary="llama"
    )


def deci() -> RawGguf:
    """Nemotron: layers without attention, and one without anything."""
    pairs: Pairs = {
        "attention.head_count": [4, 4, 0],
        "attention.head_count_kv": [2, 0, 0],
        "feed_forward_length": [128, 128, 0],
        "attention.layer_norm_rms_epsilon": 1e-5,
        "block_count": 3,
    }
    return _model("deci", pairs, _DENSE, layers=2)


def glm4moe() -> RawGguf:
    """With a last layer that predicts a further token."""
    pairs: Pairs = {
        "nextn_predict_layers": 1,
        "block_count": 2,
        "expert_count": 8,
        "expert_used_count": 2,
        "attention.layer_norm_rms_epsilon": 1e-5,
    }
    return _model("glm4moe", pairs, {**_DENSE, **_EXPERTS}, layers=1, pre="glm4")


def llama4() -> RawGguf:
    pairs: Pairs = {
        "context_length": 10_485_760,
        "interleave_moe_layer_step": 1,
        "expert_count": 8,
        "expert_used_count": 1,
        "attention.layer_norm_rms_epsilon": 1e-5,
    }
    return _model("llama4", pairs, {**_DENSE, **_EXPERTS}, pre="llama4")


def nomic_bert_moe() -> RawGguf:
    pairs: Pairs = {
        "attention.causal": False,
        "attention.layer_norm_epsilon": 1e-5,
        "pooling_type": 1,
        "moe_every_n_layers": 2,
        "expert_count": 8,
        "expert_used_count": 2,
    }
    blocks = {"attn_qkv.weight": (_WIDTH, 192), "attn_output_norm.weight": (_WIDTH,), **_EXPERTS}
    return _model("nomic-bert-moe", pairs, blocks, vocabulary="t5")


def t5() -> RawGguf:
    pairs: Pairs = {"attention.layer_norm_epsilon": 1e-6, "attention.relative_buckets_count": 32}
    raw = _model("t5", pairs, {}, layers=0, vocabulary="t5")
    return _tensors(
        raw, {"enc.blk.0.attn_q.weight": (_WIDTH, _WIDTH), "dec.blk.0.attn_q.weight": (_WIDTH, _WIDTH)}
    )


def rwkv7() -> RawGguf:
    pairs: Pairs = {"attention.head_count": 0, "wkv.head_size": 64, "attention.layer_norm_epsilon": 1e-5}
    return _model("rwkv7", pairs, {"time_mix_key.weight": (_WIDTH, _WIDTH)}, vocabulary="rwkv")


def eagle3() -> RawGguf:
    """A drafter: no embedding of its own, and a table of ids."""
    raw = _model("eagle3", {"attention.layer_norm_rms_epsilon": 1e-5}, _DENSE)
    raw.tensors = [one for one in raw.tensors if one.name.text != b"token_embd.weight"]
    return _tensors(raw, {"d2t": (100,)}, kind=_I64)


def projector() -> RawGguf:
    raw = (
        RawGguf()
        .add("general.architecture", ValueType.STRING, "clip")
        .add("general.type", ValueType.STRING, "mmproj")
    )
    raw.add("clip.has_vision_encoder", ValueType.BOOL, value=True)
    raw.add("clip.projector_type", ValueType.STRING, "idefics3")
    return _tensors(raw, {"v.blk.0.attn_q.weight": (_WIDTH, _WIDTH), "mm.model.fc.weight": (_WIDTH, _WIDTH)})


FAMILIES: Final[Mapping[str, Callable[[], RawGguf]]] = {
    one.__name__: one
    for one in (
        qwen2,
        qwen3moe,
        gemma3,
        phi3,
        gpt_oss,
        deepseek2,
        mamba,
        lfm2,
        jamba,
        deci,
        glm4moe,
        llama4,
        nomic_bert_moe,
        t5,
        rwkv7,
        eagle3,
        projector,
    )
}


# ── parts ───────────────────────────────────────────────────────────────────────────────────────────────────


def _model(
    architecture: str,
    pairs: Pairs,
    blocks: Shapes,
    *,
    layers: int = 1,
    vocabulary: str = "gpt2",
    pre: str = "qwen2",
) -> RawGguf:
    """`layers` of tensors; the metadata says as many unless `pairs` says otherwise."""
    raw = RawGguf().add("general.architecture", ValueType.STRING, architecture)
    common: Pairs = {
        "block_count": max(1, layers),
        "context_length": 4096,
        "embedding_length": _WIDTH,
        "feed_forward_length": 128,
        "attention.head_count": 4,
    }
    for key, value in {**common, **pairs}.items():
        _add(raw, f"{architecture}.{key}", value)
    _VOCABULARIES[vocabulary](raw, pre)
    _tensors(raw, {"token_embd.weight": (_WIDTH, _TOKENS)}, kind=_Q8_0)
    _tensors(raw, {"output_norm.weight": (_WIDTH,)})
    for layer in range(layers):
        _tensors(raw, {f"blk.{layer}.{name}": shape for name, shape in blocks.items()})
    return raw


def _add(raw: RawGguf, key: str, value: Item | list[Item]) -> None:
    if isinstance(value, list):
        raw.add_array(key, ValueType.INT32, value)
    else:
        kinds = {bool: ValueType.BOOL, int: ValueType.UINT32, float: ValueType.FLOAT32, str: ValueType.STRING}
        raw.add(key, kinds[type(value)], value)


def _tensors(raw: RawGguf, shapes: Shapes, *, kind: int = _F32) -> RawGguf:
    items, size = _BLOCKS[kind]
    for name, shape in shapes.items():
        raw.add_tensor(name, shape, bytes(prod(shape) // items * size), kind)
    return raw


def _byte_pairs(raw: RawGguf, pre: str) -> None:
    _vocabulary(raw, "gpt2", [f"token{index}" for index in range(_TOKENS)], [1] * _TOKENS)
    raw.add("tokenizer.ggml.pre", ValueType.STRING, pre)
    raw.add_array("tokenizer.ggml.merges", ValueType.STRING, ["t o", "to k"])
    raw.add("tokenizer.ggml.eos_token_id", ValueType.UINT32, 2)
    raw.add("tokenizer.ggml.padding_token_id", ValueType.UINT32, 2**32 - 1)


def _sentence_pieces(raw: RawGguf, pre: str) -> None:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += [f"▁{index}" for index in range(_TOKENS - len(tokens))]
    types = [2, 3, 3, *[6] * 256, *[1] * (_TOKENS - 259)]
    _vocabulary(raw, "llama", tokens, types)
    raw.add("tokenizer.ggml.pre", ValueType.STRING, "default")
    raw.add_array("tokenizer.ggml.scores", ValueType.FLOAT32, [-1000.0] * _TOKENS)
    raw.add("tokenizer.ggml.add_bos_token", ValueType.BOOL, value=True)


def _unigrams(raw: RawGguf, pre: str) -> None:
    _vocabulary(raw, "t5", [f"▁{index}" for index in range(_TOKENS)], [1] * _TOKENS)
    raw.add_array("tokenizer.ggml.scores", ValueType.FLOAT32, [-1.0] * _TOKENS)
    table: list[Item] = [8, 0, 0, 0, *[1] * 8, *b"text\0"]
    raw.add_array("tokenizer.ggml.precompiled_charsmap", ValueType.UINT8, table)
    raw.add("tokenizer.ggml.add_bos_token", ValueType.BOOL, value=True)
    raw.add("tokenizer.ggml.bos_token_id", ValueType.UINT32, 0)


def _world(raw: RawGguf, pre: str) -> None:
    """RWKV's: texts as Python writes them."""
    escapes = {9: "\\t", 10: "\\n", 13: "\\r", 0x5C: "\\\\"}
    bytes_ = [escapes.get(b, chr(b) if 0x20 <= b < 0x7F else f"\\x{b:02x}") for b in range(256)]
    tokens = ["<s>", *bytes_, *(f"word{index}" for index in range(_TOKENS - 257))]
    _vocabulary(raw, "rwkv", tokens, [3, *[1] * (_TOKENS - 1)])


def _vocabulary(raw: RawGguf, model: str, tokens: list[str], types: list[int]) -> None:
    raw.add("tokenizer.ggml.model", ValueType.STRING, model)
    raw.add_array("tokenizer.ggml.tokens", ValueType.STRING, tokens)
    raw.add_array("tokenizer.ggml.token_type", ValueType.INT32, types)


_VOCABULARIES: Final[Mapping[str, Callable[[RawGguf, str], None]]] = {
    "gpt2": _byte_pairs,
    "llama": _sentence_pieces,
    "t5": _unigrams,
    "rwkv": _world,
}
