"""The reader of GGUF headers: what is written reads back, and no length is believed unbounded."""

from __future__ import annotations

import contextlib
import errno
import os
import string
import struct
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import FileUnreadable, ModelInvalid
from appliance.gguf.cursor import Cursor, Malformed
from appliance.gguf.header import Header, Limits, read_header
from appliance.gguf.values import NumberArray, StringArray, ValueType
from tests.fakes.gguf_corpus.raw import RawGguf, RawPair, RawString
from tests.fakes.gguf_corpus.seeds import generator

NAMES = st.text(string.ascii_lowercase + string.digits + "_", min_size=1, max_size=20)
SCALARS: dict[ValueType, st.SearchStrategy[Any]] = {
    ValueType.UINT8: st.integers(0, 2**8 - 1),
    ValueType.INT8: st.integers(-(2**7), 2**7 - 1),
    ValueType.UINT16: st.integers(0, 2**16 - 1),
    ValueType.INT16: st.integers(-(2**15), 2**15 - 1),
    ValueType.UINT32: st.integers(0, 2**32 - 1),
    ValueType.INT32: st.integers(-(2**31), 2**31 - 1),
    ValueType.FLOAT32: st.floats(width=32, allow_nan=False),
    ValueType.BOOL: st.booleans(),
    ValueType.STRING: st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    ValueType.UINT64: st.integers(0, 2**64 - 1),
    ValueType.INT64: st.integers(-(2**63), 2**63 - 1),
    ValueType.FLOAT64: st.floats(allow_nan=False),
}
VALUES = st.sampled_from(sorted(SCALARS)).flatmap(lambda kind: st.tuples(st.just(kind), SCALARS[kind]))
ARRAYS = st.sampled_from(sorted(SCALARS)).flatmap(
    lambda kind: st.tuples(st.just(kind), st.lists(SCALARS[kind], min_size=1, max_size=20))
)
SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=4)


def write(path: Path, raw: RawGguf) -> Path:
    path.write_bytes(raw.render())
    return path


def reason(path: Path, limits: Limits | None = None) -> str:
    with pytest.raises(ModelInvalid) as caught:
        read_header(path, limits or Limits())
    return str(caught.value.fields["reason"])


def plain(value: Any) -> Any:
    if isinstance(value, StringArray):
        return [one.decode() for one in value]
    return list(value) if isinstance(value, NumberArray) else value


@given(
    st.dictionaries(NAMES, st.one_of(VALUES, ARRAYS), max_size=8), st.dictionaries(NAMES, SHAPES, max_size=5)
)
def test_what_the_gguf_package_writes_reads_back(
    pairs: dict[str, tuple[ValueType, Any]], shapes: dict[str, list[int]]
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "written.gguf"
        _write_with_package(path, pairs, shapes)
        header = read_header(path)
    assert header.metadata["general.architecture"] == "llama"
    for name, (kind, value) in pairs.items():
        key = f"test.{name}"
        assert plain(header.metadata[key]) == value
        expected = ValueType.ARRAY if isinstance(value, list) else kind
        assert header.types[key] is expected
    assert {tensor.name: list(tensor.shape) for tensor in header.tensors} == {
        name: list(reversed(shape)) for name, shape in shapes.items()
    }


def _write_with_package(
    path: Path, pairs: dict[str, tuple[ValueType, Any]], shapes: dict[str, list[int]]
) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    for name, (kind, value) in pairs.items():
        if isinstance(value, list):
            sub_type = gguf.GGUFValueType(int(kind))
            writer.add_key_value(f"test.{name}", value, gguf.GGUFValueType.ARRAY, sub_type=sub_type)
        else:
            writer.add_key_value(f"test.{name}", value, gguf.GGUFValueType(int(kind)))
    for name, shape in shapes.items():
        writer.add_tensor(name, np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@given(st.binary(max_size=400))
def test_random_bytes_are_refused_or_read_and_never_anything_else(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "random.gguf"
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + content)
        with contextlib.suppress(ModelInvalid):
            assert isinstance(read_header(path), Header)


@given(st.integers(0, 9000))
def test_a_header_cut_anywhere_is_refused(keep_bytes: int) -> None:
    raw = generator()
    header_bytes = len(raw.header())
    raw.keep_bytes = keep_bytes % header_bytes
    with TemporaryDirectory() as folder:
        assert "the file ends at byte" in reason(write(Path(folder) / "cut.gguf", raw))


def test_tensors_tell_their_place_and_size(tmp_path: Path) -> None:
    header = read_header(write(tmp_path / "seed.gguf", generator()))
    first, second = header.tensors[:2]
    assert (first.name, first.shape, first.type.name) == ("token_embd.weight", (32, 354), "F32")
    assert (first.elements, first.size_bytes, first.offset) == (11328, 45312, 0)
    assert second.offset == 45312
    assert header.data_offset % 32 == 0


def test_quantised_tensors_are_sized_by_their_blocks(tmp_path: Path) -> None:
    raw = RawGguf().add_tensor("matrix", [512, 3], bytes(3 * 2 * 144), kind=12)
    (tensor,) = read_header(write(tmp_path / "q4.gguf", raw)).tensors
    assert (tensor.type.name, tensor.size_bytes) == ("Q4_K", 864)


def test_version_2_is_read_like_version_3(tmp_path: Path) -> None:
    raw = generator()
    raw.version = 2
    assert read_header(write(tmp_path / "two.gguf", raw)).version == 2


def test_tokens_stay_bytes_and_are_found_by_number(tmp_path: Path) -> None:
    texts = [b"one", b"", b"\xff\xfe", "zwölf".encode()]
    raw = RawGguf().add_array("tokenizer.ggml.tokens", ValueType.STRING, texts)
    tokens = read_header(write(tmp_path / "tokens.gguf", raw)).strings("tokenizer.ggml.tokens")
    assert tokens is not None
    assert list(tokens) == texts
    assert [tokens[index] for index in (0, 1, 2, -1)] == [*texts[:3], texts[-1]]
    assert tokens[1:3] == texts[1:3]


def test_text_that_is_no_utf8_shows_as_such(tmp_path: Path) -> None:
    raw = RawGguf().add("general.name", ValueType.STRING, b"caf\xe9")
    assert read_header(write(tmp_path / "latin.gguf", raw)).text("general.name") == "caf�"


def test_a_string_array_across_many_reads_is_whole(tmp_path: Path) -> None:
    texts = [b"%07d" % index * 40 for index in range(20_000)]
    raw = RawGguf().add_array("test.texts", ValueType.STRING, texts)
    found = read_header(write(tmp_path / "long.gguf", raw)).strings("test.texts")
    assert found is not None
    assert list(found) == texts


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(pairs=3), "metadata values, more than 3"),
        (Limits(tensors=3), "tensors, more than 3"),
        (Limits(header_bytes=600), "its header has more than 600 bytes"),
        (Limits(key_bytes=10), "bytes, more than 10"),
        (Limits(name_bytes=10), "bytes, more than 10"),
        (Limits(string_bytes=4), "bytes, more than 4"),
        (Limits(token_bytes=4), "bytes, more than 4"),
        (Limits(items=100), "354 items, more than 100"),
        (Limits(strings=100), "its arrays hold more than 100 strings"),
    ],
)
def test_limits_hold(limits: Limits, expected: str, tmp_path: Path) -> None:
    assert expected in reason(write(tmp_path / "seed.gguf", generator()), limits)


