"""All names at one moment, while others change them."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.store.layout import Layout
from appliance.store.listing_rows import Named, of_one_moment
from tests.fakes.fake_models import store_model


@dataclass(frozen=True)
class _Told:
    broken: str | None


def test_what_was_replaced_while_it_was_looked_at_is_not_told_as_broken(layout: Layout) -> None:
    store_model(layout, "tiny", b"weights")
    looks: list[Named] = []

    def look(named: Named) -> list[_Told]:
        looks.append(named)
        if len(looks) == 1:
            store_model(layout, "tiny", b"other weights")
        return [_Told("a blob is missing" if len(looks) == 1 else None)]

    assert of_one_moment(layout, look) == [_Told(None)]
    assert len(looks) == 2


def test_what_is_broken_is_told_after_one_look(layout: Layout) -> None:
    store_model(layout, "tiny", b"weights")
    looks: list[Named] = []

    def look(named: Named) -> list[_Told]:
        looks.append(named)
        return [_Told("lost")]

    assert of_one_moment(layout, look) == [_Told("lost")]
    assert len(looks) == 1
