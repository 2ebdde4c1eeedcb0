"""LoRA adapters: named per request, with a scale, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import InvalidRequest, ModelInvalid
from appliance.wire.messages import Adapter, AdapterScale
from tests.fakes.tiny_gguf import write_adapter
from tests.integration.llama_desk import Desk

pytestmark = pytest.mark.integration

PROMPT = "Hello, the world is full of them and"


@pytest.fixture
def desk(tiny_model: Path, tmp_path: Path) -> Iterator[Desk]:
    adapters = [
        Adapter(name=name, path=str(write_adapter(tmp_path / f"{name}.gguf", seed=seed)))
        for name, seed in (("one", 7), ("two", 8))
    ]
    with Desk(tiny_model, adapters=adapters) as made:
        yield made


def ask(desk: Desk, *scales: tuple[str, float]) -> list[int]:
    return desk.ask(PROMPT, adapters=[AdapterScale(name=name, scale=scale) for name, scale in scales]).tokens


def test_an_adapter_changes_the_answer_and_only_of_its_request(desk: Desk) -> None:
    plain = ask(desk)
    assert ask(desk, ("one", 1.0)) != plain
    assert ask(desk) == plain


def test_scale_zero_is_no_adapter(desk: Desk) -> None:
    assert ask(desk, ("one", 0.0)) == ask(desk)


def test_scales_and_adapters_are_told_apart(desk: Desk) -> None:
    answers = [
        ask(desk, ("one", 1.0)),
        ask(desk, ("one", 3.0)),
        ask(desk, ("two", 1.0)),
        ask(desk, ("one", 1.0), ("two", 1.0)),
    ]
    assert len({tuple(answer) for answer in answers}) == 4


def test_the_order_of_adapters_does_not_matter(desk: Desk) -> None:
    assert ask(desk, ("one", 1.0), ("two", 2.0)) == ask(desk, ("two", 2.0), ("one", 1.0))


def test_requests_with_different_adapters_run_at_once(desk: Desk) -> None:
    wanted: list[tuple[tuple[str, float], ...]] = [(("one", 1.0),), (("two", 1.0),), (), (("one", 1.0),)]
    alone = [ask(desk, *scales) for scales in wanted]
    keys = [
        desk.generate(PROMPT, adapters=[AdapterScale(name=name, scale=scale) for name, scale in scales])
        for scales in wanted
    ]
    desk.finish()
    assert [desk.answer(key).tokens for key in keys] == alone


def test_a_prefix_computed_with_an_adapter_is_not_reused_without_it(desk: Desk) -> None:
    desk.ask(PROMPT, adapters=[AdapterScale(name="one", scale=1.0)])
    key = desk.generate(PROMPT)
    desk.finish()
    assert desk.usage(key).cached_tokens == 0


def test_an_unknown_adapter_is_refused_with_the_known_ones(desk: Desk) -> None:
    with pytest.raises(InvalidRequest, match="one, two"):
        ask(desk, ("three", 1.0))


def test_a_file_that_is_no_adapter_fails_the_load(tiny_model: Path, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.gguf"
    garbage.write_bytes(b"GGUF" + b"\xff" * 4000)
    with pytest.raises(ModelInvalid, match="adapter bad"):
        Desk(tiny_model, adapters=[Adapter(name="bad", path=str(garbage))])
