"""Quotas and accounts as samples: bounded labels, and no key in them."""

from __future__ import annotations

from appliance.access.quota_rules import Bound
from appliance.telemetry.access_metrics import AccessCounts, access_samples


def test_every_bound_and_fault_has_its_counter_and_no_key_is_named() -> None:
    counts = AccessCounts(
        refused={bound.value: 2 for bound in Bound},
        wrong_keys=5,
        wrong_keys_refused=3,
        pending_rows=1,
        lost=0,
        faults={"full": 1},
        audit_lost=0,
    )
    samples = access_samples(counts)
    told = {(sample.name, sample.labels): sample.value for sample in samples}
    assert told["rate_limited_total", (("bound", "tokens_per_day"),)] == 2
    assert told["wrong_keys_total", ()] == 5
    assert told["wrong_keys_refused_total", ()] == 3
    assert told["usage_pending_rows", ()] == 1
    assert told["usage_faults_total", (("fault", "full"),)] == 1
    assert {name for sample in samples for name, _ in sample.labels} == {"bound", "fault"}
    assert all(sample.help for sample in samples)
    assert all(sample.kind == "counter" for sample in samples if sample.name.endswith("_total"))
