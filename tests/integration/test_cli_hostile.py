"""Every hostile name and digest through every command of the real program that takes one, on a real store.

What they must all come to: a refusal with an exit code that says so, no path outside the store, and a store
that is as it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from appliance.cli.exits import Exit
from tests.fakes.hostile_digests import HOSTILE_DIGESTS
from tests.fakes.hostile_names import HOSTILE_NAMES

ROOT = Path(__file__).parents[2]
NAME = "\0name\0"
"""Where the hostile name goes."""
WORDS: dict[str, list[str]] = {
    "pull": ["pull", NAME],
    "pull --as": ["pull", "registry.example/a/b", "--as", NAME],
    "push": ["push", NAME],
    "push to": ["push", "tiny", NAME],
    "import": ["import", "files/tiny.gguf", NAME],
    "export": ["export", NAME, "out"],
    "create": ["create", NAME, "-f", "Modelfile"],
    "show": ["show", NAME],
    "cp from": ["cp", NAME, "other"],
    "cp to": ["cp", "tiny", NAME],
    "rm": ["rm", NAME],
    "verify": ["verify", NAME],
}
OPTIONS = {"--help", "--data=/tmp"}
"""What the command line can only take for its own options: no name comes of it."""
ARGUMENTS = [name for name in HOSTILE_NAMES if name not in OPTIONS]
REFUSED = {Exit.USAGE, Exit.DATA}
"""64: the command line takes it for no name at all."""
WITH_SCHEME = {name for name in HOSTILE_NAMES if name.startswith(("http://", "https://"))}
"""`pull` and the target of `push` read over a scheme: then it is the host that is refused, with 77."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A data directory with one model, and beside it what a name could hit."""
    home = tmp_path_factory.mktemp("hostile")
    (home / "data").mkdir()
    (home / "recipes").mkdir()
    (home / "files").mkdir()
    (home / "Modelfile").write_text("FROM tiny\nSYSTEM Be kind.\n")
    (home / "files" / "tiny.gguf").write_bytes(tiny_model.read_bytes())
    assert run(home, [["import", "files/tiny.gguf", "tiny"]]) == [0]
    return home


def run(home: Path, commands: list[list[str]]) -> list[int]:
    told = [[*argv[:1], "--data", "data", *argv[1:]] for argv in commands]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fakes.many_commands"],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=55,
        check=True,
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home / "home"), "PYTHONPATH": str(ROOT)},
    )
    codes: list[int] = json.loads(done.stdout)
    assert Exit.INTERNAL not in codes, done.stderr
    return codes


def outside(home: Path) -> set[str]:
    """All paths but those of the store."""
    store = home / "data" / "store"
    return {str(path) for path in home.rglob("*") if store not in path.parents}


def inside(home: Path) -> set[str]:
    return {path.name for path in (home / "data" / "store" / "blobs" / "sha256").iterdir()}


def names(home: Path) -> list[str]:
    index = json.loads((home / "data" / "store" / "index.json").read_text())
    return [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]]


def told(argv: list[str], hostile: str) -> list[str]:
    return [hostile if part == NAME else part for part in argv]


@pytest.mark.parametrize("word", WORDS)
def test_no_hostile_name_is_taken_by_any_word(home: Path, word: str) -> None:
    before = outside(home), inside(home), names(home)
    codes = run(home, [told(WORDS[word], hostile) for hostile in ARGUMENTS])
    for name, code in zip(ARGUMENTS, codes, strict=True):
        is_host_refused = word in {"pull", "push to"} and name in WITH_SCHEME and code == Exit.NOT_ALLOWED
        assert code in REFUSED or is_host_refused, (name, code)
    assert Counter(codes)[Exit.DATA] >= 200
    assert (outside(home), inside(home), names(home)) == before


@pytest.mark.parametrize("texts", [HOSTILE_NAMES, HOSTILE_DIGESTS], ids=["names", "digests"])
@pytest.mark.parametrize("line", ["FROM {}", "FROM tiny\nADAPTER {}", "FROM tiny\nDRAFT {}"])
def test_no_hostile_line_of_a_modelfile_leads_anywhere(home: Path, line: str, texts: tuple[str, ...]) -> None:
    """Neither the recipes' folder nor those above it have a GGUF, so `FROM ..`, a good line, finds none."""
    commands = []
    for number, text in enumerate(texts):
        path = home / "recipes" / f"Modelfile-{number}"
        path.write_text(line.format(text) + "\n", encoding="utf-8", errors="surrogatepass")
        commands.append(["create", "made", "-f", f"recipes/{path.name}"])
    before = outside(home), inside(home), names(home)
    codes = run(home, commands)
    for text, code in zip(texts, codes, strict=True):
        assert code in {Exit.DATA, Exit.NO_INPUT, Exit.NOT_ALLOWED}, (text, code)
    assert (outside(home), inside(home), names(home)) == before
