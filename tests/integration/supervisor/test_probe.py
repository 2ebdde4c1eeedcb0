"""The probe over real runners and real llama.cpp: what passes, what does not, and who is blamed."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from gguf import PoolingType

from appliance.daemon.own_wishes import placed
from appliance.errors import ClientGone, ModelInvalid, RunnerStartFailed, ShuttingDown, TemplateInvalid
from appliance.modelfile import engine_settings
from appliance.supervisor.policy import RunnerPolicy
from appliance.supervisor.probe import PROBE_PLACEMENT, Probe, ProbeRequest, ProbeResult
from appliance.wire.messages import Placement
from tests.fakes.damaged_gguf import split_in_two, with_integer_weight, with_nan_weights
from tests.fakes.tiny_gguf import Shape, write_adapter, write_embedder, write_encoder, write_generator
from tests.integration.supervisor.conftest import FAKE_RUNNER, QUICK, eventually

pytestmark = [pytest.mark.alone, pytest.mark.integration]

SHARED = "m = mmap.mmap(-1, 400 << 20)"
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.fixture(autouse=True)
def _no_runner_is_left_behind() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


def probed(*paths: Path, **fields: Any) -> ProbeResult:
    return Probe(RunnerPolicy())(ProbeRequest(model="m", paths=paths, **fields))


def refused(*paths: Path, **fields: Any) -> str:
    with pytest.raises(ModelInvalid) as caught:
        probed(*paths, **fields)
    return str(caught.value.fields["reason"])


def test_a_good_model_passes_and_tells_its_facts(tiny_model: Path) -> None:
    result = probed(tiny_model)
    assert result.template_error is None
    assert result.facts.generates
    assert result.facts.n_ctx_seq == 256
    assert result.peak_rss_bytes > 0


def test_a_model_with_adapter_and_draft_passes(tiny_model: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "lora.gguf")
    draft = write_generator(tmp_path / "draft.gguf", seed=2)
    assert probed(tiny_model, adapters=(adapter,), draft=draft).template_error is None


@pytest.mark.parametrize("pooling", [PoolingType.MEAN, PoolingType.RANK])
def test_models_that_pool_pass(tmp_path: Path, pooling: PoolingType) -> None:
    assert probed(write_encoder(tmp_path / "e.gguf", pooling=pooling)).facts.pooling == pooling.name.lower()


def test_a_causal_embedder_passes(tmp_path: Path) -> None:
    assert not probed(write_embedder(tmp_path / "e.gguf", pooling=PoolingType.LAST)).facts.generates


def test_a_split_model_passes_under_any_names(tiny_model: Path, tmp_path: Path) -> None:
    first, second = split_in_two(tiny_model, tmp_path / "aaa", tmp_path / "bbb")
    assert probed(first, second).facts.n_params == probed(tiny_model).facts.n_params


def test_a_split_model_with_a_part_missing_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    first, _ = split_in_two(tiny_model, tmp_path / "aaa", tmp_path / "bbb")
    assert refused(first)


def test_weights_that_are_not_numbers_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    assert "not finite" in refused(with_nan_weights(tiny_model, tmp_path / "nan.gguf"))


def test_an_encoder_of_weights_that_are_not_numbers_is_refused(tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "e.gguf", pooling=PoolingType.MEAN)
    assert "not finite" in refused(with_nan_weights(encoder, tmp_path / "nan.gguf"))


def test_an_adapter_of_weights_that_are_not_numbers_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    adapter = with_nan_weights(write_adapter(tmp_path / "lora.gguf"), tmp_path / "nan.gguf")
    assert refused(tiny_model, adapters=(adapter,))


def test_an_integer_weight_kills_the_runner_and_is_refused_with_the_signal(
    tiny_model: Path, tmp_path: Path
) -> None:
    assert "SIGSEGV" in refused(with_integer_weight(tiny_model, tmp_path / "int.gguf"))


def test_garbage_behind_a_good_header_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "garbage.gguf"
    path.write_bytes(tiny_model.read_bytes()[:24] + b"\xff" * 10_000)
    assert refused(path)


def test_a_file_that_is_none_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("<html>not found, sorry</html>")
    assert "no GGUF file" in refused(tmp_path / "text.gguf")
    assert "no such file" in refused(tmp_path / "none.gguf")


def test_an_endless_template_of_the_file_is_told_and_not_fatal(tmp_path: Path) -> None:
    result = probed(write_generator(tmp_path / "m.gguf", chat_template=ENDLESS))
    assert result.template_error is not None
    assert "takes over" in result.template_error


@pytest.mark.parametrize("template", [ENDLESS, "{{ nonsense", "{{ raise_exception('no') }}"])
def test_a_template_that_was_given_must_work(tiny_model: Path, template: str) -> None:
    """The weights are not to blame: nothing but this template is refused."""
    with pytest.raises(TemplateInvalid):
        probed(tiny_model, template=template)


def test_a_template_that_was_given_replaces_the_files_own(tmp_path: Path) -> None:
    path = write_generator(tmp_path / "m.gguf", chat_template="{{ nonsense")
    assert probed(path).template_error is not None
    assert probed(path, template="{{ messages[0].content }}").template_error is None


SMALLEST, LARGEST = 4, 1 << 24
"""Of `PARAMETER num_ctx`; of `num_batch` 1 and 65,536."""


def wished(**options: int) -> Placement:
    """As the store's models are tried (`daemon/model_store.py`)."""
    return placed(PROBE_PLACEMENT, engine_settings(options).placement)


