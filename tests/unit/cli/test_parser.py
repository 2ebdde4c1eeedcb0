from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from appliance.cli.exits import Exit, Failure
from appliance.cli.manual import help_texts, rewritten
from appliance.cli.parser import build, parse
from appliance.cli.run import settings_of, split_words

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"


def parsed(*argv: str) -> argparse.Namespace:
    into = argparse.Namespace()
    parse(argv, into)
    return into


def test_options_may_stand_between_the_words() -> None:
    arguments = parsed("run", "tiny", "--json", "why", "--seed", "7", "so")
    assert arguments.words == ["tiny", "why", "so"]
    assert arguments.json
    assert arguments.parameter_seed == 7


def test_words_after_two_dashes_are_the_prompt() -> None:
    assert parsed("run", "tiny", "--", "--what", "-5").words == ["tiny", "--what", "-5"]
    assert parsed("run", "tiny", "--", "a", "--", "b").words == ["tiny", "a", "--", "b"]


@pytest.mark.parametrize("word", ["--help", "-h", "--json", "-x", "--", "-", "--data", "--version"])
@pytest.mark.parametrize(
    ("before", "field"),
    [
        (("run",), "words"),
        (("pull",), "name"),
        (("push",), "name"),
        (("push", "tiny"), "target"),
        (("create",), "name"),
        (("import", "tiny.gguf"), "name"),
        (("export",), "name"),
        (("show",), "name"),
        (("list",), "prefix"),
        (("cp",), "source"),
        (("cp", "tiny"), "destination"),
        (("rm",), "names"),
        (("rm", "tiny"), "names"),
        (("verify",), "name"),
        (("bench",), "model"),
    ],
)
def test_a_word_after_two_dashes_is_no_option(before: tuple[str, ...], field: str, word: str) -> None:
    more = {"export": ("dir",), "cp": ("other",) if field == "source" else ()}.get(before[0], ())
    value = getattr(parsed(*before, "--", word, *more), field)
    assert value == ([*before[1:], word] if isinstance(value, list) else word)


def test_a_file_after_two_dashes_may_begin_with_one() -> None:
    assert parsed("import", "--json", "--", "-x.gguf").path == Path("-x.gguf")
    assert parsed("export", "tiny", "--", "--json").path == Path("--json")


def test_a_nul_in_a_word_stays_in_it() -> None:
    assert parsed("rm", "\0tiny", "--", "\0tiny").names == ["\0tiny", "\0tiny"]


def test_two_dashes_with_nothing_behind_them_ask_for_nothing() -> None:
    assert parsed("rm", "tiny", "--").names == ["tiny"]
    assert not parsed("ps", "--").json


@pytest.mark.parametrize(
    ("words", "model", "expected"),
    [
        ([], None, (None, "")),
        (["tiny"], None, ("tiny", "")),
        (["tiny", "why", "so"], None, ("tiny", "why so")),
        (["why is it so?"], None, (None, "why is it so?")),
        (["why is it", "so?"], None, (None, "why is it so?")),
        (["why", "so"], "tiny", ("tiny", "why so")),
    ],
)
def test_the_first_word_is_the_model_unless_it_holds_a_space(
    words: list[str], model: str | None, expected: tuple[str | None, str]
) -> None:
    assert split_words(words, model=model) == expected


def test_settings_hold_what_was_given() -> None:
    arguments = parsed(
        "run", "x", "--temperature", "0", "--stop", "a", "--stop", "b", "--system", "S", "--no-think"
    )
    settings = settings_of(arguments, model="m", response_format=None)
    assert settings.parameters == {"temperature": 0.0, "stop": ["a", "b"]}
    assert (settings.model, settings.system, settings.think) == ("m", "S", False)


def test_bench_counts_are_a_list() -> None:
    assert parsed("bench", "tiny", "--clients", "1,8,32").clients == [1, 8, 32]
    assert parsed("bench").clients == [1, 8]
    assert parsed("bench", "--url", "a:1").host == "a:1"


def test_serve_takes_models_by_name() -> None:
    arguments = parsed("serve", "--model", "a=x.gguf", "--model", "b=dir/y=z.gguf", "--ctx", "0")
    assert arguments.model == [("a", Path("x.gguf")), ("b", Path("dir/y=z.gguf"))]
    assert arguments.ctx == 0


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], "name a command; see: outpost --help"),
        (["dance"], "dance"),
        (["ps", "extra"], "unrecognized arguments: extra; see: outpost ps --help"),
        (["show", "tiny", "--", "--extra"], "unrecognized arguments: --extra; see: outpost show --help"),
        (["rm", "--"], "the following arguments are required: NAME; see: outpost rm --help"),
        (["rm", "--host", "--", "tiny"], "argument --host: expected one argument; see: outpost rm --help"),
        (["serve", "--model", "x.gguf"], "'x.gguf' is not NAME=FILE.gguf"),
        (["serve", "--ctx", "-1"], "'-1' is not a whole number"),
        (["bench", "--clients", "1,,2"], "'' is not a whole number"),
        (["bench", "--tokens", "0"], "must be at least 1"),
        (["run", "--timeout", "0"], "not between 0 and 86400"),
        (["run", "--timeout", "soon"], "not a number of seconds"),
        (["run", "--temperature", "inf"], "'inf' is not a number"),
        (["run", "--temp", "1"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_a_failure_that_points_to_the_help(argv: list[str], told: str) -> None:
    with pytest.raises(Failure) as caught:
        parsed(*argv)
    assert caught.value.exit_code is Exit.USAGE
    assert told in caught.value.message
    assert "--help" in caught.value.message


def test_every_command_teaches_with_examples() -> None:
    for name, command in build()[1].items():
        assert command.format_help().count(f"outpost {name}") >= 3, name


def test_the_documentation_shows_the_help_as_it_is() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert rewritten(text) == text, "run: python -m appliance.cli.manual docs/cli.md"


def test_the_documentation_shows_every_command() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert all(f"<!-- help: {name} -->" in text for name in help_texts())
