from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.template_format import ToolFormat
from appliance.modelfile.compatibility import OLLAMA_VERSION, SPOKEN, precedence
from appliance.modelfile.parameters import PARAMETERS, Use, check_options, engine_settings
from appliance.wire.messages import Generate, Placement, SamplingParams

OLLAMA_NAMES = {
    "num_keep", "seed", "num_predict", "top_k", "top_p", "min_p", "typical_p", "repeat_last_n", "temperature",
    "repeat_penalty", "presence_penalty", "frequency_penalty", "stop", "num_ctx", "num_batch", "num_gpu",
    "main_gpu", "use_mmap", "num_thread", "draft_num_predict",
}  # fmt: skip
GIVEN_UP = {
    "penalize_newline", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock",
    "mirostat", "mirostat_tau", "mirostat_eta",
}  # fmt: skip
WIRE: dict[Use, Any] = {Use.SAMPLING: SamplingParams, Use.GENERATION: Generate, Use.PLACEMENT: Placement}


def test_every_name_of_ollama_stands_in_the_table() -> None:
    assert set(PARAMETERS) == OLLAMA_NAMES | GIVEN_UP


def test_every_row_names_a_field_of_the_wire_or_says_why_not() -> None:
    for parameter in PARAMETERS.values():
        if parameter.use is Use.NONE:
            assert parameter.why
            assert parameter.field is None
        else:
            assert parameter.field in WIRE[parameter.use].__struct_fields__


def test_every_spoken_parser_is_a_format_of_the_engine() -> None:
    assert set(SPOKEN.values()) <= set(ToolFormat)


def test_options_become_the_wires_fields() -> None:
    settings = engine_settings(
        {"temperature": 1, "seed": 7, "num_predict": 12, "stop": ["a", "b"], "num_ctx": 2048, "num_gpu": -1,
         "use_mmap": False, "f16_kv": True}
    )  # fmt: skip
    assert settings.sampling == {"temperature": 1.0, "seed": 7}
    assert settings.generation == {"max_tokens": 12, "stop": ["a", "b"]}
    assert settings.placement == {"n_ctx_seq": 2048, "use_mmap": False}
    assert settings.warnings == ("parameter 'f16_kv' has no effect: Ollama gave it up",)
    assert SamplingParams(**settings.sampling).temperature == 1.0  # type: ignore[arg-type]


def test_minus_one_means_not_given() -> None:
    settings = engine_settings({"seed": -1, "num_predict": -1, "num_gpu": -1})
    assert (settings.sampling, settings.generation, settings.placement) == ({}, {}, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sauce": 1}, "unknown parameter 'sauce'"),
        ({"top_k": "5"}, "parameter 'top_k': it is not a whole number"),
        ({"top_k": 1.5}, "parameter 'top_k': it is not a whole number"),
        ({"top_k": True}, "parameter 'top_k': it is not a whole number"),
        ({"top_k": 10**400}, "parameter 'top_k': it must be from 0 to 1000000"),
        ({"temperature": float("nan")}, "parameter 'temperature': it must be from 0 to 5"),
        ({"temperature": None}, "parameter 'temperature': it is not a number"),
        ({"use_mmap": 1}, "parameter 'use_mmap': it is not true or false"),
        ({"stop": 5}, "parameter 'stop': it is not text or a list of texts"),
        ({"stop": [5]}, "parameter 'stop': it is not text"),
        ({"stop": ["x"] * 17}, "parameter 'stop': at most 16 stop strings"),
        ({"stop": "x" * 1025}, "parameter 'stop': it must have 1 to 1024 bytes"),
    ],
)
def test_options_of_a_wrong_type_or_size_are_refused_by_name(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_options(options)


@given(
    st.dictionaries(
        st.sampled_from(sorted(PARAMETERS)), st.integers() | st.floats() | st.booleans() | st.text()
    )
)
def test_options_are_typed_and_bounded_or_refused(options: dict[str, object]) -> None:
    try:
        checked = check_options(options)
    except ValueError:
        return
    for name, value in checked.items():
        if name != "stop":
            assert type(value) is PARAMETERS[name].kind


def test_versions_are_ordered_as_semver_orders_them() -> None:
    ordered = ["0.1", "0.9.9", "0.10.0-alpha", "0.10.0-alpha.1", "0.10.0-alpha.beta", "0.10.0-beta.2",
               "0.10.0-beta.11", "0.10.0-rc.1", "0.10.0", "1"]  # fmt: skip
    ranks = [precedence(version) for version in ordered]
    assert None not in ranks
    assert ranks == sorted(ranks)  # type: ignore[type-var]
    assert precedence("1.2.3+build") == precedence("1.2.3")


@pytest.mark.parametrize("text", ["", "v", "1.", "01.2.3", "1.2.3-", "1.2.3.4", "1.2-rc", "x", "9" * 100])
def test_what_is_no_version_has_no_rank(text: str) -> None:
    assert precedence(text) is None


def test_the_manual_names_every_parameter_and_every_spoken_name() -> None:
    manual = (Path(__file__).parents[3] / "docs/modelfile.md").read_text(encoding="utf-8")
    assert [name for name in (*PARAMETERS, *SPOKEN, OLLAMA_VERSION) if name not in manual] == []
