from __future__ import annotations

import pytest

from appliance.cli.chat import Json, Settings
from appliance.cli.exits import Exit, Failure
from appliance.cli.slash import Act, Outcome, Session, execute, unquoted, wants_more

SESSION = Session(settings=Settings(model="tiny"))


def read_format(text: str) -> Json | None:
    if text == "json":
        return {"type": "json_object"}
    raise Failure(Exit.NO_INPUT, f"cannot read {text}")


def after(*lines: str) -> Outcome:
    session = SESSION
    outcome = Outcome(session=session)
    for line in lines:
        outcome = execute(line, session, read_format)
        session = outcome.session
    return outcome


@pytest.mark.parametrize(
    ("line", "act"),
    [
        ("/bye", Act.LEAVE),
        ("/exit", Act.LEAVE),
        (" /clear ", Act.CLEAR),
        ("/list", Act.LIST),
        ("/show info", Act.SHOW_INFO),
        ("/show messages", Act.SHOW_MESSAGES),
        ("/help", Act.NONE),
        ("/dance", Act.NONE),
    ],
)
def test_each_command_asks_for_its_act(line: str, act: Act) -> None:
    assert after(line).act is act


def test_load_names_the_model() -> None:
    outcome = after("/load other")
    assert (outcome.act, outcome.argument) == (Act.LOAD, "other")
    assert after("/load").text == "usage: /load MODEL"


def test_parameters_get_their_types_and_add_up() -> None:
    outcome = after(
        "/set parameter temperature 0.5", "/set parameter num_predict 10", "/set parameter top_k 3"
    )
    assert outcome.session.settings.parameters == {"temperature": 0.5, "max_tokens": 10, "top_k": 3}
    shown = after("/set parameter top_k 3", "/set format json", "/set think", "/show parameters").text
    assert shown.splitlines() == [
        "top_k               3",
        'format              {"type":"json_object"}',
        "think               true",
    ]


def test_a_stop_text_may_hold_spaces() -> None:
    outcome = after('/set parameter stop "the end"')
    assert outcome.session.settings.parameters == {"stop": ["the end"]}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/set parameter", "no parameter ''; there are: temperature"),
        ("/set parameter heat 1", "no parameter 'heat'; there are: temperature"),
        ("/set parameter seed", "usage: /set parameter seed N"),
        ("/set parameter seed 1 2", "usage: /set parameter seed N"),
        ("/set parameter seed x", "seed: 'x' is not a whole number"),
        ("/set parameter temperature nan", "temperature: 'nan' is not a number"),
        ("/set parameter num_ctx 9", "outpost serve --ctx"),
        ("/set format", "usage: /set format json|FILE"),
        ("/set format missing.json", "cannot read missing.json"),
        ("/set", "/set parameter NAME VALUE"),
        ("/set dance", "/set parameter NAME VALUE"),
        ("/show", "/show parameters"),
        ("/show system", "No system message is set."),
        ("/show parameters", "No parameters are set"),
        ("/help set", "/set parameter NAME VALUE"),
        ("/help /show", "/show system"),
        ("/? keys", "Ctrl-C"),
        ("/dance", "no command '/dance'; /help lists them all"),
    ],
)
def test_what_is_wrong_or_asked_is_told_and_nothing_changes(line: str, told: str) -> None:
    outcome = after(line)
    assert told in outcome.text
    assert outcome.session == SESSION


def test_the_system_message_is_set_and_taken_away() -> None:
    assert after("/set system Be brief.").session.settings.system == "Be brief."
    assert after('/set system """Be\nbrief."""').session.settings.system == "Be\nbrief."
    assert after("/set system Be brief.", "/set system").session.settings.system is None
    assert after("/set system Be brief.", "/show system").text == "Be brief."


def test_form_and_thinking_are_set_and_taken_away() -> None:
    settings = after("/set format json", "/set think").session.settings
    assert (settings.response_format, settings.think) == ({"type": "json_object"}, True)
    settings = after("/set format json", "/set noformat", "/set nothink").session.settings
    assert (settings.response_format, settings.think) == (None, False)


def test_switches_go_on_and_off() -> None:
    session = after("/set verbose", "/set nowordwrap", "/set nohistory").session
    assert (session.verbose, session.wordwrap, session.history) == (True, False, False)
    session = after("/set verbose", "/set quiet", "/set nowordwrap", "/set wordwrap", "/set history").session
    assert (session.verbose, session.wordwrap, session.history) == (False, True, True)


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("hi", False),
        ('"""', True),
        ('"""hi', True),
        ('"""hi"""', False),
        ('"""a\nb"""', False),
        ('what is """ in Python?', False),
        ('/set system """Be', True),
    ],
)
def test_only_an_open_quote_at_the_begin_wants_more(text: str, *, more: bool) -> None:
    assert wants_more(text) is more


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ('"""a\nb"""', "a\nb"),
        ('"""\na\n"""', "a"),
        ('"a b"', "a b"),
        ("a", "a"),
        ('"', '"'),
        (' """a""" ', "a"),
    ],
)
def test_quotes_are_taken_off(text: str, bare: str) -> None:
    assert unquoted(text) == bare
