"""The seam of the doors: what HTTP and the command line ask of the store.

`store.ModelStore` is the real one; the tests' fake is one more. Names are texts as people write them: each
verb parses them itself (`reference.parse_reference`) and raises InvalidReference. Every method may be called
from any thread. Long verbs take a `Report`; whatever it raises ends the verb at its next chunk, and what has
come is kept for the next try.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from appliance.calibrating.outline import PlannedAxis
from appliance.calibrating.record import Record as CalibrationRecord
from appliance.optimizing.record import Record
from appliance.store.content import Report
from appliance.store.digest import Digest
from appliance.store.kept import NOTHING_KEPT, PROTECTED_S, Kept
from appliance.store.listing import ListedModel
from appliance.store.show import ShownModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a verification found."""

    blobs: int
    size_bytes: int
    broken: Sequence[tuple[str, str]] = ()
    """Blob or model, and what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizeWish:
    """What is asked for; None: as the configuration says."""

    max_kl: float | None = None
    dry_run: bool = False
    kinds: Sequence[str] = ()
    """Empty: those that this chip suggests."""
    is_patient: bool = True
    """It waits for a quiet machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimized:
    """What was measured, and what was decided by it."""

    name: str
    record: Record
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateWish:
    """What is asked for."""

    limit_s: float | None = None
    """None: as the configuration says."""
    power_modes: bool = False
    """Those of a Jetson, too; the mode that is set is set again afterwards."""
    dry_run: bool = False
    """Only tell what would be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What was measured of a model on this board; None: nothing."""

    name: str
    record: CalibrationRecord | None = None
    stale: str | None = None
    """Why it is not used."""
    sentence: str | None = None
    plan: Sequence[PlannedAxis] = ()
    """Of a dry run: what would be measured."""


class Calibrating(Protocol):
    """Who measures; the composition gives it to the store."""

    def calibrate(self, name: str, report: Report, *, wish: CalibrateWish) -> Calibration: ...

    def calibration(self, name: str) -> Calibration: ...

    def forget(self, name: str) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What `gc` removed, or would remove, and what it left that no name leads to."""

    blobs: int
    size_bytes: int
    grace_s: float = PROTECTED_S
    young: Kept = NOTHING_KEPT
    """What came within the grace."""
    at_work: Kept = NOTHING_KEPT
    """What is in use or arriving; no grace is short enough for it."""
    arrivals: Kept = NOTHING_KEPT
    """Of what went: what was cut off on its way in, and was asked for."""
    cut_off: Kept = NOTHING_KEPT
    """What was cut off on its way in and waits for the next try."""
    withheld: Sequence[str] = ()
    """Names whose manifest cannot be read, each with the reason: while there is one, no blob goes."""


class StoreVerbs(Protocol):
    """Progress and its words are those of `content.Progress`; `success` is said by the door, not the verb."""

    def list(self, prefix: str = "") -> Sequence[ListedModel]:
        """Newest first, those whose name starts with `prefix` in any case. No file but the index is read."""

    def show(self, name: str) -> ShownModel:
        """Raises ModelNotFound."""

    def pull(self, name: str, report: Report, *, as_name: str | None = None) -> str:
        """From the registry, hub or URL in `name`. Returns the name under which it is stored. Raises
        OutboundRefused, RemoteError, ContentError, InsufficientSpace.
        """

    def push(self, name: str, report: Report, *, target: str | None = None) -> str:
        """To the registry named by `target`, else by `name` itself. Returns where it is now."""

    def create(
        self,
        name: str,
        modelfile: str,
        report: Report,
        *,
        base_dir: Path | None = None,
        quantize: str | None = None,
    ) -> str:
        """Paths in the Modelfile are taken relative to `base_dir`; None: they are refused (NotAllowed).
        Raises ModelfileInvalid, TemplateInvalid, ModelInvalid, Unsupported.
        """

    def has_blob(self, digest: Digest) -> bool:
        """Whether it is there and sound; what it says yes to stays for an hour, named or not."""

    def take_blob(self, digest: Digest, chunks: Iterable[bytes], *, size: int | None) -> None:
        """What a client sends before a `create` that names it. `size`: as announced; None: it was not. Raises
        DigestMismatch, InvalidRequest for too few bytes, InsufficientSpace.
        """

    def import_file(
        self,
        path: Path,
        name: str | None,
        report: Report,
        *,
        link: bool = False,
        as_name: str | None = None,
    ) -> Sequence[str]:
        """A GGUF, a directory with an OCI layout or a tar of one, a store of Ollama's; returns the names it
        now has. `name`: of a GGUF its name, else which model is meant (a layout's only one is given it).
        None: a GGUF is named after its file, of a layout all come, of Ollama's store its only one, and of
        several InvalidRequest lists them. `as_name`: the name it gets. `link`: adopt the GGUF in place where
        the disk can.
        """

    def export(self, name: str, target: Path, report: Report) -> None:
        """To a directory (made or extended as an OCI layout) or, where `target` ends in .tar, a new file."""

    def optimize(self, name: str, report: Report, *, wish: OptimizeWish) -> Optimized:
        """Derive weights in a type that is faster on this board, and serve them if they prove to be, and as
        good. Minutes. Raises ModelNotFound, InvalidRequest, Unsupported, InsufficientSpace, MachineBusy.
        """

    def unoptimize(self, name: str) -> bool:
        """Serve the original again; whether something else was kept. Raises ModelNotFound."""

    def calibrate(self, name: str, report: Report, *, wish: CalibrateWish) -> Calibration:
        """Measure how it is best served on this board, and serve it so from then on. A minute. Raises
        ModelNotFound, InvalidRequest, InsufficientMemory, MachineBusy, Overloaded (one is measured already).
        """

    def calibration(self, name: str) -> Calibration:
        """What is stored of it. Raises ModelNotFound."""

    def forget_calibration(self, name: str) -> bool:
        """Serve it by the defaults again; whether something was stored. Raises ModelNotFound."""

    def copy(self, source: str, destination: str) -> None: ...

    def remove(self, name: str) -> None:
        """Raises ModelNotFound, ModelInUse. Bytes go with the next `gc`."""

    def verify(self, name: str | None, report: Report) -> Verified:
        """Hash what is stored, of one model or all, and quarantine what is not sound."""

    def rebuild_index(self) -> Sequence[str] | None:
        """Build the list of names again where it is damaged or lost: what the one before it named, and all
        other models that are stored as `recovered-…`. Returns the names; None: it is sound, and stays.
        """

    def gc(self, *, dry_run: bool = False, grace_s: float | None = None, arrivals: bool = False) -> Collected:
        """`grace_s`: what came later than so long ago is left; None: an hour, which is also the most.
        `arrivals`: also what was cut off on its way in goes, and will come from its first byte again.
        """
