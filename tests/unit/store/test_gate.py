"""What must hold before a name appears: roles, blame, quarantine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Final

import msgspec
import pytest

from appliance.errors import ModelInvalid
from appliance.gguf.values import ValueType
from appliance.store.content import unreported
from appliance.store.descriptor import Descriptor
from appliance.store.digest import Digest, digest_of, hex_of
from appliance.store.gate import likeness_of
from appliance.store.model import StoredModel
from appliance.store.store import ModelStore
from tests.fakes.artifacts import OLLAMA, Artifact
from tests.fakes.gguf_corpus import seeds
from tests.fakes.gguf_corpus.raw import RawGguf
from tests.fakes.model_files import FakeProbe, adapter, generator
from tests.fakes.stored_models import write_stick

W: Final = generator().read_bytes()
DRAFT: Final = generator(seed=2).read_bytes()
LORA: Final = adapter().read_bytes()
PROJECTOR: Final = seeds.projector().render()
SOUND: Final = {"adapter": LORA, "projector": PROJECTOR, "draft": DRAFT}
"""A good file for each role beside the weights'."""


@pytest.fixture
def bring(store: ModelStore, tmp_path: Path) -> Callable[..., None]:
    """Import a manifest that has these layers, as somebody else made it: (role, content)."""

    def bring_in(name: str, *layers: tuple[str, bytes]) -> None:
        artifact = Artifact()
        for role, content in layers:
            artifact.add(f"{OLLAMA}{role}", content)
        store.import_file(write_stick(tmp_path / f"stick-{name}", name, artifact), name, unreported)

    return bring_in


def quarantined(store: ModelStore) -> dict[str, str]:
    """Reasons by digest."""
    notes = [msgspec.json.decode(path.read_bytes()) for path in store.layout.places.quarantine.glob("*.json")]
    return {note["digest"]: note["reason"] for note in notes}


def names(store: ModelStore) -> list[str]:
    return sorted(row.name for row in store.list())


# ── likeness ────────────────────────────────────────────────────────────────────────────────────────


def blob(content: bytes) -> Descriptor:
    return Descriptor(media_type="x/y", digest=digest_of(content), size=len(content))


PLAIN: Final = StoredModel(weights=(blob(W),))
ALIKE: Final = {
    "weights alone": PLAIN,
    "second weights": StoredModel(weights=(blob(W), blob(b"P"))),
    "adapter": replace(PLAIN, adapters=(blob(b"P"),)),
    "projector": replace(PLAIN, projector=blob(b"P")),
    "draft": replace(PLAIN, draft=blob(b"P")),
    "template in Jinja": replace(PLAIN, template="P", template_kind="jinja"),
    "template in Go": replace(PLAIN, template="P", template_kind="go"),
    "small context": replace(PLAIN, params={"num_ctx": 8}),
    "large context": replace(PLAIN, params={"num_ctx": 2**24}),
    "small batch": replace(PLAIN, params={"num_batch": 8}),
}
"""Models that differ in the role of one thing."""


@pytest.mark.parametrize(("one", "other"), list(combinations(ALIKE, 2)))
def test_the_same_file_in_another_role_is_another_model(one: str, other: str) -> None:
    assert likeness_of(ALIKE[one], model="m") != likeness_of(ALIKE[other], model="m")


def test_what_no_runner_sees_makes_no_other_model() -> None:
    told = replace(PLAIN, system="be brief", licences=("x",), params={"temperature": 0.5, "stop": ("A",)})
    assert likeness_of(told, model="m") == likeness_of(PLAIN, model="m")


@pytest.mark.parametrize("first", SOUND)
@pytest.mark.parametrize("second", SOUND)
def test_a_file_let_in_as_one_thing_is_not_thereby_let_in_as_another(
    store: ModelStore, probe: FakeProbe, bring: Callable[..., None], first: str, second: str
) -> None:
    bring("first", ("model", W), (first, SOUND[first]))
    asked = len(probe.asked)
    if first == second:
        bring("second", ("model", W), (second, SOUND[first]))
        assert len(probe.asked) == asked
        return
    with pytest.raises(ModelInvalid, match="it is a GGUF of the kind"):
        bring("second", ("model", W), (second, SOUND[first]))
    assert names(store) == ["first:latest"]
    assert len(probe.asked) == asked
    assert not quarantined(store)


def test_weights_that_were_let_in_are_tried_again_as_somebodys_draft(
    probe: FakeProbe, bring: Callable[..., None]
) -> None:
    bring("first", ("model", DRAFT))
    bring("second", ("model", W), ("draft", DRAFT))
    assert [request.draft is None for request in probe.asked] == [True, False]


def test_a_model_is_tried_in_its_own_placement(store: ModelStore, probe: FakeProbe) -> None:
    store.import_file(generator(), "tiny", unreported)
    store.create("small", "FROM tiny\nPARAMETER num_ctx 8\nPARAMETER num_batch 1", unreported)
    store.create("again", "FROM small\nPARAMETER temperature 1", unreported)
    assert [dict(request.placement) for request in probe.asked] == [{}, {"n_ctx_seq": 8, "n_ubatch": 1}]


