"""What `/metrics` says of the model store."""

from __future__ import annotations

from appliance.health.report import BrokenModel, StoreHealth
from appliance.telemetry.store_metrics import store_samples


def told(store: StoreHealth) -> dict[str, float]:
    return {sample.name: sample.value for sample in store_samples(store)}


def test_a_store_tells_what_keeps_it_from_freeing_room_and_what_is_broken() -> None:
    store = StoreHealth(
        models=3,
        broken=(BrokenModel(name="a", reason="zeroed"),),
        free_bytes=1000,
        floor_bytes=50,
        gc_withheld=("b: cannot be read", "c: cannot be read"),
    )
    assert told(store) == {
        "store_fault": 0,
        "store_models": 3,
        "store_broken": 1,
        "store_gc_withheld": 2,
        "store_free_bytes": 1000,
        "store_floor_bytes": 50,
    }


def test_what_is_not_known_is_not_told_as_nothing() -> None:
    store = StoreHealth(models=0, broken=(), free_bytes=None, floor_bytes=None, fault="index.json is gone")
    assert told(store) == {"store_fault": 1}


def test_every_sample_says_what_it_is() -> None:
    store = StoreHealth(models=0, broken=(), free_bytes=0, floor_bytes=0)
    assert all(sample.help and sample.kind == "gauge" for sample in store_samples(store))
