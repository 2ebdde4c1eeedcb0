from __future__ import annotations

import codecs
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ModelfileInvalid
from appliance.modelfile import Message, Modelfile, Source, SourceForm, parse
from tests.fakes.hostile_digests import HOSTILE_DIGESTS
from tests.fakes.hostile_names import HOSTILE_NAMES

WHOLE = """\
# a comment
FROM ./base.gguf
from ./mmproj.gguf
  PARAMETER temperature 0.2
PARAMETER stop "<|end|>"
PARAMETER stop User:
PARAMETER num_ctx 4096
PARAMETER use_mmap T
TEMPLATE \"""{{ if .System }}{{ .System }} # not a comment
{{ end }}{{ .Prompt }}\"""
System "You say ""hi"",
to all."
ADAPTER ./lora.gguf
MESSAGE user Hello, who's there?
MESSAGE assistant "  me  "
LICENSE MIT
LICENSE \"""
Second
\"""
REQUIRES v0.12.0
RENDERER qwen3
PARSER qwen3
DRAFT ./draft.gguf
"""


def source(text: str) -> Source:
    return Source(text=text)


def fault(text: str | bytes) -> str:
    with pytest.raises(ModelfileInvalid) as caught:
        parse(text)
    return caught.value.message


def test_every_instruction_is_read() -> None:
    assert parse(WHOLE) == Modelfile(
        from_=(source("./base.gguf"), source("./mmproj.gguf")),
        adapters=(source("./lora.gguf"),),
        parameters=(
            ("temperature", 0.2),
            ("num_ctx", 4096),
            ("use_mmap", True),
            ("stop", "<|end|>"),
            ("stop", "User:"),
        ),
        template="{{ if .System }}{{ .System }} # not a comment\n{{ end }}{{ .Prompt }}",
        system='You say ""hi"",\nto all.',
        messages=(
            Message(role="user", content="Hello, who's there?"),
            Message(role="assistant", content="  me  "),
        ),
        licences=("MIT", "\nSecond\n"),
        requires="0.12.0",
        draft=source("./draft.gguf"),
        renderer="qwen3",
        parser="qwen3",
    )


def test_a_source_knows_its_line() -> None:
    modelfile = parse('\r\n# c\r\n\r\nSYSTEM "a\r\nb"\r\nFROM x\r\nADAPTER y\r\n')
    assert (modelfile.from_[0].line, modelfile.adapters[0].line) == (6, 7)


@pytest.mark.parametrize(
    ("text", "form", "digest"),
    [
        ("./a.gguf", SourceForm.PATH, None),
        ("../a", SourceForm.PATH, None),
        ("/srv/a b.gguf", SourceForm.PATH, None),
        ("~/a.gguf", SourceForm.PATH, None),
        ("~ann/a.gguf", SourceForm.PATH, None),
        (".", SourceForm.PATH, None),
        ("llama3.2:1b", SourceForm.OPEN, None),
        ("a.gguf", SourceForm.OPEN, None),
        ("sha256:" + "0a" * 32, SourceForm.DIGEST, "sha256:" + "0a" * 32),
        ("@sha256-" + "0a" * 32, SourceForm.DIGEST, "sha256:" + "0a" * 32),
        ("sha256:" + "0A" * 32, SourceForm.OPEN, None),
        ("sha256:../../etc/passwd", SourceForm.OPEN, None),
    ],
)
def test_the_form_of_a_source_is_told_from_its_text(text: str, form: SourceForm, digest: str | None) -> None:
    found = parse(f"FROM {text}").from_[0]
    assert (found.form, found.digest) == (form, digest)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_read_by_its_mark(encoding: str) -> None:
    mark = codecs.BOM_UTF16_LE if encoding == "utf-16-le" else codecs.BOM_UTF16_BE
    assert parse(mark + "FROM x\r\nSYSTEM größer 👩‍👩‍👧\r\n".encode(encoding)).system == "größer 👩‍👩‍👧"