# ── blame ───────────────────────────────────────────────────────────────────────────────────────────


def refused(bring: Callable[..., None], *layers: tuple[str, bytes]) -> str:
    with pytest.raises(ModelInvalid) as caught:
        bring("bad", *layers)
    return str(caught.value.fields["reason"])


@pytest.mark.parametrize(
    ("bad", "layers"),
    [
        (LORA, [("model", W), ("adapter", LORA)]),
        (LORA, [("model", W), ("adapter", seeds.adapter().render()), ("adapter", LORA), ("draft", DRAFT)]),
        (DRAFT, [("model", W), ("adapter", LORA), ("draft", DRAFT)]),
        (W, [("model", W), ("adapter", LORA), ("draft", DRAFT)]),
        (W, [("model", W), ("params", b'{"num_ctx":64}')]),
        (W, [("model", W)]),
    ],
)
def test_the_file_that_the_probe_cannot_stand_is_quarantined_alone(
    store: ModelStore,
    probe: FakeProbe,
    bring: Callable[..., None],
    bad: bytes,
    layers: list[tuple[str, bytes]],
) -> None:
    probe.faults[hex_of(digest_of(bad))] = "its logits are not finite"
    assert refused(bring, *layers) == "its logits are not finite"
    assert quarantined(store) == {digest_of(bad): "its logits are not finite"}
    assert not names(store)


def test_sound_files_stay_where_only_the_placement_is_at_fault(
    store: ModelStore, probe: FakeProbe, bring: Callable[..., None]
) -> None:
    probe.placement_fault = "no context of 1 x 16777216 tokens"
    assert "16777216" in refused(bring, ("model", W), ("adapter", LORA), ("params", b'{"num_ctx":16777216}'))
    assert not quarantined(store)
    bring("good", ("model", W), ("adapter", LORA))


def forged(raw: RawGguf, tensor: int = 0) -> bytes:
    raw.tensors[tensor].type = 26
    return raw.render()


@pytest.mark.parametrize(
    ("role", "bad"),
    [
        ("adapter", forged(seeds.adapter())),
        ("projector", forged(seeds.projector())),
        ("draft", forged(seeds.generator())),
        ("draft", b"state of some session"),
    ],
)
def test_the_companion_that_the_static_check_refuses_is_quarantined_alone(
    store: ModelStore, probe: FakeProbe, bring: Callable[..., None], role: str, bad: bytes
) -> None:
    reason = refused(bring, ("model", W), (role, bad))
    assert quarantined(store) == {digest_of(bad): reason}
    assert not probe.asked


def split(number: int) -> RawGguf:
    raw = seeds.generator()
    tensors = raw.tensors[:4] if number == 0 else raw.tensors[4:]
    raw = raw if number == 0 else RawGguf()
    raw.tensors = tensors
    raw.add("split.no", ValueType.UINT16, number).add("split.count", ValueType.UINT16, 2)
    return raw.add("split.tensors.count", ValueType.INT32, len(seeds.generator().tensors))


def test_the_split_that_is_damaged_is_quarantined_alone(
    store: ModelStore, bring: Callable[..., None]
) -> None:
    good, bad = split(0).render(), split(1).render()[:-64]
    reason = refused(bring, ("model", good), ("model", bad))
    assert reason.startswith("split 2: the file ends")
    assert quarantined(store) == {digest_of(bad): reason}


def test_splits_that_do_not_belong_together_are_at_fault_as_a_whole(
    store: ModelStore, bring: Callable[..., None]
) -> None:
    good, bad = split(0).render(), split(0).render() + b"tail"
    refused(bring, ("model", good), ("model", bad))
    assert quarantined(store).keys() == {digest_of(good), digest_of(bad)}


def test_what_another_verb_is_about_to_name_is_left_to_it(
    store: ModelStore, probe: FakeProbe, bring: Callable[..., None]
) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store.layout.hold([digest_of(W)]):
            held.set()
            done.wait(10)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(10)
    probe.faults[hex_of(digest_of(W))] = "its logits are not finite"
    refused(bring, ("model", W))
    assert not quarantined(store)
    done.set()
    other.join()
    with pytest.raises(ModelInvalid):
        bring("again", ("model", W))
    assert quarantined(store).keys() == {digest_of(W)}


def test_what_has_got_a_name_meanwhile_stays(store: ModelStore) -> None:
    store.import_file(generator(), "tiny", unreported)
    asked: list[Digest] = []

    def needed() -> set[Digest]:
        asked.append(digest_of(W))
        return {digest_of(W)}

    store.layout.put_away(digest_of(W), "x", needed=needed)
    assert asked
    assert not quarantined(store)
    assert store.list()[0].broken is None
