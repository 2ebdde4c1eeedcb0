"""Well-formed GGUF files with one lie in them, made from a good one."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np

_I32 = 26
"""ggml's number of a type as wide as F32: everything else in the file stays true."""


def with_nan_weights(good: Path, path: Path) -> Path:
    """All weights are NaN: llama.cpp loads it and answers nonsense."""
    start = min(int(tensor.data_offset) for tensor in gguf.GGUFReader(good).tensors)
    whole = good.read_bytes()
    path.write_bytes(whole[:start] + np.full((len(whole) - start) // 4, np.nan, np.float32).tobytes())
    return path


def with_integer_weight(good: Path, path: Path, *, tensor: str = "blk.0.attn_q.weight") -> Path:
    """A two-dimensional weight says it is I32: llama.cpp loads it and dies at the first token."""
    whole = bytearray(good.read_bytes())
    name = tensor.encode()
    entry = struct.pack("<Q", len(name)) + name + struct.pack("<I", 2)
    at = whole.index(entry) + len(entry) + 2 * 8
    whole[at : at + 4] = struct.pack("<I", _I32)
    path.write_bytes(whole)
    return path


def split_in_two(good: Path, first: Path, second: Path) -> tuple[Path, Path]:
    """The same model in two parts, as gguf-split writes it, under any names."""
    reader = gguf.GGUFReader(good)
    half = len(reader.tensors) // 2
    architecture = str(reader.fields["general.architecture"].contents())
    for number, (path, tensors) in enumerate(
        ((first, reader.tensors[:half]), (second, reader.tensors[half:]))
    ):
        writer = gguf.GGUFWriter(path, architecture)
        if number == 0:
            _copy_fields(reader, writer)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 2)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in tensors:
            writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return first, second


def _copy_fields(reader: gguf.GGUFReader, writer: gguf.GGUFWriter) -> None:
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        sub_type = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=sub_type)
