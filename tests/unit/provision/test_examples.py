from __future__ import annotations

import json
import shlex

from provision.bootstrap import examples

TEXT = examples.render(address="127.0.0.1:8080", model="tiny")


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
