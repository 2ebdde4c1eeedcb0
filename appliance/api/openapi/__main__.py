"""`python -m appliance.api.openapi docs/openapi.json` (`make docs`) writes the document of a door that has
all its parts; a test compares.
"""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from appliance.api.app import App, create_app
from appliance.api.openapi.document import document
from appliance.api.parts import Credentials, Device, Metrics, Parts, Stored


class Nobody:
    """In the place of a part of the door that nobody asks: a door is made, and serves no request."""

    def __getattr__(self, name: str) -> Nobody:
        return self

    def __call__(self, *_: object, **__: object) -> Nobody:
        return self


def whole_door() -> App:
    """With every part that there can be, so that it has all routes."""
    groups: dict[str, Any] = {
        "credentials": _whole(Credentials),
        "stored": _whole(Stored),
        "metrics": _whole(Metrics),
        "device": _whole(Device),
    }
    nobody: Any = Nobody()
    return create_app(Parts(inference=nobody, report=nobody, **groups))


def _whole(kind: type[Any]) -> Any:
    return kind(**{field.name: Nobody() for field in fields(kind)})


def written() -> str:
    """The file's text."""
    return json.dumps(document(whole_door().resources), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    Path(sys.argv[1]).write_text(written(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
