"""The names of file types."""

from __future__ import annotations

import pytest

from appliance.errors import InvalidRequest
from appliance.supervisor.quantizer import checked_kind
from appliance.wire.quantize import KINDS, kind_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("q4_K_M", "q4_K_M"),
        ("Q4_K_M", "q4_K_M"),
        (" q8_0 ", "q8_0"),
        ("Q4_K", "q4_K_M"),
        ("IQ4_XS", "iq4_xs"),
        ("F16", "f16"),
    ],
)
def test_a_kind_is_named_in_any_case_and_by_llama_cpps_short_names(name: str, kind: str) -> None:
    assert kind_of(name) == kind
    assert checked_kind(name) == kind


@pytest.mark.parametrize("name", ["", "q9_0", "COPY", "q4", "q4_k_m\0", "q4-k-m", "ｑ8_0"])
def test_any_other_name_is_refused_with_the_list(name: str) -> None:
    assert kind_of(name) is None
    with pytest.raises(InvalidRequest) as caught:
        checked_kind(name)
    assert caught.value.param == "quantize"
    assert all(kind in caught.value.message for kind in KINDS)


def test_every_kind_means_itself() -> None:
    assert [kind_of(kind) for kind in KINDS] == list(KINDS)
