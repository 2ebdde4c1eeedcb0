"""Models in several files: a set is whole, in order, and tells the truth about itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import ModelInvalid
from appliance.gguf.values import ValueType
from appliance.store.admission import check
from tests.fakes.gguf_corpus import seeds
from tests.fakes.gguf_corpus.raw import RawGguf

U16, I32, U32 = ValueType.UINT16, ValueType.INT32, ValueType.UINT32


@pytest.fixture
def splits() -> list[RawGguf]:
    """The seed in three: metadata in the first, tensors in all."""
    whole = seeds.generator()
    parts = [whole.copy(), RawGguf(), RawGguf()]
    parts[0].tensors, parts[1].tensors, parts[2].tensors = (
        whole.tensors[:4],
        whole.tensors[4:8],
        whole.tensors[8:],
    )
    for number, part in enumerate(parts):
        part.add("split.no", U16, number).add("split.count", U16, 3)
        part.add("split.tensors.count", I32, len(whole.tensors))
    return parts


def write(folder: Path, parts: list[RawGguf]) -> list[Path]:
    paths = [folder / f"part-{number}.gguf" for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(part.render())
    return paths


def reason(folder: Path, parts: list[RawGguf]) -> str:
    with pytest.raises(ModelInvalid) as caught:
        check(write(folder, parts), model="split")
    return str(caught.value.fields["reason"])


def test_a_set_is_one_model(splits: list[RawGguf], tmp_path: Path) -> None:
    paths = write(tmp_path, splits)
    facts = check(paths, model="split")
    assert facts.parameters == 31968
    assert facts.size_bytes == sum(path.stat().st_size for path in paths)


def test_one_split_alone_names_the_others(splits: list[RawGguf], tmp_path: Path) -> None:
    assert reason(tmp_path, splits[:1]) == "it is one of 3 splits; give all 3 of them, in order"


def test_splits_out_of_order_are_refused(splits: list[RawGguf], tmp_path: Path) -> None:
    assert reason(tmp_path, [splits[0], splits[2], splits[1]]) == "split 2 says that it is number 2 (from 0)"


def test_a_missing_split_is_refused(splits: list[RawGguf], tmp_path: Path) -> None:
    assert reason(tmp_path, splits[:2]) == "split 1 of 2 says that there are 3"


def test_a_file_without_split_facts_is_no_split(splits: list[RawGguf], tmp_path: Path) -> None:
    splits[1].drop("split.count")
    assert reason(tmp_path, splits) == "split 2 of 3 says that there are None"


def test_the_announced_number_of_tensors_is_there(splits: list[RawGguf], tmp_path: Path) -> None:
    splits[0].set("split.tensors.count", I32, 99)
    assert reason(tmp_path, splits) == "its splits announce 99 tensors and hold 12"


def test_a_tensor_is_in_one_split_only(splits: list[RawGguf], tmp_path: Path) -> None:
    splits[2].tensors[-1] = splits[0].tensors[1]
    assert reason(tmp_path, splits) == "tensor 'output_norm.weight' is in two splits"


def test_numbers_of_another_type_are_refused(splits: list[RawGguf], tmp_path: Path) -> None:
    splits[1].set("split.no", U32, 1)
    assert reason(tmp_path, splits) == "split.no has the type uint32, not uint16"


def test_rules_for_files_name_the_split(splits: list[RawGguf], tmp_path: Path) -> None:
    splits[1].tensors[0].offset = 7
    assert reason(tmp_path, splits) == "split 2: tensor 'blk.0.attn_q.weight' is at 7, expected at 0"


def test_rules_for_models_see_the_tensors_of_all(splits: list[RawGguf], tmp_path: Path) -> None:
    splits[2].tensors[0].name.text = b"blk.3.ffn_norm.weight"
    assert reason(tmp_path, splits) == "it announces 1 layers and has tensors of layer 3"
