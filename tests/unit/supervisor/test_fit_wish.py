from __future__ import annotations

from dataclasses import replace

from appliance.supervisor.fit_wish import FitWish, wished
from appliance.supervisor.policy import ModelSpec
from appliance.wire.messages import Placement

SMALL = ModelSpec(
    name="s", path="/s", placement=Placement(n_ctx_seq=512, n_seq_max=2, kv_cells=0), min_ctx=64
)
MODEL = replace(SMALL, name="m", smaller=(SMALL,))


def test_without_a_wish_it_is_what_would_be_started() -> None:
    assert wished(MODEL, FitWish()) == MODEL


def test_a_wish_holds_for_who_stands_in_too() -> None:
    asked = wished(MODEL, FitWish(n_ctx_seq=0, n_seq_max=4, min_ctx=128))
    for one in (asked, *asked.smaller):
        assert (one.placement.n_ctx_seq, one.placement.n_seq_max, one.min_ctx) == (0, 4, 128)
    assert (asked.path, asked.smaller[0].name) == ("/s", "s")
