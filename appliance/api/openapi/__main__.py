"""`python -m appliance.api.openapi docs/openapi.json` (`make docs`) writes the document of a door that has
all its parts; a test compares.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

from appliance.api.app import App, create_app
from appliance.api.openapi.document import document


class Nobody:
    """In the place of a part of the door that nobody asks: a door is made, and serves no request."""

    def __getattr__(self, name: str) -> Nobody:
        return self

    def __call__(self, *_: object, **__: object) -> Nobody:
        return self


def whole_door() -> App:
    """With every part that `create_app` can take, so that it has all routes."""
    parts: dict[str, Any] = {
        name: Nobody()
        for name, parameter in inspect.signature(create_app).parameters.items()
        if parameter.default in {inspect.Parameter.empty, None}
    }
    return create_app(**parts)


def written() -> str:
    """The file's text."""
    return json.dumps(document(whole_door().resources), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    Path(sys.argv[1]).write_text(written(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