def test_a_utf_8_mark_is_skipped() -> None:
    assert parse(codecs.BOM_UTF8 + b"FROM x").from_ == (source("x"),)
    assert parse("\ufeffFROM x").from_ == (source("x"),)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("plain # text", "plain # text"),
        ("'single quotes stay'", "'single quotes stay'"),
        (r"no \n escapes", r"no \n escapes"),
        ('"in quotes"', "in quotes"),
        ('""', ""),
        ('""""""', ""),
        ('"""a"""', "a"),
        ('"""a "b" c"""', 'a "b" c'),
        ('"""a""""', 'a"'),
        ('"a" and "b"', 'a" and "b'),
        ('say "x"', 'say "x"'),
        ('"""\n  a\n\n"""  ', "\n  a\n\n"),
        ('"one\n# two\nFROM three"', "one\n# two\nFROM three"),
        ('"""a\r\nb"""', "a\r\nb"),
        (" \t spaces around \t ", "spaces around"),
        ("", ""),
    ],
)
def test_values_and_their_quotes(written: str, value: str) -> None:
    assert parse(f"SYSTEM {written}\nFROM x\n").system == value


def test_instructions_may_stand_in_any_order_and_case() -> None:
    assert parse("sYsTeM hi\nfRoM x").system == "hi"


def test_the_last_value_wins_and_stop_accumulates() -> None:
    modelfile = parse(
        "FROM x\nSYSTEM a\nSYSTEM b\nPARAMETER top_k 1\nPARAMETER seed 7\nPARAMETER top_k 2\n"
        "PARAMETER stop a\nPARAMETER stop b\n"
    )
    assert modelfile.system == "b"
    assert modelfile.parameters == (("seed", 7), ("top_k", 2), ("stop", "a"), ("stop", "b"))
    assert parse("FROM x").options == {}
    assert modelfile.options == {"seed": 7, "top_k": 2, "stop": ["a", "b"]}


