"""PARAMETER: every name Ollama knows, its type and bounds, and what becomes of it here. Declared once: the
Modelfile parser, the params blob of a pulled model and `options` of a request read the same table.

Bounds are those of our HTTP door: a number once reached pointer arithmetic in llama.cpp.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from appliance.modelfile.facts import ParameterValue

MAX_STOPS: Final = 16
MAX_STOP_BYTES: Final = 1024
_MAX_TOKENS: Final = 1 << 24

_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,64}\.?[0-9]{0,64}|\.[0-9]{1,64})(?:[eE][+-]?[0-9]{1,3})?")
_BOOLEANS: Final = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


class Use(StrEnum):
    SAMPLING = "sampling"
    """A field of `SamplingParams`."""
    GENERATION = "generation"
    """A field of `Generate`."""
    PLACEMENT = "placement"
    """A field of `Placement`: it counts when the model is loaded."""
    NONE = "none"
    """Accepted with a warning that says why it changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One row of the table."""

    name: str
    kind: type[int | float | bool | str]
    use: Use
    field: str | None = None
    """Its name on our wire."""
    low: float = -math.inf
    high: float = math.inf
    above_low: bool = False
    """`low` itself is outside."""
    unset: frozenset[int] = frozenset()
    """Values that mean "as if it were not given"."""
    why: str = ""
    """Of Use.NONE: why it has no effect."""

    def parse(self, text: str) -> ParameterValue:
        """The typed value of a word in a Modelfile. Raises ValueError with what was expected."""
        if self.kind is str:
            return self.check(text)
        if self.kind is bool:
            if text not in _BOOLEANS:
                raise ValueError(f"{text!r} is not true or false")
            return _BOOLEANS[text]
        if not (_WHOLE if self.kind is int else _NUMBER).fullmatch(text):
            raise ValueError(f"{text[:80]!r} is not {self._expected}")
        return self.check(int(text) if self.kind is int else float(text))

    def check(self, value: object) -> ParameterValue:
        """The same for a value that has a type already (JSON). Raises ValueError."""
        if self.kind is str and isinstance(value, str):
            if not 0 < len(value.encode("utf-8", "surrogatepass")) <= MAX_STOP_BYTES:
                raise ValueError(f"it must have 1 to {MAX_STOP_BYTES} bytes")
            return value
        if self.kind is bool and isinstance(value, bool):
            return value
        if self.kind in {str, bool} or isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"it is not {self._expected}")
        return self._bounded(value)

    def _bounded(self, value: float) -> int | float:
        # Compared before it is converted: a whole number of a thousand digits is no float.
        if not self.low <= value <= self.high or (self.above_low and value == self.low):
            raise ValueError(f"it must be {'above' if self.above_low else 'from'} {self._range}")
        if self.kind is float:
            return float(value)
        if value != int(value):
            raise ValueError(f"it is not {self._expected}")
        return int(value)

    @property
    def _expected(self) -> str:
        return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[self.kind]

    @property
    def _range(self) -> str:
        low, high = f"{self.low:.15g}", f"{self.high:.15g}"
        return f"{low}, up to {high}" if self.above_low else f"{low} to {high}"


def _sampling(
    name: str,
    kind: type[int | float],
    low: float,
    high: float,
    *,
    above_low: bool = False,
    unset: frozenset[int] = frozenset(),
) -> Parameter:
    return Parameter(
        name=name,
        kind=kind,
        use=Use.SAMPLING,
        field=name,
        low=low,
        high=high,
        above_low=above_low,
        unset=unset,
    )


def _placement(
    name: str,
    wire_field: str,
    kind: type[int | bool],
    low: int = 0,
    high: int = _MAX_TOKENS,
    unset: frozenset[int] = frozenset(),
) -> Parameter:
    return Parameter(
        name=name, kind=kind, use=Use.PLACEMENT, field=wire_field, low=low, high=high, unset=unset
    )


def _without_effect(name: str, kind: type[int | float | bool], why: str = "Ollama gave it up") -> Parameter:
    return Parameter(name=name, kind=kind, use=Use.NONE, low=-(1 << 31), high=1 << 31, why=why)


_ROWS: Final = (
    _sampling("temperature", float, 0, 5),
    _sampling("top_k", int, 0, 1_000_000),
    _sampling("top_p", float, 0, 1),
    _sampling("min_p", float, 0, 1),
    _sampling("typical_p", float, 0, 1),
    _sampling("repeat_last_n", int, -1, _MAX_TOKENS),
    _sampling("repeat_penalty", float, 0, 10, above_low=True),
    _sampling("presence_penalty", float, -2, 2),
    _sampling("frequency_penalty", float, -2, 2),
    _sampling("mirostat", int, 0, 2),  # Ollama dropped these three; llama.cpp has them, and so have we
    _sampling("mirostat_tau", float, 0, 100),
    _sampling("mirostat_eta", float, 0, 1),
    _sampling("seed", int, -(1 << 63), (1 << 63) - 1, unset=frozenset({-1})),
    Parameter(
        name="num_predict",
        kind=int,
        use=Use.GENERATION,
        field="max_tokens",
        low=-2,
        high=_MAX_TOKENS,
        unset=frozenset({-1, -2}),
    ),
    Parameter(name="stop", kind=str, use=Use.GENERATION, field="stop"),
    _placement("num_ctx", "n_ctx_seq", int, low=4),
    _placement("num_batch", "n_ubatch", int, low=1, high=1 << 16),
    _placement("num_gpu", "n_gpu_layers", int, low=-1, high=1 << 16, unset=frozenset({-1})),
    _placement("num_thread", "n_threads", int, high=1024),
    _placement("use_mmap", "use_mmap", bool),
    _without_effect("num_keep", int, "this engine never drops the middle of a conversation"),
    _without_effect("main_gpu", int, "a board has one accelerator"),
    _without_effect("draft_num_predict", int, "the engine sets the length of drafts as they pay"),
    _without_effect("penalize_newline", bool),
    _without_effect("low_vram", bool),
    _without_effect("f16_kv", bool),
    _without_effect("logits_all", bool),
    _without_effect("vocab_only", bool),
    _without_effect("use_mlock", bool),
)
PARAMETERS: Final[Mapping[str, Parameter]] = {row.name: row for row in _ROWS}
"""What stands here is served, or accepted with a warning; every other name is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Parameters by the names of our wire, ready for `SamplingParams(**sampling)` and so on."""

    sampling: Mapping[str, ParameterValue] = field(default_factory=dict)
    generation: Mapping[str, int | list[str]] = field(default_factory=dict)
    placement: Mapping[str, int | bool] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def warning(parameter: Parameter) -> str:
    return f"parameter '{parameter.name}' has no effect: {parameter.why}"


def check_options(options: Mapping[str, object]) -> dict[str, ParameterValue | list[str]]:
    """Options from JSON, typed and within bounds. Raises ValueError that begins with the name at fault."""
    checked: dict[str, ParameterValue | list[str]] = {}
    for name, value in options.items():
        parameter = PARAMETERS.get(name)
        if parameter is None:
            raise ValueError(f"unknown parameter {name[:80]!r}")
        try:
            checked[name] = _stops(parameter, value) if name == "stop" else parameter.check(value)
        except ValueError as error:
            raise ValueError(f"parameter '{name}': {error}") from error
    return checked


def _stops(parameter: Parameter, value: object) -> list[str]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list | tuple):
        raise ValueError("it is not text or a list of texts")  # noqa: TRY004  # one type for all of them
    if len(stops) > MAX_STOPS:
        raise ValueError(f"at most {MAX_STOPS} stop strings")
    return [str(parameter.check(stop)) for stop in stops]


def engine_settings(options: Mapping[str, object]) -> EngineSettings:
    """What a model's options mean to our engine. Raises ValueError as `check_options`."""
    fields: dict[Use, dict[str, ParameterValue | list[str]]] = {use: {} for use in Use}
    warnings: list[str] = []
    for name, value in check_options(options).items():
        parameter = PARAMETERS[name]
        if parameter.field is None:
            warnings.append(warning(parameter))
        elif isinstance(value, list) or value not in parameter.unset:
            fields[parameter.use][parameter.field] = value
    return EngineSettings(
        sampling={name: value for name, value in fields[Use.SAMPLING].items() if not isinstance(value, list)},
        generation={
            name: value for name, value in fields[Use.GENERATION].items() if isinstance(value, int | list)
        },
        placement={name: value for name, value in fields[Use.PLACEMENT].items() if isinstance(value, int)},
        warnings=tuple(warnings),
    )