def test_a_length_beyond_the_file_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    raw = generator()
    raw.pairs.append(RawPair(RawString(b"huge"), ValueType.ARRAY, b"", ValueType.UINT64, 900_000))
    raw.tensors = []
    assert "the file ends at byte" in reason(write(tmp_path / "huge.gguf", raw))


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "shrinks.gguf", generator())
    whole = path.stat().st_size
    os.truncate(path, 100)
    with path.open("rb") as file:
        cursor = Cursor(file.fileno(), size_bytes=whole, limit_bytes=whole)
        with pytest.raises(Malformed, match="became shorter while it was read"):
            cursor.take(200, "the header")


def test_that_a_file_cannot_be_read_says_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileUnreadable, match=r"absent\.gguf could not be read now: No such file") as absent:
        read_header(tmp_path / "absent.gguf")
    path = write(tmp_path / "sound.gguf", generator())

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("appliance.gguf.cursor.Cursor._read", fail)
    with pytest.raises(FileUnreadable, match="Input/output error") as lost:
        read_header(path)
    assert [caught.value.fields["errno"] for caught in (absent, lost)] == [errno.ENOENT, errno.EIO]


def test_a_fifo_does_not_hold_the_reader_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.gguf")
    assert reason(tmp_path / "fifo.gguf") == "it is not a regular file"


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    assert reason(tmp_path) == "it is not a regular file"


def test_the_error_calls_the_model_as_the_caller_does(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"nothing")
    with pytest.raises(ModelInvalid, match="model 'mistral:7b' does not load"):
        read_header(path, model="mistral:7b")


def test_typed_views_pass_over_other_types(tmp_path: Path) -> None:
    raw = RawGguf().add("a", ValueType.BOOL, value=True).add("b", ValueType.FLOAT32, 1.5)
    raw.add("c", ValueType.UINT32, 7).add("d", ValueType.STRING, "text")
    header = read_header(write(tmp_path / "typed.gguf", raw))
    assert [header.integer(key) for key in "abcde"] == [None, None, 7, None, None]
    assert [header.number(key) for key in "abcde"] == [None, 1.5, 7.0, None, None]
    assert [header.truth(key) for key in "abcde"] == [True, None, None, None, None]
    assert [header.text(key) for key in "abcde"] == [None, None, None, "text", None]


def items(found: Sequence[Any] | None) -> list[Any]:
    assert found is not None
    return list(found)


def test_empty_arrays_are_empty(tmp_path: Path) -> None:
    raw = RawGguf().add_array("a", ValueType.STRING, []).add_array("b", ValueType.BOOL, [])
    header = read_header(write(tmp_path / "empty.gguf", raw))
    assert items(header.strings("a")) == items(header.numbers("b")) == []


def test_arrays_tell_the_type_of_their_items(tmp_path: Path) -> None:
    raw = RawGguf().add_array("a", ValueType.STRING, ["x"]).add_array("b", ValueType.UINT8, [1])
    header = read_header(write(tmp_path / "types.gguf", raw))
    assert [one.item_type for one in (header.strings("a"), header.numbers("b")) if one is not None] == [
        ValueType.STRING,
        ValueType.UINT8,
    ]


def test_numbers_of_an_array_are_found_by_number(tmp_path: Path) -> None:
    raw = RawGguf().add_array("test.numbers", ValueType.INT16, [3, -4, 5])
    numbers = read_header(write(tmp_path / "numbers.gguf", raw)).numbers("test.numbers")
    assert items(numbers) == [3, -4, 5]
    assert numbers is not None
    assert (numbers[1], numbers[1:], numbers.item_type) == (-4, [-4, 5], ValueType.INT16)