def test_what_has_no_effect_is_said_once() -> None:
    modelfile = parse("FROM x\nPARAMETER low_vram true\nPARAMETER num_keep 4\nPARAMETER num_keep 5\n")
    assert modelfile.parameters == ()
    assert modelfile.warnings == (
        "parameter 'low_vram' has no effect: Ollama gave it up",
        "parameter 'num_keep' has no effect: this engine never drops the middle of a conversation",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no FROM line"),
        ("# FROM x", "no FROM line"),
        ("SYSTEM hi", "no FROM line"),
        ("FROM x\nFRM y", '(line 2): command must be one of "from", '),
        ("FROM x\n\n=", '(line 3): command must be one of "from", '),
        ("FROM", "(line 1): FROM has no value"),
        ("FROM \n", "(line 1): FROM has no value"),
        ("FROM a\x1b[2Jb", "(line 1): FROM takes one line"),
        ('FROM "a\nb"', "(line 1): FROM takes one line"),
        ("FROM " + "a" * 5000, "(line 1): FROM takes one line of at most 4096 characters"),
        ("FROM x\nSYSTEM", "(line 2): SYSTEM has no value"),
        ('FROM x\nSYSTEM "a\nb', '(line 2): the value opens with " and no line ends with "'),
        ('FROM x\nSYSTEM """a"\n', '(line 2): the value opens with """'),
        ("FROM x\nPARAMETER\n", "(line 2): PARAMETER has no value"),
        ("FROM x\nPARAMETER top_k\n", "(line 2): a PARAMETER is a name and a value"),
        ("FROM x\nPARAMETER sauce 1", "(line 2): unknown parameter 'sauce'"),
        ("FROM x\nPARAMETER Top_K 1", "(line 2): unknown parameter 'Top_K'"),
        ("FROM x\nPARAMETER top_k 1.5", "(line 2): parameter 'top_k': '1.5' is not a whole number"),
        ("FROM x\nPARAMETER temperature nan", "(line 2): parameter 'temperature': 'nan' is not a number"),
        ("FROM x\nPARAMETER temperature 1e999", "(line 2): parameter 'temperature': it must be from 0 to 5"),
        ("FROM x\nPARAMETER repeat_penalty 0", "'repeat_penalty': it must be above 0, up to 10"),
        ("FROM x\nPARAMETER num_ctx -1", "(line 2): parameter 'num_ctx': it must be from 4 to 16777216"),
        ("FROM x\nPARAMETER num_ctx ٤٢", "(line 2): parameter 'num_ctx': '٤٢' is not a whole number"),
        ("FROM x\nPARAMETER use_mmap yes", "(line 2): parameter 'use_mmap': 'yes' is not true or false"),
        ('FROM x\nPARAMETER stop ""', "(line 2): parameter 'stop': it must have 1 to 1024 bytes"),
        ("FROM x\nMESSAGE tool hi", "(line 2): message role must be one of"),
        ("FROM x\nMESSAGE User hi", "(line 2): message role must be one of"),
        ("FROM x\nMESSAGE user", "(line 2): message role must be one of"),
        ("FROM x\nREQUIRES soon", "(line 2): REQUIRES takes a version (e.g. 0.14.0)"),
        ("FROM x\nREQUIRES 99.0", "(line 2): this model requires Ollama 99.0; Outpost speaks 0.32.7"),
        ("FROM x\nPARSER qwen3-coder", "(line 2): PARSER 'qwen3-coder' is code of Ollama's own"),
        ("FROM x\nRENDERER ", "(line 2): RENDERER '' is code of Ollama's own"),
        ("FROM x\nDRAFT a\nDRAFT b", "(line 3): too many DRAFT lines"),
        ("FROM x\nDRAFT x", "(line 2): DRAFT is the same file as FROM"),
        ("FROM x\nSYSTEM \ud800", "(line 2): it holds half a surrogate pair"),
        (b"FROM x\nSYSTEM \xff", "(line 2): the text is not UTF-8"),
        (codecs.BOM_UTF16_LE + b"F\0R", "(line 1): the text is not UTF-16-LE"),
        (b"GGUF\x03\0\0\0", "(line 1): it holds a NUL: this is no text file"),
        ("FROM x\n" * 10_001, "a Modelfile has at most 10000 lines"),
        ("FROM x\nPARAMETER stop x" + "\nPARAMETER stop x" * 16, "(line 18): at most 16 stop strings"),
        ("FROM x\n" * 65, "(line 65): too many FROM lines"),
        ("FROM " + "x" * 1024 * 1024, "a Modelfile has at most 1048576 bytes"),
        (b"FROM " + b"x" * 1024 * 1024, "a Modelfile has at most 1048576 bytes"),
    ],
)
def test_a_fault_is_told_with_its_line(text: str | bytes, message: str) -> None:
    assert message in fault(text)


@pytest.mark.parametrize("version", ["0.32.7", "v0.32.7", "0.32.7-rc1", "0.9.12", "0.32", "0"])
def test_older_and_equal_requirements_are_met(version: str) -> None:
    assert parse(f"FROM x\nREQUIRES {version}").requires == version.removeprefix("v")


@pytest.mark.parametrize("version", ["0.32.8", "0.33.0-rc1", "1", "v1.0.0", "0.100.0"])
def test_newer_requirements_are_refused(version: str) -> None:
    assert "requires Ollama" in fault(f"FROM x\nREQUIRES {version}")


def test_a_megabyte_of_open_quotes_is_read_once() -> None:
    lines = ('x"y\n' * 9_998).rstrip()
    assert "no line ends with" in fault('FROM x\nSYSTEM """' + lines)
    assert parse('FROM x\nSYSTEM """' + "y" * 1_000_000 + '"""').system == "y" * 1_000_000


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, *HOSTILE_DIGESTS])
def test_a_hostile_name_is_refused_or_kept_as_text_and_makes_no_odd_digest(name: str) -> None:
    try:
        (found,) = parse(f'FROM """{name}"""').from_
    except ModelfileInvalid:
        return
    assert found.text == name
    assert found.digest is None or re.fullmatch(r"sha256:[0-9a-f]{64}", found.digest)


@given(st.text() | st.binary() | st.text(alphabet='FROMfrom "\n\r\t#aPARAMETER"SYSTEM', max_size=200))
def test_any_text_gives_a_modelfile_or_a_typed_error(text: str | bytes) -> None:
    try:
        modelfile = parse(text)
    except ModelfileInvalid:
        return
    assert modelfile.from_