@pytest.mark.parametrize("num_batch", [1, 1 << 16])
@pytest.mark.parametrize("num_ctx", [SMALLEST, LARGEST])
def test_the_extremes_of_placement_kill_no_runner(tmp_path: Path, num_ctx: int, num_batch: int) -> None:
    placement = wished(num_ctx=num_ctx, num_batch=num_batch)
    generator = write_generator(tmp_path / "generator.gguf")
    draft = write_generator(tmp_path / "draft.gguf", seed=2, shape=Shape(n_ctx_train=32))
    assert probed(generator, draft=draft, placement=placement).facts.n_ctx_seq == max(8, min(num_ctx, 2048))
    embedder = write_embedder(tmp_path / "embedder.gguf", pooling=PoolingType.LAST)
    encoder = write_encoder(tmp_path / "encoder.gguf", pooling=PoolingType.MEAN)
    assert not probed(embedder, placement=placement).facts.generates
    assert not probed(encoder, placement=placement).facts.generates


def test_a_large_context_that_the_model_was_made_for_has_its_room(tmp_path: Path) -> None:
    path = write_generator(tmp_path / "m.gguf", shape=Shape(n_ctx_train=1 << 26))
    assert probed(path, placement=wished(num_ctx=1 << 20, num_batch=512)).facts.n_ctx_seq == 1 << 20


def test_a_context_that_no_board_has_is_refused_with_a_size(tmp_path: Path) -> None:
    """Of a model that pools: one pass must hold the whole context. The watch, or llama.cpp, is the first."""
    shape = Shape(n_ctx_train=1 << 26)
    path = write_embedder(tmp_path / "m.gguf", pooling=PoolingType.LAST, shape=shape)
    reason = refused(path, placement=wished(num_ctx=LARGEST))
    assert "no context of 1 x 16777216 tokens" in reason or "bytes of memory" in reason


# ── with the fake engine: what a model does to time and to its process ──────────────────────────────────────


def fake_probe() -> Probe:
    return Probe(replace(QUICK, sandbox="off"), command=FAKE_RUNNER)


def test_a_load_that_hangs_ends_at_the_deadline(model: Callable[..., Path]) -> None:
    began_s = time.monotonic()
    with pytest.raises(ModelInvalid, match="did not answer within 1 s"):
        fake_probe()(ProbeRequest(model="m", paths=(model(load_s=30.0),), timeout_s=1.0))
    assert time.monotonic() - began_s < 3.0


@pytest.mark.parametrize("how", ["abort", "segv"])
def test_a_crash_in_the_load_is_the_models_fault(model: Callable[..., Path], how: str) -> None:
    with pytest.raises(ModelInvalid, match="SIG"):
        fake_probe()(ProbeRequest(model="m", paths=(model(load_crash=how),)))


def test_kill_9_from_outside_ends_the_probe_at_once(model: Callable[..., Path]) -> None:
    faults: list[Exception] = []

    def run() -> None:
        try:
            fake_probe()(ProbeRequest(model="m", paths=(model(load_s=30.0),)))
        except ModelInvalid as error:
            faults.append(error)

    before = set(psutil.Process().children())
    thread = threading.Thread(target=run)
    thread.start()
    eventually(lambda: bool(set(psutil.Process().children()) - before))
    (child,) = set(psutil.Process().children()) - before
    time.sleep(0.3)
    child.send_signal(signal.SIGKILL)
    thread.join(5.0)
    assert "SIGKILL" in str(faults[0])


PRIVATE = "mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS"
"""Never touched, so that the watch has nothing to see before the kernel says no."""


@pytest.mark.parametrize(
    ("hog", "reason"),
    [
        ("b'x' * (400 << 20)", "MemoryError"),
        (f"{SHARED}\nfor _ in range(4): m.write(b'x' * (100 << 20))\ntime.sleep(30)", "bytes of memory"),
        (f"kept = [mmap.mmap(-1, 1 << 20, flags={PRIVATE}) for _ in range(400)]", "Cannot allocate memory"),
    ],
    ids=["at once", "shared pages", "bit by bit"],
)
def test_more_memory_than_declared_is_refused(model: Callable[..., Path], hog: str, reason: str) -> None:
    """Private pages are bounded by the kernel; what that does not count is seen by the watch."""
    command = (sys.executable, "-c", f"import mmap, time\n{hog}")
    probe = Probe(QUICK, command=command)
    with pytest.raises(ModelInvalid, match=reason):
        probe(ProbeRequest(model="m", paths=(model(),), memory_limit_bytes=200 * 1024 * 1024))


def test_a_caller_who_leaves_ends_it(model: Callable[..., Path]) -> None:
    left = threading.Event()
    threading.Timer(0.4, left.set).start()
    with pytest.raises(ClientGone):
        fake_probe()(ProbeRequest(model="m", paths=(model(load_s=30.0),)), gone=left.is_set)


def test_closing_ends_the_one_that_runs_and_the_one_that_waits(model: Callable[..., Path]) -> None:
    probe, request = fake_probe(), ProbeRequest(model="m", paths=(model(load_s=30.0),))
    ends: list[str] = []

    def run() -> None:
        try:
            probe(request)
        except ShuttingDown:
            ends.append("shutting down")

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    probe.close()
    for thread in threads:
        thread.join(5.0)
    assert ends == ["shutting down"] * 2


def test_a_sandbox_that_cannot_be_had_is_not_the_models_fault(model: Callable[..., Path]) -> None:
    command = (sys.executable, str(Path(__file__).parents[2] / "fakes" / "runner_without_landlock.py"))
    probe = Probe(replace(QUICK, sandbox="strict"), command=command)
    with pytest.raises(RunnerStartFailed, match="sandbox is strict"):
        probe(ProbeRequest(model="m", paths=(model(),)))
