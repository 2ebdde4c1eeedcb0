from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import InvalidReference
from appliance.store.digest import Digest
from appliance.store.reference import DEFAULT_HOST, Reference, parse_reference
from tests.fakes.hostile_names import HEX, HOSTILE_NAMES

# OCI distribution-spec 1.1, "Pulling manifests", word for word.
OCI_NAME = re.compile(
    r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*",
)
OCI_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
DIGEST = Digest("sha256:" + HEX)


def reference(
    host: str, namespace: str, model: str, tag: str = "latest", digest: Digest | None = None
) -> Reference:
    return Reference(host=host, namespace=namespace, model=model, tag=tag, digest=digest)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smollm2", reference(DEFAULT_HOST, "library", "smollm2")),
        ("smollm2:135m", reference(DEFAULT_HOST, "library", "smollm2", "135m")),
        ("library/smollm2", reference(DEFAULT_HOST, "library", "smollm2")),
        ("alice/SmolLM2:Q4_1", reference(DEFAULT_HOST, "alice", "SmolLM2", "Q4_1")),
        ("example/alice/model", reference("example", "alice", "model")),
        ("hf.co/alice/Some.Model-GGUF:Q4_K_M", reference("hf.co", "alice", "Some.Model-GGUF", "Q4_K_M")),
        ("h.example/a/b.c/d__e/model:v1", reference("h.example", "a/b.c/d__e", "model", "v1")),
        ("localhost:5000/model", reference("localhost:5000", "", "model")),
        ("localhost/model", reference("localhost", "", "model")),
        ("registry.example/model:1", reference("registry.example", "", "model", "1")),
        ("127.0.0.1:5000/a/model", reference("127.0.0.1:5000", "a", "model")),
        ("model:5000", reference(DEFAULT_HOST, "library", "model", "5000")),
        (f"model@{DIGEST}", reference(DEFAULT_HOST, "library", "model", digest=DIGEST)),
        (f"h.example/a/model:t@{DIGEST}", reference("h.example", "a", "model", "t", DIGEST)),
        ("a" * 80 + ":" + "t" * 80, reference(DEFAULT_HOST, "library", "a" * 80, "t" * 80)),
        ("h" * 350 + "/a/model", reference("h" * 350, "a", "model")),
        ("model:_tag", reference(DEFAULT_HOST, "library", "model", "_tag")),
        ("model:latest.", reference(DEFAULT_HOST, "library", "model", "latest.")),
    ],
)
def test_names_are_read_as_ollama_and_oci_read_them(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected


def test_the_corpus_holds_at_least_200_different_names() -> None:
    assert len(set(HOSTILE_NAMES)) == len(HOSTILE_NAMES) >= 200


@pytest.mark.parametrize("text", HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
def test_a_hostile_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse_reference(text)
    assert len(caught.value.message) < 2_600  # a million characters do not come back in the answer


@pytest.mark.parametrize(
    ("text", "display"),
    [
        ("smollm2", "smollm2:latest"),
        ("library/smollm2:135m", "smollm2:135m"),
        ("alice/smollm2", "alice/smollm2:latest"),
        ("h.example/library/smollm2", "h.example/library/smollm2:latest"),
        ("h.example/smollm2", "h.example/smollm2:latest"),
        (DEFAULT_HOST + "/a.b/smollm2", DEFAULT_HOST + "/a.b/smollm2:latest"),
        (DEFAULT_HOST + "/a/b/smollm2", DEFAULT_HOST + "/a/b/smollm2:latest"),
        (DEFAULT_HOST + "/smollm2", "smollm2:latest"),
        ("a.example/b/c", "a.example/b/c:latest"),
        (f"smollm2@{DIGEST}", f"smollm2:latest@{DIGEST}"),
    ],
)
def test_the_display_is_the_shortest_form_that_reads_back(text: str, display: str) -> None:
    assert parse_reference(text).display == display
    assert parse_reference(display) == parse_reference(text)


def test_case_is_kept_but_folded_to_compare_and_for_oci() -> None:
    written = parse_reference("HF.co/Alice/SmolLM2-GGUF:Q4_K_M")
    assert written.name == "HF.co/Alice/SmolLM2-GGUF:Q4_K_M"
    assert written.path == "Alice/SmolLM2-GGUF"
    assert written.repository == "alice/smollm2-gguf"
    assert written.key == parse_reference("hf.co/alice/smollm2-gguf:q4_k_m").key


def test_a_digest_pins_the_content_and_does_not_rename_it() -> None:
    pinned = parse_reference("model").with_digest(DIGEST)
    assert pinned.key == parse_reference("model").key
    assert pinned.with_digest(None) == parse_reference("model")


def test_another_tag_drops_the_digest_and_is_checked() -> None:
    pinned = parse_reference(f"model@{DIGEST}")
    assert pinned.with_tag("v2") == parse_reference("model:v2")
    with pytest.raises(InvalidReference):
        pinned.with_tag("../x")


@pytest.mark.parametrize("scheme", ["http://", "https://"])
def test_a_scheme_is_read_over_only_where_it_is_asked_for(scheme: str) -> None:
    assert parse_reference(f"{scheme}h.example/a/model", allow_scheme=True) == parse_reference(
        "h.example/a/model"
    )
    with pytest.raises(InvalidReference):
        parse_reference(f"{scheme}h.example/a/model")


@pytest.mark.parametrize(
    "text",
    ["https://model", "https://alice/model", "http://", "http://http://h.example/a/b", "ftp://h.example/a/b"],
)
def test_after_a_scheme_comes_a_host(text: str) -> None:
    with pytest.raises(InvalidReference):
        parse_reference(text, allow_scheme=True)


LETTERS = string.ascii_letters + string.digits


def joined(words: st.SearchStrategy[str], separators: list[str], most: int) -> st.SearchStrategy[str]:
    """Words with something between them: what is accepted, and some that has too much between."""
    more = st.lists(st.tuples(st.sampled_from(separators), words).map("".join), max_size=most)
    return st.tuples(words, more.map("".join)).map("".join)


WORD = st.text(LETTERS, min_size=1, max_size=9)
LEVEL = joined(WORD, [".", "_", "__", "-", "---", "._"], 4)
HOST = st.tuples(
    joined(WORD, [".", "-", "_", ".."], 3), st.sampled_from(["", ":80", ":65535", ":65536"])
).map("".join)
TAG = st.text(LETTERS + "_-.", min_size=1, max_size=20)
NAMES = st.builds(
    lambda host, levels, tag, pin: "/".join([*host, *levels]) + tag + pin,
    st.lists(HOST, max_size=1),
    st.lists(LEVEL, min_size=1, max_size=4),
    st.one_of(st.just(""), TAG.map(lambda tag: ":" + tag)),
    st.sampled_from(["", f"@{DIGEST}"]),
)


def is_at_home_in_oci(named: Reference) -> bool:
    return bool(
        OCI_NAME.fullmatch(named.repository) and OCI_TAG.fullmatch(named.tag) and len(named.repository) <= 255
    )


@given(NAMES)
def test_every_accepted_name_is_at_home_in_oci_and_reads_back(text: str) -> None:
    try:
        named = parse_reference(text)
    except InvalidReference:
        return
    assert is_at_home_in_oci(named)
    assert parse_reference(named.name) == named
    assert parse_reference(named.display) == named
    assert parse_reference(named.name.lower()).key == named.key


@given(st.text(alphabet=st.characters(codec=None), max_size=60) | st.text("aA0._-/:@ \n\0%é", max_size=40))
def test_any_text_is_a_name_at_home_in_oci_or_is_refused(text: str) -> None:
    try:
        named = parse_reference(text)
    except InvalidReference:
        return
    assert is_at_home_in_oci(named)
    assert parse_reference(named.name) == named
    assert named.name.isascii()
    assert ".." not in named.name
