"""A `StoreVerbs` without files: notes what it was asked, says what a script tells, and can be held in
mid-work.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from appliance.calibrating.record import Record as CalibrationRecord
from appliance.calibrating.values import Axis, AxisFound, Choice, Findings, Row
from appliance.errors import DigestMismatch, ModelNotFound
from appliance.optimizing.record import Record, Tried
from appliance.optimizing.verdict import Reason
from appliance.store.content import Progress, Report
from appliance.store.digest import Digest, digest_of
from appliance.store.listing import ListedModel
from appliance.store.reference import parse_reference
from appliance.store.show import ShownModel, ShownTensor
from appliance.store.verbs import CalibrateWish, Calibration, Collected, Optimized, OptimizeWish, Verified
from appliance.wire.judge import Divergence, Figures

WEIGHTS = digest_of(b"weights")
TINY = ListedModel(
    name="tiny:latest",
    digest=digest_of(b"manifest"),
    size_bytes=2_000_000_000,
    unique_bytes=1_000,
    modified_s=1_000_000.0,
    architecture="llama",
    parameters="135M",
    quantization="Q4_1",
)
PULL = (
    Progress(status="pulling manifest"),
    Progress(status="pulling aaaaaaaaaaaa", digest=WEIGHTS, total_bytes=1000, completed_bytes=0),
    Progress(status="pulling aaaaaaaaaaaa", digest=WEIGHTS, total_bytes=1000, completed_bytes=1000),
    Progress(status="verifying sha256 digest"),
    Progress(status="writing manifest"),
)


def shown(listed: ListedModel = TINY) -> ShownModel:
    return ShownModel(
        listed=listed,
        modelfile="FROM tiny\nPARAMETER stop <end>\n",
        parameters={"temperature": 0.5, "stop": ["<end>", "</s>"]},
        template="{{ messages }}",
        template_note="from the GGUF",
        system="You are kind.",
        messages=(("user", "hi"), ("assistant", "hello")),
        licences=("Apache\nLicence\nVersion 2\nText",),
        capabilities=("completion", "tools"),
        context_length=8192,
        embedding_length=576,
        metadata={"general.architecture": "llama", "llama.block_count": 30},
        tensors=(ShownTensor(name="token_embd.weight", type="Q4_1", shape=(576, 49152)),),
    )


RECORD = Record(
    model=digest_of(b"manifest"),
    original="Q4_1",
    original_bytes=98_000_000,
    kept="Q8_0",
    chip="x86_64 Some Processor, 2 cores (avx2)",
    build="llama.cpp 0123456789ab, no own kernels",
    measured_at="2026-11-29T01:00:00+00:00",
    max_kl=0.01,
    min_speedup=1.1,
    tokens=1968,
    tried=[
        Tried(
            kind="Q8_0",
            size_bytes=144_811_072,
            reason=Reason.KEPT,
            text="1.80x the original's speed, KL divergence 0.0062",
            score=1.8,
            original=Figures(prefill_per_s=100.0, decode_per_s={1: 10.0, 8: 40.0}),
            candidate=Figures(prefill_per_s=210.0, decode_per_s={1: 15.0, 8: 64.0}),
            divergence=Divergence(
                tokens=1968,
                mean=0.0062,
                p99=0.031,
                greatest=0.094,
                same_top=0.947,
                original_perplexity=24.09,
                candidate_perplexity=24.14,
            ),
        )
    ],
)


CALIBRATED = CalibrationRecord(
    model="m",
    name="tiny:latest",
    board="pi5 Raspberry Pi 5",
    chip="aarch64 Some Chip, 4 cores (asimd)",
    build="llama.cpp 0123456789ab, no own kernels",
    measured_at="2026-11-29T12:00:00+00:00",
    limit_s=60.0,
    findings=Findings(
        axes=(
            AxisFound(
                axis=Axis.THREADS,
                default="threads 3",
                kept="threads 2",
                rows=(
                    Row(
                        label="threads 2",
                        per_s={"prefill": 110.0, "decode": 12.5, "decode_many": 40.0},
                        spread=0.012,
                        ratio=1.6,
                        rounds=5,
                        joules_per_token={"decode": 0.4},
                        text="1.60x the default's speed in 5 rounds",
                    ),
                    Row(
                        label="threads 3",
                        per_s={"prefill": 60.0, "decode": 8.0, "decode_many": 25.0},
                        spread=0.05,
                        rounds=5,
                        text="the default",
                    ),
                ),
            ),
            AxisFound(axis=Axis.LOAD, default="read", kept="read", text="its weights are copied"),
        ),
        choice=Choice(n_threads=2),
        cache=None,
        ubatch=(),
        others_share=0.02,
        spent_s=41.5,
    ),
)


@dataclass
class FakeStoreVerbs:
    """Owned by the test; its methods may be called from any thread."""

    models: list[ListedModel] = field(default_factory=lambda: [TINY])
    script: Sequence[Progress] = PULL
    fault: Exception | None = None
    """Raised after the script."""
    hold: threading.Event | None = None
    """Waited for after each line of the script."""
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Released once for each verb that has begun."""
    calls: list[tuple[object, ...]] = field(default_factory=list)
    was_cancelled: threading.Event = field(default_factory=threading.Event)
    broken: tuple[tuple[str, str], ...] = ()
    collected: Collected = field(default_factory=lambda: Collected(blobs=2, size_bytes=3_000_000))
    withheld: tuple[str, ...] = ()
    rebuilt: tuple[str, ...] | None = None
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    record: Record = RECORD
    calibrated: CalibrationRecord = CALIBRATED

    def list(self, prefix: str = "") -> Sequence[ListedModel]:
        self.calls.append(("list", prefix))
        return [model for model in self.models if model.name.startswith(prefix)]

    def show(self, name: str) -> ShownModel:
        return shown(self._found(name))

    def pull(self, name: str, report: Report, *, as_name: str | None = None) -> str:
        return self._work("pull", name, as_name, report=report)

    def push(self, name: str, report: Report, *, target: str | None = None) -> str:
        self._found(name)
        return self._work("push", name, target, report=report)

    def create(
        self,
        name: str,
        modelfile: str,
        report: Report,
        *,
        base_dir: Path | None = None,
        quantize: str | None = None,
    ) -> str:
        return self._work("create", name, modelfile, base_dir, quantize, report=report)

    def has_blob(self, digest: Digest) -> bool:
        return digest in self.blobs

    def take_blob(self, digest: Digest, chunks: Iterable[bytes], *, size: int | None) -> None:
        content = b"".join(chunks)
        self.calls.append(("take_blob", digest, size))
        if digest_of(content) != digest:
            raise DigestMismatch(what="the body", expected=digest, actual=digest_of(content))
        self.blobs[digest] = content

    def import_file(
        self,
        path: Path,
        name: str | None,
        report: Report,
        *,
        link: bool = False,
        as_name: str | None = None,
    ) -> Sequence[str]:
        chosen = () if as_name is None else (as_name,)
        named = self._work("import", path.stem if name is None else name, path, link, *chosen, report=report)
        return [named if as_name is None else parse_reference(as_name).display]

    def export(self, name: str, target: Path, report: Report) -> None:
        self._found(name)
        self._work("export", name, target, report=report)

    def optimize(self, name: str, report: Report, *, wish: OptimizeWish) -> Optimized:
        self._found(name)
        done = self._work("optimize", name, wish, report=report)
        return Optimized(name=done, record=self.record, dry_run=wish.dry_run)

    def unoptimize(self, name: str) -> bool:
        self.calls.append(("unoptimize", self._found(name).name))
        return True

    def calibrate(self, name: str, report: Report, *, wish: CalibrateWish) -> Calibration:
        self._found(name)
        done = self._work("calibrate", name, wish, report=report)
        return Calibration(name=done, record=self.calibrated, sentence="calibrated 2026-11-29: threads 2")

    def calibration(self, name: str) -> Calibration:
        self.calls.append(("calibration", self._found(name).name))
        return Calibration(name=name, record=self.calibrated, stale="it was measured on another board (pi4)")

    def forget_calibration(self, name: str) -> bool:
        self.calls.append(("forget_calibration", self._found(name).name))
        return True

    def copy(self, source: str, destination: str) -> None:
        self._found(source)
        self._work("copy", destination, source)

    def remove(self, name: str) -> None:
        self.models.remove(self._found(name))

    def verify(self, name: str | None, report: Report) -> Verified:
        if name is not None:
            self._found(name)
        self._work("verify", "tiny", report=report)
        return Verified(blobs=3, size_bytes=2_000_000_000, broken=self.broken)

    def rebuild_index(self) -> Sequence[str] | None:
        self.calls.append(("rebuild_index",))
        return self.rebuilt

    def gc(self, *, dry_run: bool = False, grace_s: float | None = None, arrivals: bool = False) -> Collected:
        self.calls.append(("gc", dry_run, grace_s, *(["arrivals"] if arrivals else [])))
        if self.withheld:
            return Collected(blobs=0, size_bytes=0, withheld=self.withheld)
        return self.collected

    def _work(self, verb: str, name: str, *more: object, report: Report | None = None) -> str:
        reference = parse_reference(name)
        self.calls.append((verb, name, *more))
        self.begun.release()
        try:
            for progress in self.script if report is not None else ():
                if report is not None:
                    report(progress)
                while self.hold is not None and not self.hold.wait(0.01):
                    if report is not None:
                        report(progress)
        except BaseException:
            self.was_cancelled.set()
            raise
        if self.fault is not None:
            raise self.fault
        return reference.display

    def _found(self, name: str) -> ListedModel:
        wanted = parse_reference(name).display
        for model in self.models:
            if model.name == wanted:
                return model
        raise ModelNotFound(model=name, available=[model.name for model in self.models])
