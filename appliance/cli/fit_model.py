"""What `outpost fit` is asked about, as facts: a GGUF, a manifest, or a name of the store or of `[models]`.

Nothing is loaded and nothing is locked: the store is read beside a daemon that has it open. Of a GGUF only
the header is needed, so a file that is cut off behind it will do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from appliance.cli import header_facts
from appliance.cli.address import DEFAULT_DATA
from appliance.cli.exits import Exit, Failure
from appliance.cli.fit_settings import FitSettings
from appliance.cli.named_file import is_file
from appliance.daemon.own_wishes import placed
from appliance.errors import ManifestInvalid, ModelNotFound
from appliance.planner.fit import Subject
from appliance.planner.guess import VOCABULARY_BYTES, guessed_header, parameters_of
from appliance.planner.header_sizes import Model
from appliance.wire.load import Placement

_MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
_STORE: Final = "store"
"""`store.places.FOLDER`, without loading the store for it; a test compares."""
_PROJECTOR: Final = "its projector is stored, but not served yet: it is not counted"
_DRAFT: Final = "its draft model is not counted"


class Wish(Struct, frozen=True, kw_only=True):
    """The options that say how it shall be loaded; None: as configured."""

    n_ctx: int | None = None
    n_parallel: int | None = None


def subject_of(name: str, *, data: Path | None, settings: FitSettings, wish: Wish) -> Subject:
    """Raises Failure, and what reading a model raises."""
    if is_file(name):
        path = Path(name).expanduser()
        return (
            _of_manifest(path, settings, wish) if path.suffix == ".json" else _of_file(path, settings, wish)
        )
    if name.endswith((".gguf", ".json")):
        raise Failure(Exit.NO_INPUT, f"{name}: no such file", code="no_such_file")
    configured = settings.models.get(name)
    if configured is not None:
        own = {} if configured.n_ctx_seq is None else {"n_ctx_seq": configured.n_ctx_seq}
        notes = (_DRAFT,) if configured.has_draft else ()
        return _of_headers(name, [configured.path], settings, wish, overrides=own, notes=notes)
    return _of_store(name, data, settings, wish)


def _of_file(path: Path, settings: FitSettings, wish: Wish) -> Subject:
    return _of_headers(path.name, [path], settings, wish)


def _of_headers(
    name: str,
    paths: Sequence[Path],
    settings: FitSettings,
    wish: Wish,
    *,
    overrides: Mapping[str, object] | None = None,
    notes: tuple[str, ...] = (),
) -> Subject:
    """`paths`: all parts, in order; the dimensions stand in the first."""
    facts = header_facts.of(paths, model=name)
    return Subject(
        name=name,
        model=Model(
            header=facts.header(),
            vocabulary_bytes=facts.vocabulary_bytes,
            own_kernels=settings.own_kernels,
            speculation=settings.speculation,
        ),
        read_bytes=facts.read_bytes,
        wish=placed(settings.placement, {**(overrides or {}), **_said(wish)}),
        origin="the GGUF's header",
        notes=notes,
    )


def _of_manifest(path: Path, settings: FitSettings, wish: Wish) -> Subject:
    from appliance.store.descriptor import Manifest  # noqa: PLC0415 - the store's parts, only where needed
    from appliance.store.manifest import parse_manifest  # noqa: PLC0415
    from appliance.store.model_layers import Part, in_order, parts_of  # noqa: PLC0415

    with path.open("rb") as file:
        content = file.read(_MAX_MANIFEST_BYTES + 1)
    manifest = parse_manifest(content, what=path.name)
    if not isinstance(manifest, Manifest):
        raise ManifestInvalid(what=path.name, reason="it is an index of several models; name one of them")
    parts = parts_of(manifest, what=path.name)
    weights = in_order(parts[Part.WEIGHTS], what=path.name)
    notes = (_PROJECTOR,) if parts[Part.PROJECTOR] else ()
    size = sum(blob.size for blob in weights)
    return _guessed(
        path.name, size, placed(settings.placement, _said(wish)), parameters=None, trained=None, notes=notes
    )


def _of_store(name: str, data: Path | None, settings: FitSettings, wish: Wish) -> Subject:
    from appliance.store.files import Files  # noqa: PLC0415 - the store's parts, only where needed
    from appliance.store.model_settings import settings_of  # noqa: PLC0415
    from appliance.store.reader import ModelReader  # noqa: PLC0415
    from appliance.store.reading import Reading  # noqa: PLC0415
    from appliance.store.reference import parse_reference  # noqa: PLC0415

    root = _store_root(data, name)
    with Reading(root, files=Files(), read_only=True, lenient=True) as layout:
        reference = parse_reference(name)
        model = ModelReader(layout).model(layout.find(reference))
        paths = [layout.places.blob(blob.digest) for blob in model.weights]
    overrides = dict(settings_of(model.params, model=name).placement)
    notes = tuple(note for note, part in ((_PROJECTOR, model.projector), (_DRAFT, model.draft)) if part)
    if all(path.is_file() for path in paths):
        return _of_headers(reference.display, paths, settings, wish, overrides=overrides, notes=notes)
    wished = placed(settings.placement, {**overrides, **_said(wish)})
    return _guessed(
        reference.display,
        sum(blob.size for blob in model.weights),
        wished,
        parameters=model.facts.parameters,
        trained=model.facts.context_length,
        notes=notes,
    )


def _guessed(
    name: str,
    size_bytes: int,
    wish: Placement,
    *,
    parameters: str | None,
    trained: int | None,
    notes: tuple[str, ...],
) -> Subject:
    header = guessed_header(parameters_of(parameters, size_bytes), size_bytes, n_ctx_train=trained)
    return Subject(
        name=name,
        model=Model(header=header, vocabulary_bytes=VOCABULARY_BYTES),
        read_bytes=size_bytes,
        wish=wish,
        origin="a manifest: the weights' size is exact, all else is guessed and errs to the large side",
        is_guess=True,
        notes=notes,
    )


def _store_root(data: Path | None, name: str) -> Path:
    places = DEFAULT_DATA if data is None else (data,)
    for place in places:
        root = place.expanduser().absolute() / _STORE
        if root.is_dir():
            return root
    raise ModelNotFound(model=name, available=[])


def _said(wish: Wish) -> dict[str, object]:
    said = {"n_ctx_seq": wish.n_ctx, "n_seq_max": wish.n_parallel}
    return {name: value for name, value in said.items() if value is not None}
