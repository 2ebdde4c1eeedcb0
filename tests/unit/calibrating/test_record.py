from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.calibrating.record import MOST_BYTES, MOST_RECORDS, Book, Record, decoded
from appliance.calibrating.values import Axis, AxisFound, CachePrices, Choice, Row
from tests.fakes.calibrating import HERE, findings

FOUND = findings(
    axes=(
        AxisFound(
            axis=Axis.THREADS,
            default="threads 3",
            kept="threads 2",
            rows=(Row(label="threads 2", per_s={"prefill": 110.0}, ratio=1.6, rounds=5),),
        ),
        AxisFound(axis=Axis.LAYOUT, default="repacked by llama.cpp", kept="as in the file"),
        AxisFound(axis=Axis.CACHE, default="KV f16", kept="KV f16"),
    ),
    choice=Choice(n_threads=2, repack=False),
    cache=CachePrices(prefill=3.04, decode=1.41, depth_tokens=3584),
    ubatch=((64, 1.2), (512, 1.0)),
)


def record(model: str = "m", *, board: str = "pi5", **changes: object) -> Record:
    made = Record(
        model=model,
        name="tiny:latest",
        board=board,
        chip=HERE.chip.mark,
        build=HERE.build,
        measured_at="2026-11-29T12:00:00+00:00",
        limit_s=60.0,
        findings=FOUND,
    )
    return msgspec.structs.replace(made, **changes)


def test_a_book_comes_back_as_it_was_written() -> None:
    book = Book().with_record(record()).with_record(record("other"))
    assert decoded(book.encoded()) == book


def test_the_sentence_says_what_is_served_and_when_it_was_measured() -> None:
    assert record().sentence == (
        "calibrated 2026-11-29: threads 2, weights as in the file; q8_0 cache 3.0x prefill, 1.4x decode"
    )
    assert record(findings=findings()).sentence == "calibrated 2026-11-29: the defaults are best"


def test_a_record_holds_on_its_board_chip_and_build_only() -> None:
    assert record().stale(HERE, "pi5") is None
    assert record().stale(HERE, "pi4") == "it was measured on another board (pi5)"
    assert "another build (old)" in str(record(build="old").stale(HERE, "pi5"))
    assert "another chip (old)" in str(record(chip="old").stale(HERE, "pi5"))


def test_the_last_one_of_a_board_counts_and_others_are_found_where_there_is_none() -> None:
    book = Book().with_record(record(limit_s=1.0)).with_record(record(limit_s=2.0))
    assert len(book.records) == 1
    found = book.with_record(record(board="pi4")).find("m", "pi5")
    assert found is not None
    assert (found.board, found.limit_s) == ("pi5", 2.0)
    elsewhere = book.find("m", "nowhere")
    assert elsewhere is not None
    assert elsewhere.board == "pi5"
    assert book.find("none", "pi5") is None


def test_to_forget_is_to_forget_of_all_boards() -> None:
    book = Book().with_record(record()).with_record(record(board="pi4")).with_record(record("other"))
    assert [one.model for one in book.without("m").records] == ["other"]


def test_the_book_is_bounded() -> None:
    book = Book()
    for number in range(MOST_RECORDS + 5):
        book = book.with_record(record(f"m{number}"))
    assert [one.model for one in book.records][:1] == ["m5"]
    assert len(book.records) == MOST_RECORDS
    fat = Book(records=tuple(record(f"m{n}", name="x" * 100_000) for n in range(20)))
    assert len(fat.encoded()) <= MOST_BYTES
    assert decoded(fat.encoded()).records[-1].model == "m19"


def mangled(**changes: object) -> bytes:
    told = json.loads(Book().with_record(record()).encoded())
    told["records"][0]["findings"]["choice"].update(changes)
    return json.dumps(told).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'{"version": 2, "records": []}',
        b'{"version": 1, "records": 7}',
        b'{"version": 1, "records": [null, 7, {}, {"model": "m"}]}',
        b"[" * 10_000,
        mangled(n_threads=100_000),
        mangled(n_threads=-1),
        mangled(n_threads="two"),
        mangled(n_ubatch=1),
        mangled(flash_attention="maybe"),
    ],
    ids=lambda raw: ascii(raw[:40]),
)
def test_garbage_is_no_record(raw: bytes) -> None:
    assert decoded(raw).records == ()


def test_a_sound_record_beside_garbage_is_kept() -> None:
    told = json.loads(Book().with_record(record()).encoded())
    told["records"].insert(0, {"model": 7})
    assert [one.model for one in decoded(json.dumps(told).encode()).records] == ["m"]


@given(raw=st.binary(max_size=200))
def test_no_bytes_at_all_are_an_exception(raw: bytes) -> None:
    assert len(decoded(raw).records) <= MOST_RECORDS
