"""What was derived from a model on this board: weights in a type that is faster here, and the record of the
decision.

    name ─► manifest of the model            stays what it is: it is pushed, exported and verified
      └──► manifest  artifactType application/vnd.outpost.derived.v1+json
              config  the record (`optimizing/record.py`)
              layers  the weights; none, where the original was found to be as good

Its blobs are blobs like all others: collected when no name leads to them, read again by the scrub. When they
are gone or broken, or the board or the build is another one, the original is served.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from appliance.errors import OutpostError
from appliance.optimizing import candidates, record
from appliance.optimizing.record import Record
from appliance.optimizing.standing import Standing
from appliance.store.derived_link import linked
from appliance.store.descriptor import Descriptor, Manifest
from appliance.store.digest import digest_of
from appliance.store.manifest import parse_manifest, render_manifest
from appliance.store.media_types import DERIVED, DERIVED_RECORD, OCI_MANIFEST
from appliance.store.reading import Reading

StandingOf = Callable[[], Standing]


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    record: Record
    weights: Descriptor | None
    """None: the original is served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is said of one model's layout."""

    optimized: str | None = None
    """Which variant is served, or why the measured one is not."""
    hint: str | None = None
    """What there may be to gain, unmeasured."""


class Derivations:
    """Any thread; nothing is kept."""

    def __init__(self, layout: Reading, *, standing: StandingOf | None = None, hints: bool = False) -> None:
        """`standing` None: nobody knows on what we run; then variants are told, not served."""
        self._layout = layout
        self._standing = standing
        self._hints = hints

    def find(self, named: Descriptor) -> Derived | None:
        """None: there is none, or it is not whole."""
        top = linked(named)
        if top is None:
            return None
        try:
            manifest = parse_manifest(self._layout.fetch(top), what=top.digest)
            if not isinstance(manifest, Manifest) or manifest.artifact_type != DERIVED:
                return None
            found = record.parse(self._layout.fetch(manifest.config))
        except OutpostError:
            return None
        if found is None or found.model != named.digest or len(manifest.layers) > 1:
            return None
        return Derived(record=found, weights=manifest.layers[0] if manifest.layers else None)

    def served(self, named: Descriptor) -> Derived | None:
        """What is to be served instead of the original's weights, as far as known without hashing it."""
        found = self.find(named)
        if found is None or self._trouble(found) is not None or self._standing is None:
            return None
        return None if found.weights is None else found

    def is_settled(self, named: Descriptor) -> bool:
        """Whether a measurement holds here: there is no reason for another."""
        found = self.find(named)
        return found is not None and self._trouble(found) is None

    def told(self, named: Descriptor, quantization: str | None) -> Told:
        found = self.find(named)
        if found is not None:
            trouble = self._trouble(found)
            sentence = found.record.sentence
            if trouble is None:
                return Told(optimized=sentence)
            return Told(optimized=f"the original is served, not the {sentence}: {trouble}")
        if not self._hints or self._standing is None:
            return Told()
        return Told(hint=candidates.hint(quantization, self._standing()))

    def _trouble(self, found: Derived) -> str | None:
        if self._standing is not None and (stale := found.record.stale(self._standing())):
            return f"{stale}; `outpost optimize` measures again"
        if found.weights is None:
            return None
        return self._layout.blobs.trouble(found.weights)


def compose(decided: Record, weights: Descriptor | None) -> tuple[Descriptor, bytes, bytes]:
    """Manifest, its bytes, and the record's."""
    written = record.render(decided)
    config = Descriptor(media_type=DERIVED_RECORD, digest=digest_of(written), size=len(written))
    content = render_manifest(
        Manifest(
            media_type=OCI_MANIFEST,
            artifact_type=DERIVED,
            config=config,
            layers=() if weights is None else (weights,),
        )
    )
    top = Descriptor(
        media_type=OCI_MANIFEST, digest=digest_of(content), size=len(content), artifact_type=DERIVED
    )
    return top, content, written
