"""What the tests ask of a supervisor, and what they read of its answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.errors import OutpostError
from appliance.supervisor.inference import Generation
from appliance.supervisor.supervisor import Supervisor
from appliance.supervisor.turn import Asker
from appliance.wire.messages import Delta, Generate, TextPrompt

Model = Callable[..., Path]


def ask(tokens: int = 16, text: str = "hello") -> Generate:
    return Generate(id=0, prompt=TextPrompt(text=text), max_tokens=tokens)


def deltas_of(generation: Generation) -> list[Delta]:
    found: list[Delta] = []
    while not found or found[-1].usage is None:
        found += [item for item in generation.next(5.0) or [] if isinstance(item, Delta)]
    generation.close()
    return found


def text_of(supervisor: Supervisor, tokens: int = 16, *, owner: str = "a") -> str:
    return "".join(
        delta.text for delta in deltas_of(supervisor.generate("m", ask(tokens), asker=Asker(owner=owner)))
    )


def pid_of(supervisor: Supervisor) -> int:
    pid = supervisor.status()[0].runner_pid
    assert pid is not None
    return pid


def error_of(supervisor: Supervisor) -> OutpostError:
    with pytest.raises(OutpostError) as caught:
        supervisor.generate("m", ask(), asker=Asker(owner="a"))
    return caught.value
