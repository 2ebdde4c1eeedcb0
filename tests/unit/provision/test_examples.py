from __future__ import annotations

import json
import shlex

from provision.bootstrap import examples

TEXT = examples.render(address="127.0.0.1:8080", model="tiny")
KEYED = examples.render(address="127.0.0.1:8080", model="tiny", needs_key=True)


def test_the_address_comes_first() -> None:
    assert TEXT.strip().splitlines()[0] == "Outpost is ready: http://127.0.0.1:8080/v1"


def test_the_curl_line_is_one_command_with_a_json_body() -> None:
    (line,) = [line for line in TEXT.splitlines() if line.startswith("curl")]
    words = shlex.split(line)
    assert words[2] == "http://127.0.0.1:8080/v1/chat/completions"
    assert json.loads(words[-1])["model"] == "tiny"


def test_the_python_lines_are_python() -> None:
    program = TEXT.split("<<'END'\n")[1].split("\nEND\n")[0]
    compile(program, "example", "exec")


def test_the_outpost_line_names_the_model() -> None:
    (line,) = [line for line in TEXT.splitlines() if line.startswith(".venv/bin/outpost run")]
    assert shlex.split(line) == [".venv/bin/outpost", "run", "tiny", "Name three rivers."]


def test_where_there_are_keys_every_example_sends_one() -> None:
    assert "OUTPOST_API_KEY" not in TEXT
    assert KEYED.index("\nexport OUTPOST_API_KEY=") < KEYED.index("\ncurl ")
    (line,) = [line for line in KEYED.splitlines() if line.startswith("curl")]
    assert "Authorization: Bearer $OUTPOST_API_KEY" in shlex.split(line)
    program = KEYED.split("<<'END'\n")[1].split("\nEND\n")[0]
    compile(program, "example", "exec")
    assert program.startswith("import os\n")
    assert 'api_key=os.environ["OUTPOST_API_KEY"])' in program
