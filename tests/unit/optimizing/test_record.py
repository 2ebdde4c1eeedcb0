from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from appliance.optimizing import record
from appliance.optimizing.judged_text import judged_text
from appliance.optimizing.record import Record
from appliance.optimizing.verdict import Bounds, Trial, verdicts
from tests.fakes.optimizing import HERE, SLOW, judged


def decided(*trials: Trial) -> Record:
    found = verdicts(trials, Bounds())
    return Record(
        model="sha256:aa",
        original="Q4_1",
        original_bytes=100,
        kept=next((one.kind for one in found if one.reason == "kept"), None),
        chip=HERE.chip.mark,
        build=HERE.build,
        measured_at="2026-11-29T01:00:00+00:00",
        max_kl=0.01,
        min_speedup=1.1,
        tokens=1968,
        tried=record.tried(trials, found),
    )


KEPT = decided(Trial(kind="Q8_0", size_bytes=150, needed_bytes=300, judged=judged()))
NONE = decided(Trial(kind="Q8_0", size_bytes=150, needed_bytes=300, judged=judged(SLOW)))


@pytest.mark.parametrize("one", [KEPT, NONE, decided()])
def test_a_record_is_read_as_it_was_written(one: Record) -> None:
    assert record.parse(record.render(one)) == one


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"null",
        b"\xff\xfe",
        b"[" * 5000,
        record.render(KEPT).replace(b'"version":1', b'"version":2'),
        record.render(KEPT).replace(b'"tried":[', b'"tried":["'),
        record.render(KEPT).replace(b'"original_bytes":100', b'"original_bytes":"100"'),
    ],
)
def test_what_is_no_record_of_ours_is_none(content: bytes) -> None:
    assert record.parse(content) is None


def test_it_says_in_one_sentence_what_is_served() -> None:
    assert KEPT.sentence == "Q8_0 variant of Q4_1 (2.0x prefill, 1.1x decode, KL 0.0030)"
    assert NONE.sentence == (
        "the original is served: Q8_0: 0.94x the original's speed, at least 1.1x is asked for"
    )
    assert decided().sentence == (
        "the original is served: nothing is known to be faster than Q4_1 on this chip"
    )


def test_it_holds_on_this_chip_with_this_build_only() -> None:
    assert KEPT.stale(HERE) is None
    other = replace(HERE, chip=replace(HERE.chip, name="Another"))
    assert KEPT.stale(other) == (
        "it was measured on another chip (x86_64 Some Processor, 2 cores (avx2 f16c fma))"
    )
    assert KEPT.stale(replace(HERE, build="newer")) == (
        "it was measured with another build (llama.cpp 0123456789ab, no own kernels)"
    )


def test_a_program_reads_the_figures_by_width() -> None:
    told = msgspec.json.decode(record.render(KEPT))
    assert told["tried"][0]["candidate"]["decode_per_s"] == {"1": 11.0, "8": 64.0, "32": 136.0}


def test_the_judged_text_has_what_models_are_asked_for() -> None:
    text = judged_text()
    assert 5_000 < len(text) < 12_000
    for part in ("def believable", "SELECT", "deg C", "Winter", "En été", "estación", "Осенью", "冬天", "春"):
        assert part in text
