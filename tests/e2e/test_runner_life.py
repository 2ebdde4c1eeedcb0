"""Real runners under a real supervisor, with tiny models: from spawn to answer, every way to die, and what
comes back afterwards. No HTTP.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from appliance.errors import ModelInvalid, RunnerDied
from appliance.runner import landlock
from appliance.supervisor.policy import ModelSpec, RunnerPolicy
from appliance.supervisor.process import RUNNER_COMMAND
from appliance.supervisor.supervisor import Supervisor
from appliance.supervisor.turn import Asker
from appliance.wire.messages import (
    ChatPrompt,
    Delta,
    EngineSettings,
    FinishReason,
    Generate,
    Placement,
    SamplingParams,
    TextPrompt,
    Tokenize,
)
from tests.fakes import tiny_gguf
from tests.integration.supervisor.conftest import MakeSupervisor, eventually, supervise

__all__ = ["supervise"]

POLICY = RunnerPolicy(
    heartbeat_timeout_s=10.0, load_timeout_s=60.0, stop_timeout_s=3.0, backoff_s=0.05, sandbox="auto"
)
PLACEMENT = Placement(n_ctx_seq=2048, n_seq_max=4, kv_cells=8192)
HEAVY = tiny_gguf.Shape(n_layer=6, n_embd=512, n_head=8, n_head_kv=8, n_ff=2048, n_ctx_train=8192)
"""Some 100 MB and some dozens of tokens a second: enough to be weighed, and to be killed in mid-stream."""
HEAVY_BYTES = 80 * 2**20
GREEDY = SamplingParams(temperature=0.0, ignore_eos=True)
SANDBOX_HERE = "full" if landlock.abi() else "partial"

Start = Callable[..., Supervisor]


def spec(path: Path, *, name: str = "m") -> ModelSpec:
    settings = EngineSettings(heartbeat_s=0.2)
    return ModelSpec(name=name, path=str(path), placement=PLACEMENT, settings=settings)


@pytest.fixture
def start(supervise: MakeSupervisor) -> Start:
    def make(*specs: ModelSpec, policy: RunnerPolicy = POLICY) -> Supervisor:
        return supervise(*specs, runners=policy, command=RUNNER_COMMAND)

    return make


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write_generator(tmp_path_factory.mktemp("heavy") / "heavy.gguf", shape=HEAVY)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write_generator(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def ask(tokens: int) -> Generate:
    return Generate(id=0, prompt=TextPrompt(text="Hello world"), max_tokens=tokens, sampling=GREEDY)


class Stream:
    """One generation and all that came of it."""

    def __init__(self, supervisor: Supervisor, request: Generate) -> None:
        self.generation = supervisor.generate("m", request, asker=Asker(owner="a"))
        self.deltas: list[Delta] = []

    def begin(self) -> Stream:
        """Until the first token is here."""
        while not self.deltas:
            self._take()
        return self

    def finish(self) -> list[Delta]:
        while not self.deltas or self.deltas[-1].usage is None:
            self._take()
        self.generation.close()
        return self.deltas

    def _take(self) -> None:
        items = self.generation.next(30.0)
        assert items, "nothing came for half a minute"
        self.deltas += [item for item in items if isinstance(item, Delta)]


def begun(supervisor: Supervisor, tokens: int) -> Stream:
    return Stream(supervisor, ask(tokens)).begin()


def answer(supervisor: Supervisor, tokens: int) -> list[Delta]:
    return Stream(supervisor, ask(tokens)).finish()


def tokens_of(deltas: list[Delta]) -> int:
    return sum(delta.tokens for delta in deltas)


def pid_of(supervisor: Supervisor) -> int:
    pid = supervisor.status()[0].runner_pid
    assert pid is not None
    return pid


def test_from_nothing_to_an_answer(start: Start, tiny: Path) -> None:
    supervisor = start(spec(tiny))
    deltas = answer(supervisor, 8)
    assert tokens_of(deltas) == 8
    assert deltas[-1].finish_reason is FinishReason.LENGTH
    usage = deltas[-1].usage
    assert usage is not None
    assert usage.completion_tokens == 8
    assert usage.prompt_tokens == len(
        supervisor.call(
            "m", Tokenize(id=0, text="Hello world", add_special=True), asker=Asker(owner="a")
        ).tokens
    )
    status = supervisor.status()[0]
    assert status.sandbox is not None
    assert status.sandbox.level == SANDBOX_HERE
    assert status.facts is not None
    assert (status.facts.n_seq_max, status.facts.n_ctx_seq) == (4, 2048)
    eventually(lambda: (supervisor.status()[0].tokens_per_s or 0) > 0)


def test_the_models_own_template_is_rendered_inside_the_box(start: Start, tiny: Path) -> None:
    supervisor = start(spec(tiny))
    prompt = ChatPrompt(messages=[{"role": "user", "content": "Hello"}])
    request = Generate(id=0, prompt=prompt, max_tokens=3, sampling=GREEDY)
    assert tokens_of(Stream(supervisor, request).finish()) == 3


def test_kill_9_in_mid_stream_is_a_typed_error_within_a_second_and_the_next_request_works(
    start: Start, heavy: Path
) -> None:
    supervisor = start(spec(heavy))
    streams = [begun(supervisor, 1500) for _ in range(3)]
    pid = pid_of(supervisor)
    os.kill(pid, signal.SIGKILL)
    killed_s = time.monotonic()
    for stream in streams:
        with pytest.raises(RunnerDied, match="SIGKILL"):
            stream.finish()
        stream.generation.close()
    assert time.monotonic() - killed_s < 1.0
    assert tokens_of(answer(supervisor, 4)) == 4
    assert pid_of(supervisor) != pid


def test_a_client_that_goes_frees_its_sequence_at_the_next_step(start: Start, heavy: Path) -> None:
    supervisor = start(spec(heavy))
    begun(supervisor, 1500).generation.close()
    closed_s = time.monotonic()
    eventually(lambda: (stats := supervisor.status()[0].stats) is not None and stats.running == 0)
    assert time.monotonic() - closed_s < 1.0


@pytest.mark.parametrize("damage", ["cut metadata", "cut tensors", "noise", "flipped counts", "wild lengths"])
def test_a_file_that_is_damaged_is_a_clear_error_and_harms_nobody(
    start: Start, tiny: Path, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "damaged.gguf"
    path.write_bytes(damaged(tiny.read_bytes(), damage))
    supervisor = start(spec(tiny), spec(path, name="damaged"))
    running = begun(supervisor, 100)
    with pytest.raises(ModelInvalid, match="model 'damaged' does not load: "):
        supervisor.generate("damaged", ask(1), asker=Asker(owner="b"))
    assert supervisor.models()[1].state == "failed"
    assert supervisor.models()[1].reason
    assert running.finish()[-1].finish_reason is FinishReason.LENGTH
    assert supervisor.status()[0].starts == 1


def damaged(whole: bytes, how: str) -> bytes:
    """Magic and version stay: what preflight sees is good."""
    match how:
        case "cut metadata":
            return whole[:2000]
        case "cut tensors":
            return whole[: len(whole) * 3 // 4]
        case "noise":
            return whole[:8] + bytes(range(256)) * 64
        case "flipped counts":
            return whole[:8] + (2**31).to_bytes(8, "little") + whole[16:]
        case "wild lengths":
            return whole[:24] + (2**62).to_bytes(8, "little") + whole[32:]
        case _:
            raise AssertionError(how)


def test_an_unloaded_model_gives_all_of_its_memory_back(start: Start, heavy: Path) -> None:
    ours = psutil.Process()
    before_bytes = ours.memory_info().rss
    supervisor = start(spec(heavy))
    answer(supervisor, 8)
    runner = psutil.Process(pid_of(supervisor))
    assert runner.memory_info().rss > HEAVY_BYTES
    family = [runner, *runner.children(recursive=True)]
    assert supervisor.drain(5.0)
    gone, alive = psutil.wait_procs(family, timeout=3.0)
    assert not alive
    assert len(gone) == len(family)
    assert ours.memory_info().rss - before_bytes < HEAVY_BYTES / 4  # weights were never ours


def test_deaths_leave_nothing_behind_in_the_daemon(start: Start, tiny: Path) -> None:
    supervisor = start(spec(tiny), policy=replace(POLICY, max_crashes=100))
    answer(supervisor, 2)
    ours = psutil.Process()
    fds, threads = ours.num_fds(), ours.num_threads()
    for _ in range(3):
        os.kill(pid_of(supervisor), signal.SIGKILL)
        eventually(lambda: supervisor.models()[0].state == "failed")
        answer(supervisor, 2)
    eventually(lambda: ours.num_fds() <= fds and ours.num_threads() <= threads)
