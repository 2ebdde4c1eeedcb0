"""What is kept of a GGUF's header for `outpost fit`."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from appliance.cli import header_facts
from appliance.gguf.header import read_header
from appliance.planner import formulas
from appliance.planner.facts import Accelerator
from appliance.planner.header_sizes import Model, header_size
from appliance.wire.messages import Placement
from tests.fakes.model_files import generator


def test_a_header_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(generator().read_bytes())
    environ = {"XDG_CACHE_HOME": str(tmp_path / "kept")}
    first = header_facts.of([path], model="m", environ=environ)
    (kept,) = (tmp_path / "kept/outpost/shapes").iterdir()
    kept.write_bytes(kept.read_bytes().replace(b'"read_bytes":', b'"read_bytes":1'))
    again = header_facts.of([path], model="m", environ=environ)
    assert again.read_bytes == int(f"1{first.read_bytes}")
    assert again.header() == first.header()


def test_another_file_in_its_place_is_read_anew(tmp_path: Path) -> None:
    path, environ = tmp_path / "m.gguf", {"HOME": str(tmp_path)}
    path.write_bytes(generator().read_bytes())
    header_facts.of([path], model="m", environ=environ)
    path.write_bytes(generator(seed=2).read_bytes() + b"more")
    header_facts.of([path], model="m", environ=environ)
    assert len(list((tmp_path / ".cache/outpost/shapes").iterdir())) == 2


def test_what_is_kept_of_a_header_tells_the_same_sizes(tmp_path: Path) -> None:
    facts = header_facts.of([generator()], model="m", environ={"HOME": str(tmp_path)})
    (kept,) = (tmp_path / ".cache/outpost/shapes").iterdir()
    assert msgspec.json.decode(kept.read_bytes(), type=header_facts.HeaderFacts) == facts
    whole = read_header(generator())
    size = header_size(
        Model(header=facts.header(), vocabulary_bytes=facts.vocabulary_bytes), Accelerator.NONE
    )
    wish = Placement(n_ctx_seq=256, n_seq_max=2, kv_cells=512)
    assert size([wish]) == [formulas.footprint([whole], wish, cpu=frozenset())]


def test_lists_of_a_header_keep_their_numbers(tmp_path: Path) -> None:
    facts = header_facts.HeaderFacts(
        metadata={"a": [1, 0, 3], "b": [0.5, 1.0], "c": [1 << 63], "d": "text", "e": True},
        tensors=[],
        vocabulary_bytes=0,
        read_bytes=0,
    )
    kept = msgspec.json.decode(msgspec.json.encode(facts), type=header_facts.HeaderFacts).header().metadata
    assert [list(kept[key]) for key in "abc"] == [[1, 0, 3], [0.5, 1.0], [1 << 63]]  # type: ignore[arg-type]
    assert (kept["d"], kept["e"]) == ("text", True)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"read_bytes":1}'])
def test_a_damaged_cache_is_none(content: bytes, tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    first = header_facts.of([generator()], model="m", environ=environ)
    (kept,) = (tmp_path / ".cache/outpost/shapes").iterdir()
    kept.write_bytes(content)
    assert header_facts.of([generator()], model="m", environ=environ) == first


@pytest.mark.parametrize(
    "environ", [{}, {"HOME": ""}, {"XDG_CACHE_HOME": "not/absolute"}, {"HOME": "/dev/null"}]
)
def test_without_a_place_for_it_nothing_is_kept(environ: dict[str, str]) -> None:
    assert header_facts.of([generator()], model="m", environ=environ).header().architecture == "llama"
