"""What a pulled model asks for and does not get: told when it comes, told by `show`, and left out of what
`create` must take back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliance.modelfile import parse
from appliance.store.content import unreported
from appliance.store.model import StoredModel
from appliance.store.notes import notes_of
from appliance.store.show import ShownModel
from appliance.store.store import ModelStore
from tests.fakes.artifacts import DOCKER_IMAGE, OLLAMA, Artifact
from tests.fakes.gguf_corpus import seeds
from tests.fakes.model_files import Told, generator
from tests.fakes.stored_models import write_stick

CONFIG = {
    "model_format": "gguf",
    "model_family": "llama",
    "renderer": "gemma4",
    "parser": "gemma4",
    "requires": "0.40.0",
}
GO = "{{ range .Messages }}<|{{ .Role }}|>{{ .Content }}{{ end }}<|assistant|>"
PARAMS = b'{"temperature":0.5,"stop":["A","B"],"num_keep":4,"top_k":3.0,"seed":1e18,"chill\\nFROM x":"w\\nx"}'


def bring(store: ModelStore, directory: Path, artifact: Artifact) -> list[str]:
    """Under the name `theirs`; the warnings that were told."""
    told = Told()
    store.import_file(write_stick(directory, "theirs", artifact), "theirs", told)
    return [status.removeprefix("warning: ") for status in told.statuses if status.startswith("warning: ")]


def ollama_artifact(config: dict[str, Any] | None = None, *, chat_template: str | None = None) -> Artifact:
    weights = generator(chat_template=chat_template).read_bytes()
    return Artifact(DOCKER_IMAGE, {**CONFIG, **(config or {})}).add(OLLAMA + "model", weights)


def test_what_a_pulled_model_misses_is_told_when_it_comes_and_by_show(
    store: ModelStore, tmp_path: Path
) -> None:
    artifact = ollama_artifact().add(OLLAMA + "params", PARAMS)
    artifact.add(OLLAMA + "projector", seeds.projector().render())
    told = bring(store, tmp_path / "stick", artifact)
    for number, words in enumerate(
        (
            "its RENDERER 'gemma4' is code of Ollama's own",
            "its PARSER 'gemma4' is code of Ollama's own",
            "it requires Ollama 0.40.0; Outpost speaks 0.32.7",
            "parameter 'chill\\nFROM x' has no effect",
            "parameter 'num_keep' has no effect",
            "its projector is stored, not served yet",
        )
    ):
        assert told[number].startswith(words)
    shown = store.show("theirs")
    assert shown.notes == tuple(told)
    assert (shown.renderer, shown.parser, shown.requires) == ("gemma4", "gemma4", "0.40.0")
    assert "vision" not in shown.capabilities


def test_they_are_told_again_for_a_new_name_of_what_was_let_in(store: ModelStore, tmp_path: Path) -> None:
    before = bring(store, tmp_path / "stick", ollama_artifact())
    told = Told()
    store.create("mine", "FROM theirs\nSYSTEM hi", told)
    assert [f"warning: {note}" for note in before] == told.statuses[-4:-1]


def test_what_the_engine_has_is_no_news(store: ModelStore, tmp_path: Path) -> None:
    spoken = {"renderer": "qwen3", "parser": "qwen3-thinking", "requires": "v0.32.7"}
    assert not bring(store, tmp_path / "stick", ollama_artifact(spoken))


def test_a_requirement_that_is_no_version_is_not_met(store: ModelStore, tmp_path: Path) -> None:
    spoken = {"renderer": "", "parser": "", "requires": "newest"}
    (told,) = bring(store, tmp_path / "stick", ollama_artifact(spoken))
    assert told.startswith("it requires Ollama newest")


def test_a_llama_3_of_old_is_let_in_with_a_warning(store: ModelStore, tmp_path: Path) -> None:
    path = tmp_path / "llama3.gguf"
    path.write_bytes(seeds.llama3(eos_token_id=128_001).drop("tokenizer.ggml.pre").render())
    told = Told()
    store.import_file(path, "llama3", told)
    first, second = store.show("llama3").notes
    assert "names no pre-tokenizer (llama-bpe)" in first
    assert "its end token is the end of text" in second
    assert [status for status in told.statuses if "warning" in status] == [
        f"warning: {first}",
        f"warning: {second}",
    ]


def test_a_crowd_of_unknown_parameters_is_counted() -> None:
    model = StoredModel(weights=(), params={f"x{number}": 1 for number in range(1000)})
    told = notes_of(model, ())
    assert len(told) == 9
    assert told[-1] == "992 more parameters have no effect: they are not known here"


def test_notes_of_the_header_come_first() -> None:
    model = StoredModel(weights=(), params={"num_keep": 1})
    assert notes_of(model, ("tokens are cut otherwise",))[0] == "tokens are cut otherwise"


# ── the way back ────────────────────────────────────────────────────────────────────────────────────


def served(model: ShownModel) -> tuple[object, ...]:
    """What a runner and the doors make of it."""
    params = {name: model.parameters.get(name) for name in ("temperature", "top_k", "seed", "stop")}
    return model.template, model.system, params, model.messages, model.licences


@pytest.mark.parametrize("own", [None, "{% for m in messages %}{{ m.content }}{% endfor %}"])
@pytest.mark.parametrize("go", [GO, "{{ .Unheard | of }}"])
def test_the_modelfile_of_an_ollama_artifact_is_taken_back_by_create(
    store: ModelStore, tmp_path: Path, own: str | None, go: str
) -> None:
    artifact = ollama_artifact(chat_template=own).add(OLLAMA + "params", PARAMS)
    artifact.add(OLLAMA + "template", go).add(OLLAMA + "system", "be\nbrief").add(OLLAMA + "license", "MIT")
    artifact.add(OLLAMA + "messages", b'[{"role":"user","content":"hi"}]')
    bring(store, tmp_path / "stick", artifact)
    text = store.show("theirs").modelfile
    store.create("mine", text, unreported)
    assert served(store.show("mine")) == served(store.show("theirs"))
    for line in ("RENDERER gemma4", "PARSER gemma4", "REQUIRES 0.40.0", "PARAMETER chill", "FROM x w", "x"):
        assert f"# {line}\n" in text
    assert parse(text).options == {
        "temperature": 0.5,
        "stop": ["A", "B"],
        "top_k": 3,
        "seed": 10**18,
    }


def test_a_template_that_is_not_served_stands_in_comments(store: ModelStore, tmp_path: Path) -> None:
    artifact = ollama_artifact(chat_template="{{ messages[0].content }}").add(OLLAMA + "template", GO)
    bring(store, tmp_path / "stick", artifact)
    text = store.show("theirs").modelfile
    assert f'# TEMPLATE """{GO}"""\n' in text
    assert parse(text).template is None


def test_what_is_spoken_stays_an_instruction(store: ModelStore, tmp_path: Path) -> None:
    spoken = {"renderer": "qwen3", "parser": "qwen3", "requires": "0.14.0"}
    bring(store, tmp_path / "stick", ollama_artifact(spoken))
    recipe = parse(store.show("theirs").modelfile)
    assert (recipe.renderer, recipe.parser, recipe.requires) == ("qwen3", "qwen3", "0.14.0")
    assert "Left out" not in store.show("theirs").modelfile
