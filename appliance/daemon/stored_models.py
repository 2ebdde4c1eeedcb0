"""The models of the store as the supervisor's: beside those of `[models]`, which win where names are the
same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from appliance.calibrating.values import Choice
from appliance.config import COMMAND_LINE, Config
from appliance.daemon.placements import placement
from appliance.daemon.policies import engine_settings, model_spec
from appliance.errors import ConfigError, InvalidReference
from appliance.store.reference import parse_reference
from appliance.store.serving import ServeSpec
from appliance.supervisor.device import Device
from appliance.supervisor.names import plain_key
from appliance.supervisor.policy import ModelDefaults, ModelSpec
from appliance.wire.messages import Adapter, AdapterScale


class Applied(NamedTuple):
    """What a calibration says of a model."""

    choice: Choice = Choice()
    told: str | None = None
    """In words, to show."""


Calibrated = Callable[[Sequence[str]], Applied]
"""Of the model in these files."""


def _uncalibrated(_paths: Sequence[str]) -> Applied:
    return Applied()


def name_key(name: str) -> str:
    """How names are compared: the store's rule, and the plain one for names of the configuration that only it
    allows.
    """
    try:
        return parse_reference(name).key
    except InvalidReference:
        return plain_key(name)


class Pins:
    """Which content the stored names stand for, so that a request with a digest (`tiny@sha256:…`) meets that
    content or nothing. Any thread.
    """

    def __init__(self) -> None:
        self._digests: Mapping[str, str] = {}

    def learn(self, config: Config, stored: Sequence[ServeSpec]) -> None:
        """A model of `[models]` has no digest that a name could be pinned to."""
        configured = {name_key(name) for name in config.models}
        digests = {name_key(spec.name): spec.digest for spec in stored if spec.digest is not None}
        self._digests = {key: digest for key, digest in digests.items() if key not in configured}

    def key(self, name: str) -> str:
        """As `name_key`; of a digest that the name does not stand for, one that no model has."""
        key = name_key(name)
        with suppress(InvalidReference):
            digest = parse_reference(name).digest
            if digest is not None and self._digests.get(key) != digest:
                return f"{key}@{digest}"
        return key


def all_specs(
    config: Config,
    stored: Sequence[ServeSpec],
    *,
    preload: Sequence[str] = (),
    calibrated: Calibrated = _uncalibrated,
) -> list[ModelSpec]:
    """Those of `[models]`, then those of the store whose names are not taken."""
    configured = [
        _told(model_spec(config, name, model, chosen=applied.choice), applied)
        for name, model in config.models.items()
        for applied in (calibrated([str(model.path)]),)
    ]
    taken = {name_key(spec.name) for spec in configured}
    specs = [
        *configured,
        *(
            stored_spec(config, spec, calibrated=calibrated)
            for spec in stored
            if name_key(spec.name) not in taken
        ),
    ]
    wanted = {name_key(name) for name in (*preload, *config.lifecycle.preload)}
    pinned = {name_key(name) for name in config.lifecycle.pin}
    return _with_smaller(
        config,
        [
            _resident(config, spec, preload=name_key(spec.name) in wanted, pin=name_key(spec.name) in pinned)
            for spec in specs
        ],
    )


def _with_smaller(config: Config, specs: Sequence[ModelSpec]) -> list[ModelSpec]:
    """A smaller one that is not there (yet) stands in for nobody."""
    by_key = {name_key(spec.name): spec for spec in specs}
    smaller_of = {name_key(name): name_key(smaller) for name, smaller in config.memory.smaller.items()}
    return [
        replace(spec, smaller=(smaller,))
        if (smaller := by_key.get(smaller_of.get(key, ""))) is not None and smaller is not spec
        else spec
        for key, spec in by_key.items()
    ]


def _resident(config: Config, spec: ModelSpec, *, preload: bool, pin: bool) -> ModelSpec:
    """How long it stays in memory: what its own entry says, for ever if it is to be preloaded, or as all."""
    entry = config.models.get(spec.name)
    own_s = None if entry is None else entry.keep_alive
    usual_s = math.inf if preload else config.lifecycle.keep_alive
    return replace(spec, preload=preload, pin=pin, keep_alive_s=usual_s if own_s is None else own_s)


def require_known(preload: Sequence[str], specs: Sequence[ModelSpec]) -> None:
    """Raises ConfigError for a model to be preloaded that is not there."""
    known = {name_key(spec.name) for spec in specs}
    for name in preload:
        if name_key(name) not in known:
            there = ", ".join(spec.name for spec in specs) or "none"
            raise ConfigError(
                source=COMMAND_LINE, key="--preload", value=name, expected=f"a model there is: {there}"
            )


def stored_spec(config: Config, spec: ServeSpec, *, calibrated: Calibrated = _uncalibrated) -> ModelSpec:
    applied = calibrated([str(path) for path in spec.paths])
    names = [f"adapter-{number}" for number in range(1, len(spec.adapters) + 1)]
    template = spec.template.text if spec.template else None
    return ModelSpec(
        name=spec.name,
        path=str(spec.paths[0]) if spec.paths else "",
        paths=tuple(str(path) for path in spec.paths) if len(spec.paths) > 1 else (),
        device=Device(config.engine.device),
        placement=placement(config, spec.parameters.placement, chosen=applied.choice),
        settings=engine_settings(config, chosen=applied.choice),
        chat_template=template,
        defaults=_defaults(spec, names),
        broken=spec.broken,
        size_bytes=spec.size_bytes,
        draft_path=None if spec.draft is None else str(spec.draft),
        adapters=tuple(
            Adapter(name=name, path=str(path)) for name, path in zip(names, spec.adapters, strict=True)
        ),
        optimized=spec.optimized,
        hint=spec.hint,
        calibrated=applied.told,
    )


def _told(spec: ModelSpec, applied: Applied) -> ModelSpec:
    return replace(spec, calibrated=applied.told)


def _defaults(spec: ServeSpec, adapters: Sequence[str]) -> ModelDefaults:
    generation = spec.parameters.generation
    stop, max_tokens = generation.get("stop"), generation.get("max_tokens")
    return ModelDefaults(
        sampling=dict(spec.parameters.sampling),
        stop=tuple(stop) if isinstance(stop, list) else (),
        max_tokens=max_tokens if isinstance(max_tokens, int) else None,
        system=spec.system,
        messages=tuple({"role": role, "content": content} for role, content in spec.messages),
        adapters=tuple(AdapterScale(name, 1.0) for name in adapters),
    )
