from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config import Config, EngineSettings, ModelSettings
from appliance.daemon.own_wishes import placed
from appliance.daemon.stored_models import Pins, all_specs, name_key, require_known, stored_spec
from appliance.errors import ConfigError
from appliance.modelfile import engine_settings
from appliance.store.digest import digest_of
from appliance.store.serving import ServeSpec
from appliance.store.template import ServedTemplate
from appliance.supervisor.probe import PROBE_PLACEMENT
from appliance.wire.messages import AdapterScale

WEIGHTS = Path("/store/w.gguf")


def spec(name: str = "tiny:latest", **more: object) -> ServeSpec:
    return ServeSpec(name=name, paths=(WEIGHTS,), **more)  # type: ignore[arg-type]


DIGEST, OTHER = digest_of(b"one"), digest_of(b"other")


def test_a_name_with_a_digest_is_compared_with_what_the_name_stands_for() -> None:
    pins = Pins()
    pins.learn(Config(), [spec(digest=DIGEST)])
    assert pins.key(f"Tiny@{DIGEST}") == pins.key("tiny:latest") == name_key("tiny")
    assert pins.key(f"tiny@{OTHER}") != name_key("tiny")
    assert pins.key(f"absent@{OTHER}") != name_key("absent")
    pins.learn(Config(), [spec(digest=OTHER)])
    assert pins.key(f"tiny@{OTHER}") == name_key("tiny")
    assert pins.key("no name@at all") == name_key("no name@at all")


def test_a_model_of_the_configuration_has_no_digest_to_be_pinned_to() -> None:
    pins = Pins()
    pins.learn(Config(models={"tiny": ModelSettings(path=Path("/m.gguf"))}), [spec(digest=DIGEST)])
    assert pins.key(f"tiny@{DIGEST}") != name_key("tiny")


def test_parameters_go_where_they_count() -> None:
    options = {"temperature": 0.5, "stop": ["A"], "num_predict": 7, "num_ctx": 512}
    made = stored_spec(Config(), spec(parameters=engine_settings(options)))
    assert made.defaults.sampling == {"temperature": 0.5}
    assert made.defaults.stop == ("A",)
    assert made.defaults.max_tokens == 7
    assert made.placement.n_ctx_seq == 512


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"num_ctx": 4, "num_batch": 1}, (4, 32, 0)),
        ({"num_ctx": 2**24, "num_batch": 2**16}, (2**24, 8192, 0)),
        ({"num_thread": 1024}, (4096, 512, 512)),
        ({"num_batch": 100, "num_thread": 3}, (4096, 100, 3)),
    ],
)
def test_what_a_model_wants_stays_within_the_bounds_of_engine(
    options: dict[str, int], expected: tuple[int, int, int]
) -> None:
    """In the probe as for who serves it."""
    wished = engine_settings(options)
    made = stored_spec(Config(), spec(parameters=wished)).placement
    assert (made.n_ctx_seq, made.n_ubatch, made.n_threads) == expected
    tried = placed(PROBE_PLACEMENT, wished.placement)
    for option, field in (("num_ctx", "n_ctx_seq"), ("num_batch", "n_ubatch"), ("num_thread", "n_threads")):
        if option in options:
            assert getattr(tried, field) == getattr(made, field)
    assert tried.n_seq_max == 1


def test_what_the_model_does_not_say_is_the_configurations() -> None:
    config = Config(engine=EngineSettings(n_ctx_seq=1000, n_seq_max=3))
    made = stored_spec(config, spec())
    assert (made.placement.n_ctx_seq, made.placement.n_seq_max) == (1000, 3)
    assert made.defaults.max_tokens is None


def test_system_history_template_draft_and_adapters_are_handed_on() -> None:
    made = stored_spec(
        Config(),
        spec(
            system="be brief",
            messages=(("user", "hi"),),
            template=ServedTemplate(text="{{ x }}", note=""),
            draft=Path("/store/d"),
            adapters=(Path("/store/a"), Path("/store/b")),
        ),
    )
    assert made.defaults.system == "be brief"
    assert made.defaults.messages == ({"role": "user", "content": "hi"},)
    assert made.chat_template == "{{ x }}"
    assert made.draft_path == "/store/d"
    assert [adapter.path for adapter in made.adapters] == ["/store/a", "/store/b"]
    assert made.defaults.adapters == (AdapterScale("adapter-1", 1.0), AdapterScale("adapter-2", 1.0))


def test_only_a_split_model_has_several_paths() -> None:
    parts = (Path("/store/1"), Path("/store/2"))
    assert stored_spec(Config(), spec()).paths == ()
    whole = stored_spec(Config(), ServeSpec(name="x", paths=parts))
    assert (whole.path, whole.paths) == ("/store/1", ("/store/1", "/store/2"))


def test_a_broken_model_is_there_and_says_why() -> None:
    assert stored_spec(Config(), ServeSpec(name="x", broken="zeroed")).broken == "zeroed"


def test_the_configuration_wins_over_the_store() -> None:
    config = Config(models={"Tiny": ModelSettings(path=Path("/mine.gguf"))})
    made = all_specs(config, [spec("tiny:latest"), spec("tiny:v2")])
    assert [(one.name, one.path) for one in made] == [("Tiny", "/mine.gguf"), ("tiny:v2", str(WEIGHTS))]


def test_a_stored_model_is_preloaded_by_any_spelling_of_its_name() -> None:
    made = all_specs(Config(), [spec("tiny:latest"), spec("other:latest")], preload=["TINY"])
    assert [one.preload for one in made] == [True, False]


def test_a_model_that_is_not_there_cannot_be_preloaded() -> None:
    specs = all_specs(Config(), [spec("tiny:latest")])
    require_known(["Tiny"], specs)
    with pytest.raises(ConfigError, match="'none': expected a model there is: tiny:latest"):
        require_known(["none"], specs)


@pytest.mark.parametrize(
    ("first", "second"),
    [("tiny", "TINY:latest"), ("a/b", "A/B:latest"), ("-odd-", "-odd-:latest"), ("a::b", "A::B")],
)
def test_names_are_compared_without_case_and_with_their_tag(first: str, second: str) -> None:
    assert name_key(first) == name_key(second)
