"""Every grammar we let through is one that llama.cpp takes, at once; every hostile one is refused first.

llama.cpp runs in a child, which must outlive the whole set.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from appliance.engine.constraint import compile_constraint
from appliance.engine.gbnf_check import check_gbnf
from appliance.engine.template_format import ReasoningTags, ToolFormat
from appliance.errors import InvalidRequest
from appliance.wire.messages import ChatPrompt, Constraint, ConstraintKind, ToolChoice

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

DECIDED_WITHIN_S = 2.0

CHILD = """
import ctypes, json, sys, time
import llama_cpp
llama_cpp.llama_log_set(ctypes.cast(None, llama_cpp.llama_log_callback), ctypes.c_void_p(0))
for line in sys.stdin:
    start = time.monotonic()
    sampler = llama_cpp.llama_sampler_init_grammar(None, json.loads(line).encode(), b"root")
    if sampler:
        llama_cpp.llama_sampler_free(sampler)
    print(json.dumps([bool(sampler), time.monotonic() - start]), flush=True)
"""

HOSTILE = {
    "left recursion": 'root ::= root "a" | "b"',
    "mutual recursion": 'root ::= a "x"\na ::= root "y" | "z"',
    "left recursion through what may be empty": 'root ::= f root "x" | "y"\nf ::= e\ne ::= "a"?',
    "undefined rule": "root ::= foo",
    "missing root": 'foo ::= "a"',
    "no rule": "",
    "repetition over the limit": 'root ::= "a"{3000}',
    "nested repetition over the limit": 'root ::= (("a" | "b"){0,100}){100}',
    "repetition beyond 64 bits": 'root ::= "a"{99999999999999999999}',
    "repetition silently unlimited": 'root ::= "a"{1,2001}',
    "repetition backwards": 'root ::= "a"{5,2}',
    "repetition of nothing": 'root ::= ""*',
    "repetition of much": 'root ::= "' + "a" * 15_000 + '"{2000}',
    "deep parentheses": "root ::= " + "(" * 100_000 + '"a"' + ")" * 100_000,
    "parentheses inside the size limit": "root ::= " + "(" * 8_000 + '"a"' + ")" * 8_000,
    "many alternatives": "root ::= " + " | ".join(f'"{number}"' for number in range(100_000)),
    "long chain": "root ::= r0\n"
    + "\n".join(f"r{n} ::= r{n + 1}" for n in range(50_000))
    + '\nr50000 ::= "a"',
    "exponential start": "root ::= r0\n"
    + "\n".join(f'r{n} ::= r{n + 1} "a" | r{n + 1} "b"' for n in range(30))
    + '\nr30 ::= "x"',
    "exponential reading": 'root ::= "x" root "y" | "x" root "z" | "w"',
    "exponential reading, later": 'root ::= "q" s\ns ::= "a" "b" s "y" | "a" "b" s "z" | "c"',
    "exponential reading, skipping": 'root ::= "x" (root "y")? root "z" | "w"',
    "exponential without recursion": "root ::= r0\n"
    + "\n".join(f'r{n} ::= "x" r{n + 1} "y" | "x" r{n + 1} "z"' for n in range(30))
    + '\nr30 ::= "x"',
    "optional after optional": "root ::= " + " ".join(["[a-z]?"] * 1_500),
    "exponential reading among decoys": "root ::= b\n"
    'b ::= "x" b "y" | "x" b "z" | "w"\n' + "".join(f'd{n} ::= "q" d{n} "y" | "w"\n' for n in range(400)),
    "exponential reading in long steps": f'root ::= b\nb ::= "{"x" * 16}" b "y" | "{"x" * 16}" b "z" | "w"',
    "exponential reading after a long beginning": f'root ::= "{"q" * 70}" b\n'
    'b ::= "x" b "y" | "x" b "z" | "w"',
    "NUL": 'root ::= "a"\0"b"',
    "lone surrogate": 'root ::= "\ud800"',
    "defined twice": 'root ::= "a"\nroot ::= "b"',
    "empty class": "root ::= []",
    "token id too large": "root ::= <[99999999999999999999]>",
    "token not closed": "root ::= <think",
    "unfinished literal": 'root ::= "a',
    "unfinished class": "root ::= [a-",
    "unknown escape": 'root ::= "\\q"',
    "short hex": 'root ::= "\\x4"',
    "no arrow": 'root = "a"',
    "stray parenthesis": 'root ::= "a")',
}

GOOD = {
    "list": 'root ::= item+\nitem ::= "- " [^\\n]+ "\\n"',
    "arithmetic": 'root ::= (expr "=" ws term "\\n")+\nexpr ::= term ([-+*/] term)*\n'
    'term ::= ident | num | "(" ws expr ")" ws\nident ::= [a-z] [a-z0-9_]* ws\n'
    "num ::= [0-9]+ ws\nws ::= [ \\t\\n]*",
    "nested repetition inside the limit": 'root ::= ("a"{40}){40}',
    "bounds": 'root ::= "a"{0} [b-d]{2,} ("e" | "f"){1,3} .{0,5} # a comment\n',
    "lines inside parentheses": 'root ::= (\n  "a" |\n  "b"\n)\n',
    "classes and escapes": 'root ::= [^\\x00-\\x1F"\\\\] "\\u00e9\\U0001F600é" [\\]\\-\\[]',
    "hundred and ninety parentheses": "root ::= " + "(" * 190 + '"a"' + ")" * 190,
    "token by id": "root ::= <[17]> !<[18]>*",
    "chain": "root ::= r0\n" + "\n".join(f"r{n} ::= r{n + 1}" for n in range(500)) + '\nr500 ::= "a"',
}

PERSON: dict[str, Any] = {
    "$defs": {"string": {"type": "integer", "minimum": -5, "maximum": 99}},
    "type": "object",
    "properties": {
        'quote"back\\slash': {"type": "string", "minLength": 3, "maxLength": 2500},
        "é😀\n": {"enum": ['a"b', "c\\d", None, 1.5, {"k": ["v"]}]},
        "ref": {"$ref": "#/$defs/string"},
        "list": {"type": "array", "items": {"type": ["string", "null"]}, "minItems": 2, "maxItems": 300},
        "free": True,
        "map": {"type": "object", "additionalProperties": {"type": "number", "exclusiveMinimum": 0}},
        "when": {"type": "string", "format": "date-time"},
        "nested": {"type": "string", "pattern": "^(([a-z]+\\.)+[a-z]{2,30}){1,9}$"},
        "code": {"type": "string", "pattern": '^[A-Z]{2}-(\\d{4}|x"y)$'},
        "pair": {"type": "array", "prefixItems": [{"type": "boolean"}, {"const": "x"}]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "object", "properties": {"a": {"type": "null"}}}]},
    },
    "required": ["ref", "code", "list"],
}
WIDE: dict[str, Any] = {
    "type": "object",
    "properties": {f"property_{n}": {"type": "string", "maxLength": 2_000} for n in range(300)},
}
ENUM: dict[str, Any] = {"enum": [f"value {number}" for number in range(1_000)]}


def generated() -> dict[str, str]:
    tools = [{"type": "function", "function": {"name": f"tool_{n}", "parameters": PERSON}} for n in range(3)]
    chat = ChatPrompt(messages=[], tools=tools, tool_choice=ToolChoice.REQUIRED)
    grammars = {}
    for name, schema in (("person", PERSON), ("wide", WIDE), ("enum", ENUM), ("anything", {})):
        compiled = compile_constraint(Constraint(kind=ConstraintKind.JSON_SCHEMA, schema=schema), None)
        assert compiled is not None
        grammars[name] = compiled.gbnf
    for tool_format in ToolFormat:
        for opened in (False, True):
            compiled = compile_constraint(
                None, chat, tool_format, reasoning=ReasoningTags("<think>", "</think>"), reasoning_open=opened
            )
            assert compiled is not None
            grammars[f"{tool_format} {opened}"] = compiled.gbnf
    return grammars


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_grammar_is_refused_in_time(name: str) -> None:
    start = time.monotonic()
    with pytest.raises(InvalidRequest) as refused:
        check_gbnf(HOSTILE[name])
    assert time.monotonic() - start < DECIDED_WITHIN_S
    assert refused.value.param == "grammar"


def test_llama_cpp_takes_every_grammar_we_let_through() -> None:
    grammars = {**GOOD, **generated()}
    for gbnf in GOOD.values():
        check_gbnf(gbnf)
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        input="".join(json.dumps(gbnf) + "\n" for gbnf in grammars.values()),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=Path.cwd(),
    )
    assert child.returncode == 0, child.stderr[-2000:]
    verdicts = dict(zip(grammars, map(json.loads, child.stdout.splitlines()), strict=True))
    assert [name for name, (taken, _) in verdicts.items() if not taken] == []
    assert max(seconds for _, seconds in verdicts.values()) < DECIDED_WITHIN_S
