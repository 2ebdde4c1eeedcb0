"""The curl commands of the documents, as they stand there, and real curl to run them with.

How they are run is curl's own business: what a test wants to know of an answer, and must have otherwise
(no proxy, an end), stands in a `.curlrc` of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from provision.bootstrap import examples

ROOT: Final = Path(__file__).parents[1]
SHOWN_ADDRESSES: Final = ("http://127.0.0.1:11434", "http://outpost.local:11434")
"""What the documents call an Outpost."""
MAKE_RUN: Final = "make run"
"""In place of a file: what that prints."""
_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND: Final = re.compile(r"(^|[|;(`]|\s)curl\s+[-\"'h]")
_TIMEOUT_S: Final = 150


@dataclass(frozen=True)
class Example:
    source: str
    number: int
    """Of its file, from 1."""
    command: str
    shown: str = ""
    """The line of comment below it: its answer, or the beginning of it."""

    def __str__(self) -> str:
        return f"{self.source}:{self.number}"


@dataclass(frozen=True)
class Answer:
    exit_code: int
    status: int
    content_type: str
    body: str
    told: str
    """What curl said of it."""

    def items(self) -> list[Any]:
        """What the body holds, by its type. Raises ValueError where it is not of that form."""
        if self.content_type == "application/json":
            return [json.loads(self.body)]
        if self.content_type == "application/x-ndjson":
            return [json.loads(line) for line in self.body.splitlines()]
        assert self.content_type == "text/event-stream", self.content_type
        lines = [line for line in self.body.splitlines() if line and not line.startswith(":")]
        assert all(re.match(r"(data|event|id): ?", line) for line in lines), self.body
        data = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
        return [json.loads(one) for one in data if one != "[DONE]"]


def documents() -> Iterator[tuple[str, str]]:
    """Name and text of every file that shows commands."""
    for path in [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    printed = examples.render(address="127.0.0.1:11434", model="smollm2")
    yield MAKE_RUN, f"```sh\n{printed.partition('2. Python')[0].strip()}\n```\n"


def collected() -> list[Example]:
    return [example for source, text in documents() for example in of_document(source, text)]


def of_document(source: str, text: str) -> list[Example]:
    found: list[Example] = []
    for fence in _FENCE.finditer(text):
        for command, shown in _commands(fence[1], fence[2]):
            if command.startswith("curl "):
                found.append(Example(source, len(found) + 1, command, shown))
    return found


def mentions(text: str) -> int:
    """How many lines of a document, in a block or not, begin a command with curl."""
    return sum(_COMMAND.search(line) is not None for line in text.splitlines())


def _commands(language: str, block: str) -> Iterator[tuple[str, str]]:
    """Each command, whole, with the comment below it. In a console they begin with `$ `."""
    lines = block.splitlines()
    while lines:
        line = lines.pop(0)
        if language == "console":
            if not line.startswith("$ "):
                continue
            line = line[2:]
        while line.endswith("\\") and lines:
            line += "\n" + lines.pop(0)
        shown = lines[0][2:] if lines and lines[0].startswith("# ") else ""
        yield line, shown


def run(command: str, url: str, home: Path, env: dict[str, str] | None = None) -> Answer:
    """By bash, with the address of `url` in place of the one that is shown. `home`: for curl's own file."""
    for address in SHOWN_ADDRESSES:
        command = command.replace(address, url)
    headers = home / "headers"
    (home / ".curlrc").write_text(f'silent\nshow-error\nnoproxy = "*"\ndump-header = "{headers}"\n')
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "CURL_HOME": str(home), **(env or {})},
    )
    head = headers.read_text().strip().split("\n\n")[-1].splitlines() if headers.exists() else [" 0"]
    named = dict(line.lower().strip().split(": ", 1) for line in head[1:] if ": " in line)
    content_type = named.get("content-type", "").partition(";")[0]
    return Answer(done.returncode, int(head[0].split()[1]), content_type, done.stdout, done.stderr)
