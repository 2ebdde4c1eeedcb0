"""Engines over the fake backend, and what they say, gathered."""

from __future__ import annotations

from collections.abc import Sequence as Listed
from dataclasses import dataclass, field

from appliance.engine.engine import Engine
from appliance.engine.hibernation.waking import Sleep
from appliance.engine.kv_cache import Scope
from appliance.engine.lookup import PromptLookup
from appliance.engine.meter import BoardView, Meter
from appliance.engine.output import OutputStream
from appliance.engine.sequence import ActiveRequest, Sequence
from appliance.engine.speculation import Acceptance, Proposer
from appliance.wire.messages import (
    AdapterScale,
    Delta,
    EngineSettings,
    Failed,
    Generate,
    ModelFacts,
    Step,
    TokensPrompt,
    Usage,
)
from tests.fakes.fake_backend import N_VOCAB, FakeBackend, FakeClock, FakeSampler, FakeVocabulary

FACTS = ModelFacts(
    n_ctx_train=64,
    n_ctx_seq=64,
    n_seq_max=4,
    n_vocab=N_VOCAB,
    n_embd=1,
    n_params=1,
    size_bytes=1,
    description="fake",
    has_chat_template=False,
)


def fake_meter(clock: FakeClock) -> Meter:
    return Meter(
        n_threads=1,
        adapt=False,
        board=BoardView(idle_s=lambda: None, rss_bytes=lambda: 0),
        clock=clock,
        cpu_clock=clock,
    )


def engine_over(
    backend: FakeBackend,
    clock: FakeClock,
    settings: EngineSettings | None = None,
    *,
    n_swa: int = 0,
    proposer: Proposer | None = None,
    sleep: Sleep | None = None,
) -> Engine:
    return Engine(
        backend,
        FakeVocabulary(),
        facts=FACTS,
        settings=settings or EngineSettings(),
        candidates=None,
        meter=fake_meter(clock),
        prepare=lambda request, _: request,
        n_swa=n_swa,
        proposer=proposer,
        hibernation=sleep,
        clock=clock,
    )


def request(
    key: int,
    prompt: Listed[int],
    *,
    max_tokens: int = 6,
    n: int = 1,
    scope: str = "",
    shared: bool = False,
    stop: Listed[str] = (),
    adapters: Listed[tuple[str, float]] = (),
    speculates: bool = True,
    n_ctx_seq: int = 64,
    grammar: FakeSampler | None = None,
) -> ActiveRequest:
    """A prepared request, as `Preparer.generation` makes them. `grammar`: samples under one."""
    generate = Generate(
        id=key,
        prompt=TokensPrompt(tokens=list(prompt)),
        max_tokens=max_tokens,
        n=n,
        stop=list(stop),
        scope=scope,
        shared_prefix=shared,
        adapters=[AdapterScale(name=name, scale=scale) for name, scale in adapters],
    )
    active = ActiveRequest(generate=generate, prompt_tokens=list(prompt), scope=Scope(scope, tuple(adapters)))
    for choice in range(n):
        active.sequences.append(
            Sequence(
                request=active,
                choice=choice,
                tokens=list(prompt),
                limit=min(n_ctx_seq, len(prompt) + max_tokens),
                sampler=grammar or FakeSampler(),
                has_grammar=grammar is not None,
                output=OutputStream(stops=stop, parser=None),
                lookup=PromptLookup() if speculates else None,
                model_guesses=Acceptance() if speculates else None,
            )
        )
    return active


@dataclass(slots=True)
class Heard:
    """All that an engine said."""

    deltas: list[Delta] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)

    def take(self, said: Listed[object]) -> None:
        for message in said:
            if isinstance(message, Step):
                self.deltas.extend(message.deltas)
            elif isinstance(message, Failed):
                self.failed.append(message)

    def text(self, key: int, choice: int = 0) -> str:
        return "".join(delta.text for delta in self.deltas if (delta.id, delta.choice) == (key, choice))

    def last(self, key: int, choice: int = 0) -> Delta:
        return [delta for delta in self.deltas if (delta.id, delta.choice) == (key, choice)][-1]

    def usage(self, key: int) -> Usage:
        usages = [delta.usage for delta in self.deltas if delta.id == key and delta.usage is not None]
        assert len(usages) == 1, f"request {key} has {len(usages)} usages"
        return usages[0]


def run(engine: Engine, *prepared: ActiveRequest, most_steps: int = 500) -> Heard:
    """Submit all at once and step until nothing is left."""
    heard = Heard()
    for one in prepared:
        heard.take(engine.submit(one))
    step_all(engine, heard, most_steps=most_steps)
    return heard


def step_all(engine: Engine, heard: Heard, *, most_steps: int = 500) -> None:
    for _ in range(most_steps):
        if not engine.has_work():
            return
        heard.take(engine.step())
        engine.kv_cache.check()
    raise AssertionError(f"still at work after {most_steps} steps")
