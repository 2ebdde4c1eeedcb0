from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from appliance.errors import ModelfileInvalid
from appliance.modelfile import Message, Modelfile, Source, parse, render
from appliance.modelfile.compatibility import SPOKEN

TEXTS = st.text(
    alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufffe")
    | st.sampled_from('"\n\r #'),
    max_size=40,
)
SOURCES = st.builds(
    lambda text: Source(text=text),
    st.text(alphabet=st.characters(categories=["L", "N", "P", "Zs"]), min_size=1, max_size=20).filter(
        str.isprintable
    ),
)
NUMBERS = st.one_of(
    st.tuples(st.just("temperature"), st.floats(0, 5)),
    st.tuples(st.just("top_k"), st.integers(0, 1_000_000)),
    st.tuples(st.just("use_mmap"), st.booleans()),
    st.tuples(st.just("seed"), st.integers(-(1 << 63), (1 << 63) - 1)),
)
STOPS = st.tuples(st.just("stop"), TEXTS.filter(bool))


@st.composite
def modelfiles(draw: st.DrawFn) -> Modelfile:
    from_ = draw(st.lists(SOURCES, min_size=1, max_size=3))
    numbers: list[Any] = draw(st.lists(NUMBERS, unique_by=lambda row: row[0]))
    stops: list[Any] = draw(st.lists(STOPS, max_size=3))
    return Modelfile(
        from_=tuple(from_),
        adapters=tuple(draw(st.lists(SOURCES, max_size=2))),
        parameters=tuple(numbers + stops),
        template=draw(st.none() | TEXTS),
        system=draw(st.none() | TEXTS),
        messages=tuple(
            draw(
                st.lists(
                    st.builds(
                        lambda role, content: Message(role=role, content=content),
                        st.sampled_from(["system", "user", "assistant"]),
                        TEXTS,
                    ),
                    max_size=2,
                )
            )
        ),
        licences=tuple(draw(st.lists(TEXTS, max_size=2))),
        requires=draw(st.none() | st.sampled_from(["0.1.2", "0.14.0-rc1"])),
        draft=draw(st.none() | SOURCES.filter(lambda source: source not in from_)),
        renderer=draw(st.none() | st.sampled_from(sorted(SPOKEN))),
        parser=draw(st.none() | st.sampled_from(sorted(SPOKEN))),
    )


@given(modelfiles())
def test_what_is_printed_is_read_back_as_the_same(modelfile: Modelfile) -> None:
    try:
        text = render(modelfile)
    except ModelfileInvalid:
        assume(False)  # a text that no Modelfile can hold; the test below says which
        raise
    assert parse(text) == modelfile
    assert parse(text.encode()) == modelfile


def test_values_stand_in_the_least_quotes() -> None:
    modelfile = Modelfile(
        from_=(Source(text="llama3.2:1b"), Source(text="./my model.gguf")),
        parameters=(("temperature", 1.0), ("use_mmap", False), ("stop", "\n"), ("stop", " User:")),
        template="{{ .Prompt }}\n",
        system='He said "no".\nTwice.',
        messages=(Message(role="user", content='"quoted" first'),),
        licences=('a "b"\nc',),
        requires="0.1.0",
    )
    assert render(modelfile) == (
        "FROM llama3.2:1b\n"
        "FROM ./my model.gguf\n"
        'TEMPLATE "{{ .Prompt }}\n"\n'
        'SYSTEM "He said "no".\nTwice."\n'
        "PARAMETER temperature 1\n"
        "PARAMETER use_mmap false\n"
        'PARAMETER stop "\n"\n'
        'PARAMETER stop " User:"\n'
        'MESSAGE user ""quoted" first"\n'
        "REQUIRES 0.1.0\n"
        'LICENSE """a "b"\nc"""\n'
    )


def test_a_text_that_no_quotes_can_hold_is_refused() -> None:
    with pytest.raises(ModelfileInvalid, match='one of its lines ends with """'):
        render(Modelfile(from_=(Source(text="x"),), system='print("""\nhi\n""")'))
    assert 'SYSTEM print(""")' in render(Modelfile(from_=(Source(text="x"),), system='print(""")'))
